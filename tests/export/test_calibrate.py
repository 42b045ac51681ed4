"""The temperature fitted after training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.artifact import Softmax
from potstill.export import Told, fit_temperature
from potstill.export.calibrate import HIGHEST, LOWEST, PRIOR_SPREAD


def sampled(n_rows: int, temperature: float, seed: int = 0):
    """Logits, and labels drawn from their softmax at a temperature: that one is the best."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n_rows, 4)).astype(np.float32)
    probs = Softmax(temperature).apply(logits)
    labels = (probs.cumsum(axis=1) > rng.random((n_rows, 1))).argmax(axis=1)
    return logits, labels


def log_loss(logits, labels, temperature):
    probs = Softmax(temperature).apply(logits)
    return -np.log(probs[np.arange(len(labels)), labels] + 1e-30).mean()


def penalised(logits, labels, temperature):
    prior = 0.5 * np.log(temperature) ** 2 / PRIOR_SPREAD**2
    return log_loss(logits, labels, temperature) + prior / len(labels)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 4.0])
def test_the_true_temperature_is_found(temperature):
    logits, labels = sampled(20_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


@given(st.integers(0, 1000), st.integers(1, 60), st.floats(0.2, 5))
def test_the_log_loss_never_rises_and_no_temperature_does_better(seed, n_rows, temperature):
    logits, labels = sampled(n_rows, temperature, seed)
    fitted = fit_temperature(logits, labels)
    assert LOWEST <= fitted <= HIGHEST
    best = penalised(logits, labels, fitted)
    assert log_loss(logits, labels, fitted) <= log_loss(logits, labels, 1.0) + 1e-6
    for other in np.geomspace(LOWEST * 1.01, HIGHEST * 0.99, 25):
        assert best <= penalised(logits, labels, other) + 1e-4


def test_one_is_exactly_one_when_nothing_is_to_gain():
    assert fit_temperature(np.zeros((5, 3), np.float32), np.array([0, 1, 2, 0, 1])) == 1.0
    assert fit_temperature(np.zeros((0, 3), np.float32), np.zeros(0, np.int64)) == 1.0
    assert fit_temperature(np.ones((2, 3), np.float32), np.array([-1, -1])) == 1.0


def test_rows_without_label_or_weight_do_not_count():
    logits, labels = sampled(500, 2.0)
    expected = fit_temperature(logits[:300], labels[:300])
    masked = np.where(np.arange(500) < 300, labels, -1)
    assert fit_temperature(logits, masked) == pytest.approx(expected, abs=1e-6)
    weight = (np.arange(500) < 300).astype(np.float32)
    assert fit_temperature(logits, labels, weight) == pytest.approx(expected, abs=1e-6)
    uneven = 1 + (np.arange(500) < 100).astype(np.float64)
    assert fit_temperature(logits, labels, 1e6 * uneven) == pytest.approx(
        fit_temperature(logits, labels, uneven), abs=1e-6
    )
    assert fit_temperature(logits, labels, uneven) != pytest.approx(fit_temperature(logits, labels), abs=1e-6)


def test_who_is_told_how_sure_one_can_be_is_as_sure():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=4, size=(4000, 3)).astype(np.float32)
    right = logits.argmax(axis=1)
    doubting = Softmax(3.0).apply(logits)
    assert fit_temperature(logits, right, told=Told(doubting, 0.0)) == fit_temperature(logits, right) < 0.5
    assert 1.0 < fit_temperature(logits, right, told=Told(doubting, 0.5)) < 3.0
    assert fit_temperature(logits, right, told=Told(doubting, 0.999)) == pytest.approx(3.0, rel=0.05)
    # Rows without a label are not held against anybody.
    some = np.where(np.arange(4000) < 2000, right, -1)
    few = fit_temperature(logits[:2000], right[:2000], told=Told(doubting[:2000], 0.5))
    assert fit_temperature(logits, some, told=Told(doubting, 0.5)) == pytest.approx(few, abs=1e-6)


def test_enormous_and_separable_logits_stay_in_range():
    logits = np.array([[1e30, 0], [0, 1e30], [-3e38, 3e38]], dtype=np.float32)
    assert LOWEST <= fit_temperature(logits, np.array([0, 1, 1])) <= HIGHEST
    assert fit_temperature(logits, np.array([1, 1, 1])) == pytest.approx(HIGHEST, rel=1e-3)


def test_a_few_separable_rows_do_not_buy_certainty():
    def easy(n_rows):
        labels = np.arange(n_rows) % 2
        return 3 * np.eye(2, dtype=np.float32)[labels], labels

    assert fit_temperature(*easy(20)) > 0.8
    assert 0.6 < fit_temperature(*easy(85)) < 0.9
    assert fit_temperature(*easy(100_000)) < 0.3
