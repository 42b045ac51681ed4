from __future__ import annotations

import numpy as np
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier

from potstill.teachers.digests import object_digest


def test_padding_between_fields_is_no_state() -> None:
    kind = np.dtype([("count", "<i8"), ("flag", "u1")], align=True)
    assert kind.itemsize == 16
    memory = bytearray(48), bytearray(b"\xff" * 48)  # numpy's own copies leave the padding to chance
    clean, dirty = (np.frombuffer(each, kind) for each in memory)
    dirty["count"], dirty["flag"] = 0, 0
    assert memory[0] != memory[1]
    assert object_digest(clean, "t") == object_digest(dirty, "t")
    dirty["flag"][1] = 1
    assert object_digest(clean, "t") != object_digest(dirty, "t")


def test_the_same_forest_fitted_twice_has_one_digest() -> None:
    rows, labels = load_wine(return_X_y=True)
    first, second = (RandomForestClassifier(20, random_state=0).fit(rows, labels) for _ in range(2))
    assert object_digest(first, "t") == object_digest(second, "t")
    other = RandomForestClassifier(20, random_state=1).fit(rows, labels)
    assert object_digest(first, "t") != object_digest(other, "t")
