"""The cascade: a threshold that keeps what it promises, and an ensemble that may fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import UserError
from potstill.monitoring import (
    Cascade,
    CascadeCounts,
    Latencies,
    cascade_curve,
    cascade_point,
    choose_threshold,
)


def answers(n: int, *, noise: float, seed: int):
    """Calibrated-looking answers of two models, the second the better, and labels."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n) * 2
    labels = (rng.random(n) < 1 / (1 + np.exp(-2 * truth))).astype(np.int64)
    both = []
    for spread in (noise, 0.0):
        p = 1 / (1 + np.exp(-2 * (truth + spread * rng.normal(size=n))))
        both.append(np.stack([1 - p, p], axis=1).astype(np.float32))
    return *both, labels


def test_a_point_is_its_definition():
    student = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.55, 0.45]], np.float32)
    ensemble = np.array([[0.1, 0.9], [0.7, 0.3], [0.3, 0.7], [0.1, 0.9]], np.float32)
    labels = np.array([0, 0, 1, 0])
    point = cascade_point(student, ensemble, labels, 0.8)
    # rows 0 and 2 are the student's, right both; row 1 the ensemble's, right; row 3 the ensemble's, wrong
    assert (point.share, point.accuracy) == (0.5, 0.75)
    assert point.difference == 0.25
    half = 1.959963984540054 * np.std([1.0, 0.0, 0.0, 0.0]) / 2
    assert point.difference_high - point.difference == pytest.approx(half)
    assert point.low < 0.75 < point.high
    assert point.mean_us is None


def test_the_curve_goes_from_the_ensemble_to_the_student():
    student, ensemble, labels = answers(3000, noise=0.8, seed=1)
    curve = cascade_curve(student, ensemble, labels)
    assert curve[0].share == 0.0
    assert curve[0].accuracy == (ensemble.argmax(1) == labels).mean()
    assert curve[0].difference == 0.0
    assert curve[-1].share == 1.0
    assert curve[-1].accuracy == (student.argmax(1) == labels).mean()
    shares = [point.share for point in curve]
    assert shares == sorted(shares)
    assert max(np.diff(shares)) < 0.02


@given(st.floats(0.9, 1.0), st.integers(0, 50))
def test_the_chosen_threshold_keeps_what_was_asked_for(keep, seed):
    student, ensemble, labels = answers(400, noise=1.0, seed=seed)
    threshold = choose_threshold(student, ensemble, labels, keep=keep)
    point = cascade_point(student, ensemble, labels, threshold)
    alone = (ensemble.argmax(1) == labels).mean()
    assert point.accuracy >= keep * alone - 1e-12
    better = [each for each in cascade_curve(student, ensemble, labels) if each.share > point.share]
    assert all(each.accuracy < keep * alone for each in better)


def test_on_other_rows_it_holds_within_its_interval():
    student, ensemble, labels = answers(20_000, noise=0.8, seed=5)
    threshold = choose_threshold(student[:10_000], ensemble[:10_000], labels[:10_000], keep=0.99)
    point = cascade_point(student[10_000:], ensemble[10_000:], labels[10_000:], threshold)
    wanted = -0.01 * (ensemble.argmax(1) == labels).mean()
    assert point.difference_low < wanted < point.difference_high
    assert 0.4 < point.share < 0.999


def test_a_student_certain_where_it_is_wrong_gets_the_best_there_is():
    student = np.array([[1.0, 0.0]] * 4 + [[0.4, 0.6]] * 4, np.float32)
    labels = np.array([1] * 4 + [0] * 4)
    ensemble = np.eye(2, dtype=np.float32)[labels]
    threshold = choose_threshold(student, ensemble, labels, keep=1.0)
    assert cascade_point(student, ensemble, labels, threshold).accuracy == 0.5


