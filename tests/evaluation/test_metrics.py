"""Every score against scikit-learn's, on arbitrary answers with ties, absent classes and weights."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from potstill.errors import UserError
from potstill.evaluation import classification_scores, operating_points, regression_scores
from potstill.evaluation.metrics import (
    accuracy,
    average_precision,
    brier,
    ece,
    log_loss,
    mae,
    r2,
    rmse,
    roc_auc,
)


@st.composite
def answered(draw, max_classes=5):
    """Probabilities on a coarse grid (so that they tie), labels, and weights or None."""
    n_classes, n = draw(st.integers(2, max_classes)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    raw = rng.integers(1, draw(st.sampled_from([3, 50])), size=(n, n_classes)).astype(np.float64)
    probs = (raw / raw.sum(axis=1, keepdims=True)).astype(draw(st.sampled_from([np.float32, np.float64])))
    labels = rng.integers(0, draw(st.integers(1, n_classes)), size=n)
    weight = rng.integers(1, 6, size=n) / 2.0 if draw(st.booleans()) else None
    return probs, labels.astype(np.int64), weight


@settings(max_examples=150, deadline=None)
@given(answered())
def test_accuracy_log_loss_and_brier_are_sklearns(case):
    probs, labels, weight = case
    classes = list(range(probs.shape[1]))
    chosen = probs.argmax(axis=1)
    assert accuracy(probs, labels, weight) == pytest.approx(
        oracle.accuracy_score(labels, chosen, sample_weight=weight)
    )
    exact = probs.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert log_loss(probs, labels, weight) == pytest.approx(
        oracle.log_loss(labels, exact, labels=classes, sample_weight=weight), rel=1e-5
    )
    theirs = oracle.brier_score_loss(
        labels, exact, labels=classes, sample_weight=weight, scale_by_half=False, pos_label=None
    )
    assert brier(probs, labels, weight) == pytest.approx(theirs, rel=1e-5)


@settings(max_examples=150, deadline=None)
@given(answered())
def test_ranking_scores_are_sklearns_and_skip_absent_classes(case):
    probs, labels, weight = case
    n_classes = probs.shape[1]
    ks = [1] if n_classes == 2 else range(n_classes)
    present = [k for k in ks if 0 < (labels == k).sum() < len(labels)]
    if not present:
        assert roc_auc(probs, labels, weight) is None
        assert average_precision(probs, labels, weight) is None
        return
    auc = [oracle.roc_auc_score(labels == k, probs[:, k], sample_weight=weight) for k in present]
    ap = [oracle.average_precision_score(labels == k, probs[:, k], sample_weight=weight) for k in present]
    assert roc_auc(probs, labels, weight) == pytest.approx(np.mean(auc))
    assert average_precision(probs, labels, weight) == pytest.approx(np.mean(ap))


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_regression_scores_are_sklearns(n, seed, weighted):
    rng = np.random.default_rng(seed)
    values, predicted = rng.normal(size=n) * 1e5 + 3e6, rng.normal(size=(n, 1)) * 1e5 + 3e6
    weight = rng.integers(1, 5, size=n) / 3.0 if weighted else None
    flat = predicted[:, 0]
    assert r2(predicted, values, weight) == pytest.approx(oracle.r2_score(values, flat, sample_weight=weight))
    assert rmse(predicted, values, weight) == pytest.approx(
        oracle.root_mean_squared_error(values, flat, sample_weight=weight)
    )
    assert mae(flat, values, weight) == pytest.approx(
        oracle.mean_absolute_error(values, flat, sample_weight=weight)
    )


def test_r2_of_constant_values_is_finite():
    constant = np.full(4, 2.0)
    assert r2(constant, constant) == 1.0
    assert r2(constant + 1.0, constant) == 0.0


@settings(max_examples=60, deadline=None)
@given(answered(), st.integers(0, 10))
def test_weights_count_rows(case, seed):
    """A row of weight 3 is three rows; a row of weight 0 is none."""
    probs, labels, _ = case
    times = np.random.default_rng(seed).integers(0, 4, size=len(labels))
    if times.sum() == 0:
        times[0] = 1
    weighted = classification_scores(probs, labels, times.astype(np.float64))
    repeated = classification_scores(np.repeat(probs, times, axis=0), np.repeat(labels, times))
    assert weighted.keys() == repeated.keys()
    for name, value in weighted.items():
        assert value == pytest.approx(repeated[name], abs=1e-9), name


def test_ece_by_hand():
    confidence = np.array([0.95, 0.95, 0.65, 0.65])
    probs = np.stack([1 - confidence, confidence], axis=1)
    labels = np.array([1, 0, 1, 1])
    # One bin at .95 with half right, one at .65 with all right.
    assert ece(probs, labels) == pytest.approx(0.5 * 0.45 + 0.5 * 0.35)
    assert ece(probs, labels, np.array([3.0, 1.0, 2.0, 2.0])) == pytest.approx(0.5 * 0.20 + 0.5 * 0.35)


@settings(max_examples=60, deadline=None)
@given(answered(), st.sampled_from(["width", "mass"]), st.integers(0, 5))
def test_ece_is_in_bounds_and_does_not_depend_on_the_order_of_rows(case, binning, seed):
    probs, labels, weight = case
    value = ece(probs, labels, weight, binning=binning)
    assert 0.0 <= value <= 1.0
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = ece(probs[order], labels[order], None if weight is None else weight[order], binning=binning)
    assert value == pytest.approx(shuffled, abs=1e-9)


def test_a_certain_mistake_costs_a_finite_log_loss():
    probs = np.array([[1.0, 0.0]], dtype=np.float32)
    assert log_loss(probs, np.array([1])) == pytest.approx(-np.log(1e-7))
    assert log_loss(probs, np.array([0])) == 0.0


@settings(max_examples=100, deadline=None)
@given(answered(max_classes=2))
def test_operating_points_keep_their_rate_and_are_the_best_that_do(case):
    probs, labels, weight = case
    mass = np.ones(len(labels)) if weight is None else weight
    scores, positive = probs[:, 1], labels == 1
    points = operating_points(scores, labels, (0.0, 0.1, 0.5, 1.0), weight=weight)
    if positive.all() or not positive.any():
        assert points == ()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fpr, tpr, _ = oracle.roc_curve(positive, scores, sample_weight=weight, drop_intermediate=False)
    for point in points:
        assert point.reached_fpr <= point.fpr + 1e-12
        assert point.recall == pytest.approx(tpr[fpr <= point.fpr + 1e-12].max())
        if point.threshold is None:
            assert (point.recall, point.precision) == (0.0, None)
            continue
        called = scores >= point.threshold
        assert point.reached_fpr == pytest.approx(mass[called & ~positive].sum() / mass[~positive].sum())
        assert point.precision == pytest.approx(mass[called & positive].sum() / mass[called].sum())
    assert points[-1].recall == pytest.approx(1.0)


def test_scores_leave_out_what_the_rows_do_not_define():
    scores = classification_scores(np.array([[0.7, 0.3], [0.6, 0.4]]), np.array([0, 0]))
    assert list(scores) == ["accuracy", "log_loss", "brier", "ece"]


@pytest.mark.parametrize(
    ("probs", "labels", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "Scores need at least one row, got none."),
        (
            np.zeros((2, 1)),
            np.zeros(2, int),
            "Probabilities must have shape (2, K) with K of at least 2, got (2, 1).\n\n"
            "hint: for two classes pass both columns",
        ),
        (
            np.full((2, 2), 0.5),
            np.array([0, -1]),
            "Labels must be class indices from 0 to 1, got -1 to 0.\n\nhint: leave out rows without a label",
        ),
    ],
)
def test_unfit_answers_are_refused(probs, labels, message):
    with pytest.raises(UserError) as caught:
        classification_scores(probs, labels)
    assert str(caught.value) == message


def test_unfit_values_are_refused():
    with pytest.raises(UserError) as caught:
        regression_scores(np.zeros((3, 2)), np.zeros(3))
    assert str(caught.value) == "Predicted values must have shape (3,) or (3, 1), got (3, 2)."
