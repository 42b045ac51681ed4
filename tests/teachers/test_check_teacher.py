"""The contract check finds what it promises to find."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from potstill.testing import check_teacher
from potstill.types import Dataset, Floats


def good(dataset: Dataset) -> Floats:
    high = np.clip(dataset.rows["alcohol"].to_numpy() - 12.0, 0, 1)
    return np.column_stack([high, 1 - high, 0 * high]).astype(np.float32)


@dataclass(frozen=True)
class Fake:
    answer: Callable[[Dataset], Any] = good
    name: str = "fake"
    prints: list[str] = field(default_factory=lambda: ["ab" * 32])

    @property
    def fingerprint(self) -> str:
        return self.prints.pop(0) if len(self.prints) > 1 else self.prints[0]

    def predict(self, dataset: Dataset) -> Floats:
        return self.answer(dataset)  # type: ignore[no-any-return]


def changed(edit: Callable[[Floats], Any]) -> Callable[[Dataset], Any]:
    return lambda dataset: edit(good(dataset))


def batch_mean(dataset: Dataset) -> Floats:
    answers = good(dataset)
    return ((answers + answers.mean(axis=0)) / 2).astype(np.float32)


def by_position(dataset: Dataset) -> Floats:
    return good(dataset)[np.argsort(good(dataset)[:, 0], kind="stable")]


@pytest.mark.parametrize(
    ("teacher", "broken"),
    [
        (Fake(name=""), "Fake has an empty name"),
        (Fake(prints=["zz" * 32]), "is not hex"),
        (Fake(prints=["ab" * 32, "cd" * 32]), "the fingerprint changes by itself"),
        (Fake(changed(lambda a: a.tolist())), "wanted a numpy array, got list"),
        (Fake(changed(lambda a: a[:, :2])), r"wanted shape \(150, 3\), got \(150, 2\)"),
        (Fake(changed(lambda a: a.astype(float))), "wanted float32, got float64"),
        (Fake(changed(lambda a: a * np.float32(np.nan))), "some answers are not finite"),
        (Fake(changed(lambda a: a - np.float32(0.1))), "some probabilities are negative"),
        (Fake(changed(lambda a: a * np.float32(0.9))), "rows sum to 1 only within 0.1"),
        (Fake(by_position), "answers do not go with their rows"),
        (Fake(batch_mean), "answers depend on the other rows"),
    ],
)
def test_every_broken_promise_is_named(wine: Dataset, teacher: Any, broken: str) -> None:
    with pytest.raises(AssertionError, match=broken):
        check_teacher(teacher, wine)


@dataclass(frozen=True)
class Restless:
    name: str = "restless"
    fingerprint: str = "ab" * 32
    fits: Any = field(default_factory=itertools.count)

    def fit(self, dataset: Dataset, *, seed: int) -> Fake:
        share = np.float32(0.1 * next(self.fits))
        return Fake(changed(lambda a: (1 - share) * a + share / 3))


def test_a_trainable_that_ignores_its_seed_is_found(wine: Dataset) -> None:
    with pytest.raises(AssertionError, match="one seed gave two teachers"):
        check_teacher(Restless(), wine)


def test_a_good_teacher_passes(wine: Dataset) -> None:
    check_teacher(Fake(), wine)