def test_latency_is_the_mixture():
    student, ensemble, labels = answers(1000, noise=0.5, seed=2)
    latencies = Latencies((10.0, 20.0), (1000.0, 3000.0))
    curve = cascade_curve(student, ensemble, labels, latencies)
    for point in curve:
        assert point.mean_us == pytest.approx(15 + (1 - point.share) * 2000)
    assert curve[0].p99_us == 3015.0
    assert curve[-1].p99_us == 20.0
    assert {point.p99_us for point in curve} == {20.0, 1015.0, 3015.0}


@pytest.mark.parametrize("keep", [0.0, -1.0, 1.01, math.nan])
def test_what_is_no_share_is_refused(keep):
    student, ensemble, labels = answers(50, noise=0.5, seed=2)
    with pytest.raises(
        UserError, match=r"^Wanted a share of the ensemble's accuracy above 0 and up to 1, got"
    ):
        choose_threshold(student, ensemble, labels, keep=keep)


def test_no_rows_are_refused():
    none = np.empty((0, 2), np.float32)
    with pytest.raises(UserError, match=r"^A cascade is measured on labelled rows; got none"):
        choose_threshold(none, none, np.empty(0, np.int64), keep=1.0)


def oracle(rows):
    """An ensemble that is always sure of the second class."""
    return np.tile(np.array([[0.0, 1.0]], np.float32), (len(rows), 1))


def test_unsure_rows_go_to_the_ensemble_and_no_others(classes):
    rows = classes.rows(300).to_dict("records")
    asked = []

    def ask(some):
        asked.extend(some)
        return oracle(some)

    cascade = Cascade(classes.model, ask, threshold=0.8)
    outputs, by_ensemble = cascade.answer(rows)
    alone = classes.model.predict_proba(rows)
    np.testing.assert_array_equal(by_ensemble, alone.max(1) < 0.8)
    np.testing.assert_array_equal(outputs[~by_ensemble], alone[~by_ensemble])
    assert (outputs[by_ensemble] == [0.0, 1.0]).all()
    assert asked == [row for row, unsure in zip(rows, by_ensemble, strict=True) if unsure]
    n = int(by_ensemble.sum())
    assert 0 < n < 300
    assert cascade.counts == CascadeCounts(student=300 - n, ensemble=n, failed=0)


def test_one_row_says_who_answered(classes):
    rows = classes.rows(100).to_dict("records")
    always, never = (Cascade(classes.model, oracle, threshold=t) for t in (0.0, 1.0))
    mine = always.predict_one(rows[0])
    assert mine.pop("answered_by") == "student"
    assert mine == classes.model.predict_one(rows[0])
    assert never.predict_one(rows[0]) == {
        "label": "yes",
        "probabilities": {"no": 0.0, "yes": 1.0},
        "answered_by": "ensemble",
    }


def broken(rows):
    raise ConnectionError("gone")


@pytest.mark.parametrize(
    "ask",
    [
        broken,
        lambda rows: np.full((len(rows), 2), np.nan),
        lambda rows: np.full((len(rows), 2), 0.9),
        lambda rows: np.full((len(rows), 3), 1 / 3),
        lambda rows: np.full((len(rows) + 1, 2), 0.5),
        lambda rows: [["much", "little"]] * len(rows),
    ],
)
def test_where_the_ensemble_fails_the_students_answer_stands(classes, ask):
    rows = classes.rows(50).to_dict("records")
    cascade = Cascade(classes.model, ask, threshold=1.0)
    outputs, by_ensemble = cascade.answer(rows)
    np.testing.assert_array_equal(outputs, classes.model.predict_proba(rows))
    assert not by_ensemble.any()
    assert cascade.counts == CascadeCounts(student=0, ensemble=0, failed=50)


def test_what_makes_no_cascade_is_refused(classes, values):
    with pytest.raises(UserError, match=r"^A cascade needs a model of classes"):
        Cascade(values.model, oracle, threshold=0.9)
    with pytest.raises(UserError, match=r"^Wanted a threshold between 0 and 1, got 1.5"):
        Cascade(classes.model, oracle, threshold=1.5)
