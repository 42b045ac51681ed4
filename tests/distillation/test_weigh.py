"""The members made one teacher: weights, and the temperatures that calibrate members and mean."""

from __future__ import annotations

from dataclasses import replace

import narwhals as nw
import numpy as np
import pandas as pd
import pytest

from potstill.distillation.weigh import weigh
from potstill.transfer import Collected, soften
from potstill.types import Column, Dataset, Doubles, Floats, Ints, Schema, Task

THREE = Task("multiclass", "y", ("a", "b", "c"))
N_TRAIN, N_VALID = 3000, 1500


def rows_of(labels: Ints | Doubles, task: Task = THREE) -> Dataset:
    frame = nw.from_native(pd.DataFrame({"x": np.arange(len(labels), dtype=float)}), eager_only=True)
    return Dataset(frame, task, Schema((Column("x", "numeric"),)), labels)


def powers(logits: Doubles) -> Floats:
    each = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (each / each.sum(axis=-1, keepdims=True)).astype(np.float32)


def collected_of(out_of_fold: Floats, valid: Floats) -> Collected:
    n = out_of_fold.shape[1]
    return Collected(
        members=tuple(f"member {m}" for m in range(len(valid))),
        answers={"train": out_of_fold, "valid": valid},
        out_of_fold=out_of_fold,
        out_of_fold_mask=np.ones(n, np.bool_),
        folds=np.arange(n) % 2,
        costs=(),
        reused=0,
        left_out=(),
        notes=(),
        fingerprint="",
    )


