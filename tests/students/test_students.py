"""Families of students: the contract, held over the table."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from potstill.students import (
    GBDT,
    MLP,
    STUDENTS,
    Additive,
    DepthwiseCNN,
    NGram,
    ResidualCNN,
    Static,
    TabM,
    Transformer,
)
from potstill.testing.student import check_student
from potstill.testing.student_cases import cases_for
from potstill.types import Student

SMALL: dict[str, Student] = {
    "gbdt": GBDT(),
    "mlp": MLP(hidden=(16,), learning_rate=0.1, epochs=30),
    "tabm": TabM(hidden=(16,), heads=3, kept=2, learning_rate=0.1, epochs=30),
    "additive": Additive(),
    "static": Static(word_dim=32, units=16, hidden=(32,), learning_rate=0.003, epochs=30),
    "ngram": NGram(epochs=20),
    "residual": ResidualCNN(widths=(8, 16), blocks=(1, 1), learning_rate=0.01, epochs=10, shift=0.0),
    "depthwise": DepthwiseCNN(
        widths=(8, 16), blocks=(0, 1), expansion=2, learning_rate=0.01, epochs=10, shift=0.0
    ),
    "transformer": Transformer(width=32, layers=1, epochs=12, learning_rate=5e-3),
}
"""A quick one of each family."""


def test_every_family_is_checked() -> None:
    assert SMALL.keys() == STUDENTS.keys()


@pytest.mark.parametrize("name", STUDENTS)
def test_contract(name: str) -> None:
    check_student(SMALL[name])


@pytest.mark.parametrize("name", STUDENTS)
def test_names_are_the_table_keys_and_parts_are_frozen(name: str) -> None:
    student = STUDENTS[name]()
    assert student.name == name
    with pytest.raises(AttributeError, match="immutable"):
        student.size = 2.0  # type: ignore[misc]


@pytest.mark.parametrize("part", [GBDT(leaves=7, size=2.0), MLP(hidden=(64, 32), numeric_embedding=None)])
def test_a_part_survives_json(part: Student) -> None:
    assert msgspec.json.decode(msgspec.json.encode(part), type=type(part)) == part


@pytest.mark.parametrize("student", SMALL.values(), ids=SMALL)
def test_progress_is_told(student: Student) -> None:
    class Counting:
        total: int | None = None
        done = 0

        def start(self, stage: str, total: int | None = None) -> None:
            self.total = total

        def advance(self, amount: int = 1, note: str = "") -> None:
            self.done += amount

        def note(self, message: str) -> None:
            return

    case, counting = cases_for(student)[1], Counting()
    student.fit(
        case.train,
        None,
        spec=case.spec,
        task=case.task,
        objective=case.objective,
        seed=0,
        effort=4,
        progress=counting,
    )
    assert (counting.total, counting.done) == (4, 4)


@pytest.mark.parametrize("student", SMALL.values(), ids=SMALL)
def test_sample_weights_count(student: Student) -> None:
    """A class whose rows weigh nothing is hardly ever predicted."""
    case = cases_for(student)[0]
    known = np.flatnonzero(case.train.labels >= 0)
    labels = case.train.labels[known]
    examples = replace(
        case.train,
        tensors={name: tensor[known] for name, tensor in case.train.tensors.items()},
        teacher_probs=case.train.teacher_probs[known],
        labels=labels,
        hard_weight=np.ones(len(known), dtype=np.float32),
        weight=np.where(labels == 1, 0.001, 1.0).astype(np.float32),
    )
    fitted, _ = student.fit(
        examples, None, spec=case.spec, task=case.task, objective=case.objective, seed=0, effort=5
    )
    predicted = fitted.logits(case.valid.tensors).argmax(axis=1)
    assert (case.valid.labels == 1).mean() > 0.4
    assert (predicted == 1).mean() < 0.1


@pytest.mark.parametrize("name", ["mlp", "tabm", "residual", "depthwise"])
def test_variants_are_other_settings_of_the_same_size(name: str) -> None:
    student = STUDENTS[name]().resized(0.5)
    variants = student.variants()
    assert 1 <= len(variants) <= 4
    assert len({student, *variants}) == 1 + len(variants)
    assert all(type(variant) is type(student) and variant.size == 0.5 for variant in variants)
