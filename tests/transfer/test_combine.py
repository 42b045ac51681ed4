"""Weights, temperature, average."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.transfer import Evidence, best_member, select_weights, soften
from potstill.types import Floats, Task

THREE = Task("multiclass", "y", classes=("a", "b", "c"))
VALUES = Task("regression", "y")


def noisy_members(noise: list[float], n: int = 400, seed: int = 0) -> tuple[Floats, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    logits = 2 * np.eye(3)[labels] + np.array(noise)[:, None, None] * rng.normal(size=(len(noise), n, 3))
    powers = np.exp(logits)
    return (powers / powers.sum(axis=2, keepdims=True)).astype(np.float32), labels


def log_loss(probs: Floats, labels: np.ndarray) -> float:
    return float(-np.log(probs[np.arange(len(labels)), labels]).mean())


def test_selected_average_beats_every_member_and_the_plain_mean() -> None:
    probs, labels = noisy_members([1.0, 1.2, 1.1, 6.0])
    weights = select_weights([Evidence(probs, labels)], task=THREE)
    assert weights.sum() == pytest.approx(1)
    assert weights[3] == 0
    combined = log_loss(soften(probs, weights, 1.0), labels)
    assert combined < min(log_loss(member, labels) for member in probs)
    assert combined < log_loss(probs.mean(axis=0), labels)


def test_best_member_is_where_selection_starts() -> None:
    probs, labels = noisy_members([3.0, 1.0, 2.0])
    assert best_member([Evidence(probs, labels)], task=THREE) == 1
    assert select_weights([Evidence(probs, labels)], task=THREE, rounds=1).tolist() == [0, 1, 0]


def test_equal_members_go_to_the_first() -> None:
    probs, labels = noisy_members([1.0])
    same = np.repeat(probs, 3, axis=0)
    assert best_member([Evidence(same, labels)], task=THREE) == 0
    assert select_weights([Evidence(same, labels)], task=THREE).tolist() == [1, 0, 0]


def test_regression_minimises_squared_error() -> None:
    truth = np.linspace(0, 1, 50)
    answers = np.stack([truth + 1, truth - 1, truth + 5])[:, :, None].astype(np.float32)
    assert select_weights([Evidence(answers, truth)], task=VALUES).tolist() == [0.5, 0.5, 0]
    weights = np.array([0.5, 0.5, 0])
    assert soften(answers, weights, 1.0)[:, 0] == pytest.approx(truth, abs=1e-6)


def test_rows_without_labels_and_without_weight_do_not_count() -> None:
    probs, labels = noisy_members([1.0, 3.0])
    swapped = np.concatenate([probs, probs[::-1]], axis=1)
    twice = np.concatenate([labels, np.full(400, -1)])
    assert best_member([Evidence(swapped, twice)], task=THREE) == 0
    both = np.concatenate([labels, labels])
    weight = np.repeat([0.0, 1.0], 400)
    assert best_member([Evidence(swapped, both, weight)], task=THREE) == 1
    assert select_weights([Evidence(swapped, both, weight)], task=THREE)[1] > 0.5
    none = np.full(800, -1)
    assert select_weights([Evidence(swapped, none)], task=THREE).tolist() == [0.5, 0.5]


def test_selection_is_quick() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(10), size=(12, 100_000)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 10, 100_000)
    begin = time.process_time()
    select_weights([Evidence(probs, labels)], task=Task("multiclass", "y", classes=tuple(range(10))))
    assert time.process_time() - begin < 6


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0, 100.0]))
def test_softened_rows_are_probabilities_whatever_the_order_of_members(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(4, 0.05), size=(3, 20)).astype(np.float32)
    probs[0, 0] = [1, 0, 0, 0]
    weights = rng.dirichlet(np.ones(3))
    softened = soften(probs, weights, temperature)
    assert softened.dtype == np.float32
    assert np.isfinite(softened).all()
    assert (softened >= 0).all()
    assert softened.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert soften(probs[::-1], weights[::-1], temperature) == pytest.approx(softened, abs=1e-6)


def test_soften_is_the_definition() -> None:
    probs = np.array([[[0.9, 0.1]], [[0.2, 0.8]]], dtype=np.float32)
    weights = np.array([0.25, 0.75])
    assert soften(probs, weights, 1.0)[0] == pytest.approx([0.375, 0.625])
    # At T = 2 a probability is proportional to its square root.
    first, second = 3 / (3 + 1), 1 / (1 + 2)
    assert soften(probs, weights, 2.0)[0, 0] == pytest.approx(0.25 * first + 0.75 * second)