@pytest.fixture(scope="module")
def calibrated() -> tuple[Collected, Dataset, Dataset]:
    """Two members that say what is so: the labels are drawn from the mean of what they know."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2.0, size=(N_TRAIN + N_VALID, 3))
    labels = (powers(logits).cumsum(axis=1) > rng.random((len(logits), 1))).argmax(axis=1)
    members = np.stack([powers(logits + rng.normal(scale=0.3, size=logits.shape)) for _ in range(2)])
    collected = collected_of(members[:, :N_TRAIN], members[:, N_TRAIN:])
    return collected, rows_of(labels[:N_TRAIN]), rows_of(labels[N_TRAIN:])


def log_loss(answers: Floats, labels: Ints) -> float:
    return float(-np.log(answers[np.arange(len(labels)), labels]).mean())


def flattened(collected: Collected, temperature: float) -> Collected:
    """What all models together answer is less sure than what each alone does."""
    valid = np.stack([soften(member[None], np.ones(1), temperature) for member in collected.answers["valid"]])
    return replace(collected, answers={**collected.answers, "valid": valid})


def test_calibrated_members_are_left_nearly_alone(calibrated):
    weighed = weigh(*calibrated, selected=True, fresh=True)
    assert all(0.85 < temperature < 1.2 for temperature in weighed.members)
    assert 0.85 < weighed.whole < 1.1


def test_members_that_are_unsure_together_are_sharpened_there_and_only_there(calibrated):
    collected, train, valid = calibrated
    plain = weigh(collected, train, valid, selected=True, fresh=True)
    weighed = weigh(flattened(collected, 2.0), train, valid, selected=True, fresh=True)
    assert weighed.out_of_fold_members == plain.out_of_fold_members
    for sharpened, before in zip(weighed.members, plain.members, strict=True):
        assert sharpened == pytest.approx(before / 2, rel=0.1)
    answers = weighed.answers(flattened(collected, 2.0), "valid")
    assert (
        log_loss(answers, valid.labels)
        < log_loss(flattened(collected, 2.0).answers["valid"].mean(axis=0), valid.labels) - 0.02
    )
    alone = weighed.best_answers(flattened(collected, 2.0), "valid")
    assert (
        log_loss(alone, valid.labels)
        < log_loss(collected.answers["valid"][weighed.best], valid.labels) + 0.01
    )


def test_an_unsure_member_is_calibrated_before_it_is_weighed(calibrated):
    collected, train, valid = calibrated
    rng = np.random.default_rng(1)
    noise = powers(rng.normal(size=(N_TRAIN, 3)))
    good = soften(collected.out_of_fold[:1], np.ones(1), 4.0)
    mixed = collected_of(
        np.stack([good, 0.5 * collected.out_of_fold[1] + 0.5 * noise]),
        np.stack([collected.answers["valid"][0], collected.answers["valid"][1]]),
    )
    weighed = weigh(mixed, train, valid, selected=True, fresh=True)
    assert weighed.out_of_fold_members[0] == pytest.approx(0.25, rel=0.15)
    assert weighed.best == 0


def test_validation_rows_have_a_say_in_the_weights(calibrated):
    collected, train, valid = calibrated
    spoilt = collected.answers["valid"].copy()
    spoilt[0] = powers(np.random.default_rng(2).normal(size=spoilt[0].shape))
    weighed = weigh(
        replace(collected, answers={**collected.answers, "valid": spoilt}),
        train,
        valid,
        selected=True,
        fresh=True,
    )
    assert weighed.weights[0] < 0.2
    assert weighed.best == 1


def test_an_adopted_ensemble_answers_as_it_is(calibrated):
    collected, train, valid = calibrated
    weighed = weigh(flattened(collected, 2.0), train, valid, selected=False, fresh=False)
    assert weighed.weights.tolist() == [0.5, 0.5]
    np.testing.assert_allclose(
        weighed.answers(collected, "valid"), collected.answers["valid"].mean(axis=0), atol=1e-6
    )


def test_the_best_of_adopted_members_is_not_the_one_that_knows_its_rows_by_heart(calibrated):
    collected, train, valid = calibrated
    train_answers, valid_answers = collected.answers["train"].copy(), collected.answers["valid"].copy()
    train_answers[1] = 0.97 * np.eye(3)[train.labels] + 0.01
    valid_answers[1] = powers(np.random.default_rng(4).normal(size=valid_answers[1].shape))
    fitted = replace(
        collected,
        out_of_fold=train_answers,
        out_of_fold_mask=np.zeros(N_TRAIN, np.bool_),
        answers={"train": train_answers, "valid": valid_answers},
    )
    assert weigh(fitted, train, valid, selected=False, fresh=False).best == 0


def test_members_that_may_have_seen_the_rows_are_not_calibrated(calibrated):
    collected, train, valid = calibrated
    leaking = replace(collected, out_of_fold_mask=np.arange(N_TRAIN) > 5)
    weighed = weigh(leaking, train, valid, selected=True, fresh=False)
    assert (weighed.members, weighed.whole) == ((), 1.0)
    assert weighed.weights.sum() == pytest.approx(1)


def test_only_rows_out_of_fold_count_where_some_are(calibrated):
    """The second member knows by heart the rows it was fitted on, and nothing of the others."""
    collected, train, valid = calibrated
    known = np.arange(N_TRAIN) % 5 == 0
    answers = collected.out_of_fold.copy()
    answers[1] = powers(np.random.default_rng(3).normal(size=answers[1].shape))
    answers[1][~known] = 0.98 * np.eye(3)[train.labels[~known]] + 0.02 / 3
    spoilt = collected.answers["valid"].copy()
    spoilt[1] = powers(np.random.default_rng(4).normal(size=spoilt[1].shape))
    partly = replace(
        collected,
        out_of_fold=answers,
        out_of_fold_mask=known,
        answers={**collected.answers, "valid": spoilt},
    )
    weighed = weigh(partly, train, valid, selected=True, fresh=True)
    assert weighed.best == 0
    assert weighed.weights[1] < 0.2
    assert len(weighed.members) == len(weighed.out_of_fold_members) == 2
    # Nobody else can tell: by the rows out of fold alone where the validation rows may have been seen.
    assert weigh(partly, train, valid, selected=True, fresh=False).best == 0


def test_values_have_no_temperature():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=300)
    members = (truth + np.array([[0.1], [0.5]]) * rng.normal(size=(2, 300)))[:, :, None].astype(np.float32)
    task = Task("regression", "y")
    weighed = weigh(
        collected_of(members[:, :200], members[:, 200:]),
        rows_of(truth[:200], task),
        rows_of(truth[200:], task),
        selected=True,
        fresh=True,
    )
    assert weighed.best == 0
    assert (weighed.members, weighed.whole, weighed.out_of_fold_whole) == ((), 1.0, 1.0)
