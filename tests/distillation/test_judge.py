"""Who is chosen where validation rows are few: what the labels and the teacher say together."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import narwhals as nw
import numpy as np
import pandas as pd
import pytest

from potstill.artifact import Affine, Softmax
from potstill.distillation.judge import ENOUGH, WORTH, Hearsay, Judge, teacher_worth
from potstill.types import Column, Dataset, Doubles, Floats, Ints, Schema, Task, Tensors

BINARY, NUMBER = Task("binary", "y", (0, 1)), Task("regression", "y")
N_VALID, N_ASKED = 85, 2_000


class Linear(msgspec.Struct, frozen=True):
    """Logits that rise with x, or values that do; ``bent`` away from it beyond ``edge``."""

    slope: float
    edge: float = np.inf
    outputs: int = 2

    @property
    def n_parameters(self) -> int:
        return 1

    def logits(self, tensors: Tensors) -> Floats:
        x = tensors["numeric"][:, 0]
        score = self.slope * np.where(np.abs(x) > self.edge, -x, x)
        columns = [np.zeros_like(score), score] if self.outputs == 2 else [score]
        return np.stack(columns, axis=1).astype(np.float32)

    def build(self, *_: object) -> str:
        raise NotImplementedError


def tensors(x: Doubles) -> Tensors:
    return {"numeric": x[:, None].astype(np.float32)}


def probs(x: Doubles, slope: float = 4.0) -> Floats:
    second = 1 / (1 + np.exp(-slope * x))
    return np.stack([1 - second, second], axis=1).astype(np.float32)


def rows(x: Doubles, labels: Ints | Doubles, task: Task) -> Dataset:
    frame = nw.from_native(pd.DataFrame({"x": x}), eager_only=True)
    return Dataset(frame, task, Schema((Column("x", "numeric"),)), labels)


@pytest.fixture
def judge() -> Judge:
    """Validation rows that x separates by luck, and a teacher that knows how little it tells."""
    rng = np.random.default_rng(0)
    x, asked = rng.uniform(0.7, 1.5, N_VALID) * rng.choice([-1, 1], N_VALID), rng.uniform(-3, 3, N_ASKED)
    labels = (x > 0).astype(np.int64)
    hearsay = Hearsay(tensors(asked), probs(asked), probs(x), doubt=0.0, worth=teacher_worth(N_VALID))
    return Judge(rows(x, labels, BINARY), tensors(x), (1.0, 0.0), hearsay)


def temperature(judge: Judge, student: Linear) -> float:
    calibration, _ = judge.judged(student)
    assert isinstance(calibration, Softmax)
    return calibration.temperature


def test_rows_that_are_separable_by_luck_do_not_buy_certainty(judge: Judge) -> None:
    alone = replace(judge, hearsay=None)
    assert temperature(alone, Linear(12.0)) < 1.0
    assert temperature(judge, Linear(12.0)) > 2.0


def test_of_equals_on_the_validation_rows_the_one_that_contradicts_the_teacher_loses(judge: Judge) -> None:
    straight, bent = Linear(4.0), Linear(4.0, edge=1.5)
    alone = replace(judge, hearsay=None)
    assert alone.judged(straight)[1] == alone.judged(bent)[1]
    assert judge.judged(straight)[1] < judge.judged(bent)[1] - 0.05


def test_who_surely_knows_better_is_not_judged_by_the_teacher(judge: Judge) -> None:
    known = judge.hearsay
    assert known is not None
    hopeless = replace(known, answers=1 - known.answers, valid_answers=1 - known.valid_answers)
    for student in (Linear(12.0), Linear(4.0, edge=1.5)):
        assert replace(judge, hearsay=hopeless).judged(student) == replace(judge, hearsay=None).judged(
            student
        )


def test_the_more_validation_rows_the_less_the_teacher_counts() -> None:
    worth = [teacher_worth(n) for n in (2, 85, 500, 999, ENOUGH, 5_000)]
    assert worth == sorted(worth, reverse=True)
    assert worth[0] == pytest.approx(WORTH, rel=0.01)
    assert worth[3] < 1
    assert worth[4:] == [0, 0]


def test_values_are_held_against_the_teacher_and_its_doubt() -> None:
    rng = np.random.default_rng(0)
    x, asked = rng.normal(size=50), rng.normal(size=N_ASKED)
    valid = rows(x, x + rng.normal(size=50), NUMBER)
    hearsay = Hearsay(tensors(asked), asked[:, None].astype(np.float32), x[:, None], doubt=1.5, worth=150.0)
    judge = Judge(valid, tensors(x), (1.0, 0.0), hearsay)
    calibration, loss = judge.judged(Linear(1.0, outputs=1))
    assert calibration == Affine(1.0, 0.0)
    alone = replace(judge, hearsay=None).judged(Linear(1.0, outputs=1))[1]
    assert loss == pytest.approx(np.sqrt(0.25 * alone**2 + 0.75 * 1.5))
    assert judge.judged(Linear(1.0, edge=2.0, outputs=1))[1] > loss
