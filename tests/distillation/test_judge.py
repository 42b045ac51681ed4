"""Who is chosen where validation rows are few: what the labels and the teacher say together."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import narwhals as nw
import numpy as np
import pandas as pd
import pytest

from potstill.artifact import Affine, Softmax
from potstill.distillation.judge import ENOUGH, MOST_SHARE, Hearsay, Judge, teacher_share
from potstill.types import Column, Dataset, Doubles, Floats, Ints, Schema, Task, Tensors

BINARY, NUMBER = Task("binary", "y", (0, 1)), Task("regression", "y")
N_VALID = 85


class Linear(msgspec.Struct, frozen=True):
    """Logits that rise with x, or values that do."""

    slope: float
    outputs: int = 2

    @property
    def n_parameters(self) -> int:
        return 1

    def logits(self, tensors: Tensors) -> Floats:
        score = self.slope * tensors["numeric"][:, 0]
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
    x = rng.uniform(0.5, 1.5, N_VALID) * rng.choice([-1, 1], N_VALID)
    labels = (x > 0).astype(np.int64)
    hearsay = Hearsay(probs(x), doubt=0.0, share=teacher_share(N_VALID))
    return Judge(rows(x, labels, BINARY), tensors(x), (1.0, 0.0), hearsay)


def temperature(judge: Judge, student: Linear) -> float:
    calibration, _ = judge.judged(student)
    assert isinstance(calibration, Softmax)
    return calibration.temperature


def test_rows_that_are_separable_by_luck_do_not_buy_certainty(judge: Judge) -> None:
    alone = replace(judge, hearsay=None)
    assert temperature(alone, Linear(12.0)) < 1.0
    assert temperature(judge, Linear(12.0)) > 1.4


def test_who_is_surer_of_the_same_is_the_better_to_the_labels_and_the_worse_to_the_teacher(
    judge: Judge,
) -> None:
    alone = replace(judge, hearsay=None)
    sure, doubting = (Softmax().apply(Linear(slope).logits(judge.tensors)) for slope in (12.0, 5.0))
    assert alone.loss(sure) < alone.loss(doubting)
    assert judge.loss(sure) > judge.loss(doubting)


def test_who_surely_knows_better_is_not_judged_by_the_teacher(judge: Judge) -> None:
    known = judge.hearsay
    assert known is not None
    wrong = replace(judge, hearsay=replace(known, answers=1 - known.answers))
    alone = replace(judge, hearsay=None)
    assert wrong.judged(Linear(12.0)) == alone.judged(Linear(12.0))
    assert judge.judged(Linear(12.0)) != alone.judged(Linear(12.0))


def test_the_more_validation_rows_the_less_the_teacher_counts() -> None:
    shares = [teacher_share(n) for n in (2, 85, 300, 499, ENOUGH, 5_000)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(MOST_SHARE, rel=0.01)
    assert 0 < shares[3] < 0.002
    assert shares[4:] == [0, 0]


def test_values_are_held_against_the_teacher_and_its_doubt() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    valid = rows(x, x + rng.normal(size=50), NUMBER)
    hearsay = Hearsay(x[:, None].astype(np.float32), doubt=1.5, share=0.25)
    judge = Judge(valid, tensors(x), (1.0, 0.0), hearsay)
    calibration, loss = judge.judged(Linear(1.0, outputs=1))
    assert calibration == Affine(1.0, 0.0)
    alone = replace(judge, hearsay=None).judged(Linear(1.0, outputs=1))[1]
    assert loss == pytest.approx(np.sqrt(0.75 * alone**2 + 0.25 * 1.5))
    assert judge.judged(Linear(1.2, outputs=1))[1] > loss
