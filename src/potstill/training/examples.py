"""From a transfer set to what one student is told: which soft targets, how much of the label, which rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.transfer.combine import soften
from potstill.types import Examples, Floats, Ints, Labels, Origin, SoftTargets, Tensors, TransferSet

RealTargets = Literal["out_of_fold", "in_sample"]


class Targets(msgspec.Struct, frozen=True):
    """What a student is told about each row.

    Parameters
    ----------
    hard_label_weight
        Weight in [0, 1] of the label against the soft target on rows that have a label. 1 on real rows alone,
        with no others, is the hard-label twin.
    real
        Whether the soft target of a real row comes from the models that were kept off it (``out_of_fold``),
        as far as members have such, or from the whole teacher (``in_sample``).
    synthetic
        Share in [0, 1] of the transfer set's synthetic rows that is used.
    unlabeled
        Whether the rows without labels are used.
    smoothing
        Weight in [0, 1) of the uniform distribution in a twin's labels: the baseline that softens its targets
        without a teacher. It counts only where labels alone are taught.
    corrected
        Whether the soft target of a labelled row gives way to the label where the teacher's most probable
        class is another: for labels that are to be trusted. Without effect on values.
    generation
        Whose answers the soft targets are: 0 the teacher's, 1 those of the teacher and the students of the
        search together, 2 the same with the students that learned from these, and so on.
    """

    hard_label_weight: float = 0.5
    real: RealTargets = "out_of_fold"
    synthetic: float = 1.0
    unlabeled: bool = True
    smoothing: float = 0.0
    corrected: bool = False
    generation: int = 0

    @property
    def labels_only(self) -> bool:
        """Whether these are the targets of a hard-label twin: no teacher in them at all."""
        return self.hard_label_weight == 1.0 and self.synthetic == 0.0 and not self.unlabeled


LABELS_ONLY = Targets(hard_label_weight=1.0, synthetic=0.0, unlabeled=False)
"""The targets of the hard-label twin."""


def make_examples(
    transfer: TransferSet,
    tensors: Mapping[Origin, Tensors],
    targets: Targets,
    *,
    temperature: float,
    origins: Sequence[Origin] = ("real", "unlabeled", "synthetic"),
    scale: tuple[float, float] = (1.0, 0.0),
) -> Examples:
    """The examples of ``transfer`` under ``targets``.

    Parameters
    ----------
    transfer
        The rows and their soft targets.
    tensors
        The encoded rows of each origin.
    temperature
        Softens each member before the members are averaged; ignored for regression.
    origins
        The origins to take, in this order; those left out by ``targets`` or without rows are skipped.
    scale
        ``(scale, shift)``: regression values are divided by it after subtracting the shift.
    """
    taken = rows_taught(transfer, targets, origins)
    pieces = [
        _piece(transfer, tensors[origin], targets, origin, n_rows, temperature, scale)
        for origin, n_rows in taken.items()
    ]
    told = _join(pieces)
    return _smoothed(told, targets.smoothing) if targets.labels_only and targets.smoothing else told


def _smoothed(told: Examples, amount: float) -> Examples:
    """The labels of a twin mixed with the uniform distribution, which then stands in the teacher's place."""
    uniform = np.full_like(told.teacher_probs, 1 / told.teacher_probs.shape[1])
    return replace(told, teacher_probs=uniform, hard_weight=told.hard_weight * np.float32(1 - amount))


def rows_taught(transfer: TransferSet, targets: Targets, origins: Sequence[Origin]) -> dict[Origin, int]:
    """Rows of each origin that a student learns from under ``targets``; origins without any are left out."""
    counts = {
        origin: round(len(transfer.rows[origin]) * _share(targets, origin))
        for origin in origins
        if origin in transfer.rows
    }
    return {origin: n for origin, n in counts.items() if n}


def corrected(teacher_probs: Floats, labels: Ints) -> Floats:
    """Soft targets that contradict no label: where another class is most probable, the label alone counts.

    Parameters
    ----------
    teacher_probs
        ``(n, K)`` at any temperature.
    labels
        ``(n,)`` class indices; rows without one (-1) stay as they are.
    """
    wrong = np.flatnonzero((labels >= 0) & (teacher_probs.argmax(axis=1) != labels))
    right = teacher_probs.copy()
    right[wrong] = 0.0
    right[wrong, labels[wrong]] = 1.0
    return right


def standardised(soft: SoftTargets, scale: tuple[float, float]) -> Floats:
    """``(n, 1)`` float32: the weighted mean of the members' values, standardised by ``(scale, shift)``."""
    mean = np.einsum("m,mnk->nk", soft.weights, soft.probs.astype(np.float64))
    return np.asarray((mean - scale[1]) / scale[0], dtype=np.float32)


def _share(targets: Targets, origin: Origin) -> float:
    shares: dict[Origin, float] = {"unlabeled": float(targets.unlabeled), "synthetic": targets.synthetic}
    return shares.get(origin, 1.0)


def _piece(
    transfer: TransferSet,
    tensors: Tensors,
    targets: Targets,
    origin: Origin,
    n: int,
    temperature: float,
    scale: tuple[float, float],
) -> Examples:
    dataset = transfer.rows[origin]
    cross_fitted = origin == "real" and targets.real == "out_of_fold"
    soft = transfer.cross_fitted if cross_fitted else transfer.soft_targets[origin]
    probs = soft.probs[:, :n]
    weights = soft.weights
    if dataset.task.is_classification:
        teacher = soften(
            probs, weights, temperature, members=soft.member_temperatures, whole=soft.temperature
        )
        if targets.corrected and dataset.labels is not None:
            teacher = corrected(teacher, dataset.labels[:n].astype(np.int64))
    else:
        teacher = standardised(replace(soft, probs=probs), scale)
    labels = _labels(dataset.labels, n, dataset.task.is_classification, scale)
    labelled = ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0
    weight = np.ones(n) if dataset.weight is None else dataset.weight[:n] / _unit(transfer)
    return Examples(
        tensors={name: values[:n] for name, values in tensors.items()},
        teacher_probs=teacher,
        labels=labels,
        hard_weight=np.where(labelled, targets.hard_label_weight, 0.0).astype(np.float32),
        weight=weight.astype(np.float32),
    )


def _unit(transfer: TransferSet) -> float:
    """The mean weight of a real row: rows without a weight of their own, as synthetic ones, weigh as much."""
    weight = transfer.rows["real"].weight
    return 1.0 if weight is None else float(weight.mean()) or 1.0


def _labels(labels: Labels | None, n: int, classification: bool, scale: tuple[float, float]) -> Labels:
    if labels is None:
        return np.full(n, -1, dtype=np.int64) if classification else np.full(n, np.nan)
    if classification:
        return labels[:n]
    return (labels[:n].astype(np.float64) - scale[1]) / scale[0]


def _join(pieces: Sequence[Examples]) -> Examples:
    def joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    weight: Floats = joined([piece.weight for piece in pieces])
    return Examples(
        tensors={name: joined([piece.tensors[name] for piece in pieces]) for name in pieces[0].tensors},
        teacher_probs=joined([piece.teacher_probs for piece in pieces]),
        labels=joined([piece.labels for piece in pieces]),
        hard_weight=joined([piece.hard_weight for piece in pieces]),
        weight=(weight / weight.mean()).astype(np.float32),
    )
