"""The gap recovered and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.evaluation import (
    Interval,
    advantages,
    bootstrap_gap,
    difference_interval,
    gap_recovered,
    gaps_recovered,
)
from potstill.evaluation.metrics import accuracy, log_loss, log_losses, r2, rmse
from potstill.evaluation.recovery import EXACT_UNITS, resampled_means


def three_losses(n, seed=0, edge=0.3, gain=0.2):
    rng = np.random.default_rng(seed)
    twin = rng.exponential(size=n)
    return twin - edge + 0.1 * rng.normal(size=n), twin, twin - gain + 0.1 * rng.normal(size=n)


def three_answers(n=400, k=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, size=n)
    answers = []
    for strength in (2.0, 1.0, 1.6):
        logits = rng.normal(size=(n, k))
        logits[np.arange(n), labels] += strength
        probs = np.exp(logits)
        answers.append((probs / probs.sum(axis=1, keepdims=True)).astype(np.float32))
    return answers, labels


def test_the_ratio_has_the_ends_it_should():
    assert gap_recovered(0.9, 0.8, 0.9) == 1.0
    assert gap_recovered(0.9, 0.8, 0.8) == 0.0
    assert gap_recovered(0.25, 0.5, 0.75) == -1.0
    assert gap_recovered(0.8, 0.8, 0.9) is None


def test_value_edge_and_gain_are_those_of_the_scores():
    (teacher, twin, student), labels = three_answers()
    weight = np.random.default_rng(1).random(len(labels)) + 0.1
    gaps = gaps_recovered(teacher, twin, student, labels, classification=True, n=200, weight=weight)
    for metric, score in (("accuracy", accuracy), ("log_loss", log_loss)):
        scores = [score(probs, labels, weight) for probs in (teacher, twin, student)]
        assert gaps[metric].value == pytest.approx(gap_recovered(*scores))
        assert abs(gaps[metric].edge.value) == pytest.approx(abs(scores[0] - scores[1]))
        assert gaps[metric].low < gaps[metric].value < gaps[metric].high
        assert not gaps[metric].edge_is_noise
    assert gaps["accuracy"].edge.value > 0.0
    assert gaps["log_loss"].edge.value > 0.0


def test_regression_gaps_are_those_of_the_scores():
    rng = np.random.default_rng(0)
    values = 50.0 + 10.0 * rng.normal(size=500)
    teacher, twin, student = (
        (values + spread * rng.normal(size=500)).reshape(-1, 1) for spread in (2.0, 4.0, 2.5)
    )
    gaps = gaps_recovered(teacher, twin, student, values, classification=False, n=200)
    for metric, score in (("r2", r2), ("rmse", rmse)):
        scores = [score(answers, values) for answers in (teacher, twin, student)]
        assert gaps[metric].value == pytest.approx(gap_recovered(*scores))
        assert gaps[metric].edge.value == pytest.approx(abs(scores[0] - scores[1]))


@pytest.mark.parametrize("n", [500, EXACT_UNITS + 1000])
def test_the_interval_of_a_mean_is_the_textbooks(n):
    """Both ways of resampling give the mean's standard error, with weights too."""
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, size=(n, 1)) * 1e4
    means = resampled_means(values, n=2000, seed=1)
    assert means.mean() == pytest.approx(values.mean(), rel=0.01)
    assert means.std() == pytest.approx(values.std() / np.sqrt(n), rel=0.08)
    weight = rng.choice([0.0, 1.0], size=n)
    kept = values[weight == 1.0]
    means = resampled_means(values, n=2000, seed=1, weight=weight)
    assert means.mean() == pytest.approx(kept.mean(), rel=0.01)
    assert means.std() == pytest.approx(kept.std() / np.sqrt(len(kept)), rel=0.08)


def test_the_interval_covers_the_true_ratio_as_often_as_it_says():
    hits = 0
    for seed in range(200):
        gap = bootstrap_gap(*three_losses(300, seed), n=300, seed=seed)
        hits += gap.low <= 2 / 3 <= gap.high
    assert 180 <= hits <= 199


def test_groups_are_drawn_whole():
    """Ten copies of each row in a group are no more evidence than one."""
    teacher, twin, student = three_losses(200)
    alone = bootstrap_gap(teacher, twin, student, seed=3)
    copies = [np.repeat(losses, 10) for losses in (teacher, twin, student)]
    grouped = bootstrap_gap(*copies, groups=np.repeat(np.arange(200), 10), seed=3)
    rows = bootstrap_gap(*copies, seed=3)
    width = alone.high - alone.low
    assert grouped.high - grouped.low == pytest.approx(width, rel=0.1)
    assert rows.high - rows.low < 0.5 * width


