"""What a student is told: which rows, which soft targets, how much of the label."""

from __future__ import annotations

import dataclasses

import msgspec
import narwhals as nw
import numpy as np
import pytest

from potstill.training.examples import LABELS_ONLY, Targets, corrected, make_examples, rows_taught
from potstill.types import Column, Dataset, Floats, Origin, Schema, SoftTargets, Task, TransferSet

ORIGINS: tuple[Origin, ...] = ("real", "held_out", "unlabeled", "synthetic")
SIZES: dict[Origin, int] = {"real": 6, "held_out": 2, "unlabeled": 4, "synthetic": 10}
CERTAIN = {"real": 0.9, "held_out": 0.8, "unlabeled": 0.7, "synthetic": 0.6}
OUT_OF_FOLD = 0.55


def rows_of(n: int, *, labelled: bool) -> Dataset:
    frame = nw.from_dict({"x": np.arange(n, dtype=float)}, backend="pandas")
    labels = np.zeros(n, dtype=np.int64) if labelled else None
    return Dataset(frame, Task("binary", "y", (0, 1)), Schema((Column("x", "numeric"),)), labels)


def soft(n: int, certain: float) -> SoftTargets:
    probs: Floats = np.tile(np.array([certain, 1 - certain], dtype=np.float32), (1, n, 1))
    return SoftTargets(("one",), probs, np.ones(1), np.ones(n, dtype=np.bool_), np.zeros(n, dtype=np.int64))


@pytest.fixture
def transfer() -> TransferSet:
    return TransferSet(
        rows={origin: rows_of(n, labelled=origin in ("real", "held_out")) for origin, n in SIZES.items()},
        soft_targets={origin: soft(n, CERTAIN[origin]) for origin, n in SIZES.items()},
        cross_fitted=soft(SIZES["real"], OUT_OF_FOLD),
    )


def tensors() -> dict[Origin, dict[str, Floats]]:
    return {origin: {"numeric": np.zeros((n, 1), dtype=np.float32)} for origin, n in SIZES.items()}


def test_the_twin_is_taught_by_labelled_rows_alone(transfer: TransferSet) -> None:
    assert rows_taught(transfer, LABELS_ONLY, ORIGINS) == {"real": 6, "held_out": 2}
    told = make_examples(transfer, tensors(), LABELS_ONLY, temperature=1.0, origins=ORIGINS)
    np.testing.assert_array_equal(told.hard_weight, np.ones(8))


def test_a_share_of_the_synthetic_rows_is_counted_as_it_is_taken(transfer: TransferSet) -> None:
    targets = Targets(hard_label_weight=0.25, synthetic=0.5)
    counted = rows_taught(transfer, targets, ORIGINS)
    assert counted == {"real": 6, "held_out": 2, "unlabeled": 4, "synthetic": 5}
    told = make_examples(transfer, tensors(), targets, temperature=1.0, origins=ORIGINS)
    assert len(told) == sum(counted.values())
    np.testing.assert_array_equal(told.hard_weight, [0.25] * 8 + [0.0] * 9)
    np.testing.assert_array_equal(told.labels, [0] * 8 + [-1] * 9)


@pytest.mark.parametrize(("real", "certain"), [("out_of_fold", OUT_OF_FOLD), ("in_sample", CERTAIN["real"])])
def test_only_real_rows_have_two_kinds_of_soft_target(
    transfer: TransferSet, real: str, certain: float
) -> None:
    targets = Targets(real=real)  # type: ignore[arg-type]
    told = make_examples(transfer, tensors(), targets, temperature=1.0, origins=ORIGINS)
    expected = [certain] * 6 + [0.8] * 2 + [0.7] * 4 + [0.6] * 10
    np.testing.assert_allclose(told.teacher_probs[:, 0], expected, rtol=1e-6)


def test_where_the_teacher_contradicts_a_label_the_label_alone_counts() -> None:
    probs = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], dtype=np.float32)
    right = corrected(probs, np.array([2, 0, -1]))
    expected = np.array([[0.0, 0.0, 1.0], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], dtype=np.float32)
    np.testing.assert_array_equal(right, expected)
    assert probs[0, 0] == np.float32(0.5)


def test_labelled_rows_alone_are_corrected(transfer: TransferSet) -> None:
    transfer.rows["real"].labels[:2] = 1  # type: ignore[index]
    told = make_examples(transfer, tensors(), Targets(corrected=True), temperature=1.0, origins=ORIGINS)
    certain = [0.0] * 2 + [OUT_OF_FOLD] * 4 + [0.8] * 2 + [0.7] * 4 + [0.6] * 10
    np.testing.assert_allclose(told.teacher_probs[:, 0], certain, rtol=1e-6)


def test_the_labels_of_a_smoothed_twin_are_mixed_with_the_uniform_distribution(transfer: TransferSet) -> None:
    smoothed = msgspec.structs.replace(LABELS_ONLY, smoothing=0.2)
    told = make_examples(transfer, tensors(), smoothed, temperature=1.0, origins=ORIGINS)
    assert len(told) == 8
    np.testing.assert_allclose(told.hard_weight, np.full(8, 0.8), rtol=1e-6)
    label = np.eye(2)[told.labels.astype(int)]
    weight = told.hard_weight[:, None]
    np.testing.assert_allclose(
        weight * label + (1 - weight) * told.teacher_probs, [[0.9, 0.1]] * 8, rtol=1e-6
    )


def test_only_a_twin_is_smoothed(transfer: TransferSet) -> None:
    plain = Targets(hard_label_weight=0.5)
    asked = msgspec.structs.replace(plain, smoothing=0.2)
    one, other = (
        make_examples(transfer, tensors(), targets, temperature=1.0, origins=ORIGINS)
        for targets in (plain, asked)
    )
    np.testing.assert_array_equal(one.teacher_probs, other.teacher_probs)
    np.testing.assert_array_equal(one.hard_weight, other.hard_weight)


def test_the_unit_of_the_weights_does_not_matter(transfer: TransferSet) -> None:
    """Synthetic rows weigh what a real row weighs on average, whether weights add up to 1 or are counts."""
    real, held_out = transfer.rows["real"], transfer.rows["held_out"]
    own = np.array([1.0, 1.0, 2.0, 2.0, 3.0, 3.0])

    def told(unit: float) -> Floats:
        rows = {
            **transfer.rows,
            "real": dataclasses.replace(real, weight=unit * own),
            "held_out": dataclasses.replace(held_out, weight=unit * own[:2]),
        }
        weighed = dataclasses.replace(transfer, rows=rows)
        return make_examples(weighed, tensors(), Targets(), temperature=1.0, origins=ORIGINS).weight

    np.testing.assert_allclose(told(1e-6), told(200_000.0), rtol=1e-5)
    np.testing.assert_allclose(told(1.0)[:6] / told(1.0)[-1], own / own.mean(), rtol=1e-5)