def test_a_noisy_edge_is_flagged_and_its_interval_is_finite():
    rng = np.random.default_rng(0)
    twin = rng.exponential(size=200)
    gap = bootstrap_gap(twin + 0.1 * rng.normal(size=200), twin, twin - 0.1)
    assert gap.edge_is_noise
    assert gap.edge.contains_zero
    assert not gap.gain.contains_zero
    assert np.isfinite([gap.value, gap.low, gap.high]).all()


def test_a_twin_that_beats_the_teacher_leaves_no_gap_to_recover():
    teacher, twin, student = three_losses(500, edge=-0.3, gain=-0.2)
    gap = bootstrap_gap(teacher, twin, student)
    assert gap.value == pytest.approx(2 / 3, abs=0.1)
    assert gap.edge_is_noise


def test_equal_teacher_and_twin_have_no_ratio():
    losses = np.random.default_rng(0).exponential(size=50)
    gap = bootstrap_gap(losses, losses, losses - 0.1)
    assert (gap.value, gap.low, gap.high) == (None, None, None)
    assert gap.edge_is_noise
    assert gap.gain.value == pytest.approx(0.1)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 200), st.integers(0, 100), st.floats(-5, 5), st.floats(0.01, 1e6))
def test_the_ratio_does_not_depend_on_shift_and_scale(n, seed, shift, scale):
    teacher, twin, student = three_losses(n, seed)
    plain = bootstrap_gap(teacher, twin, student, n=50, seed=seed)
    moved = bootstrap_gap(*((losses + shift) * scale for losses in (teacher, twin, student)), n=50, seed=seed)
    assert moved.value == pytest.approx(plain.value, rel=1e-6, abs=1e-6)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    losses = three_losses(EXACT_UNITS + 500)
    assert bootstrap_gap(*losses, n=100, seed=5) == bootstrap_gap(*losses, n=100, seed=5)
    assert bootstrap_gap(*losses, n=100, seed=5).low != bootstrap_gap(*losses, n=100, seed=6).low


def test_difference_interval_is_signed():
    teacher, twin, _ = three_losses(300)
    interval = difference_interval(twin, teacher)
    assert interval.value == pytest.approx((twin - teacher).mean())
    assert 0.0 < interval.low < interval.value < interval.high
    assert difference_interval(teacher, twin).high < 0.0


def test_a_gap_of_rounding_is_no_gap():
    rng = np.random.default_rng(0)
    twin = rng.random(200)
    teacher = twin + 1e-17 * rng.normal(size=200)
    found = bootstrap_gap(teacher, twin, rng.random(200), n=100)
    assert (found.value, found.low, found.high) == (None, None, None)


def test_wrong_answers_as_many_as_the_twins_never_make_astronomical_ratios():
    wrong = np.zeros(755)
    teacher, twin, student = wrong.copy(), wrong.copy(), wrong.copy()
    teacher[:9], twin[3:13], student[:5] = 1.0, 1.0, 1.0
    found = bootstrap_gap(teacher, twin, student)
    assert found.edge_is_noise
    assert abs(found.low) < 1e3
    assert abs(found.high) < 1e3


def test_advantages_are_those_of_the_pairs_and_positive_when_better():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=400)
    outputs = {}
    for model, strength in (("a", 1.0), ("b", 2.0), ("c", 2.0)):
        logits = rng.normal(size=(400, 3))
        logits[np.arange(400), labels] += strength
        probs = np.exp(logits)
        outputs[model] = probs / probs.sum(axis=1, keepdims=True)
    found = advantages(outputs, labels, of="b", classification=True, n=400, seed=1)
    assert list(found) == ["a", "c"]
    losses = {model: log_losses(probs, labels) for model, probs in outputs.items()}
    alone = difference_interval(losses["a"], losses["b"], n=400, seed=1)
    over = found["a"]["log_loss"]
    assert over.value == pytest.approx(alone.value)
    assert (over.low, over.high) == pytest.approx((alone.low, alone.high), abs=0.02)
    assert over.low > 0.0
    assert found["c"]["log_loss"].contains_zero
    hits = {model: (probs.argmax(axis=1) == labels).mean() for model, probs in outputs.items()}
    assert found["a"]["accuracy"].value == pytest.approx(hits["b"] - hits["a"])


def test_advantages_of_values_are_in_rmse():
    truth = np.arange(100.0)
    outputs = {"good": truth[:, None] + 1.0, "bad": truth - 3.0}
    assert advantages(outputs, truth, of="good", classification=False, n=50) == {
        "bad": {"rmse": Interval(2.0, 2.0, 2.0)}
    }
