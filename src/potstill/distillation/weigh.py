"""The members' answers made one teacher: each calibrated, weighed, and their mean calibrated again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from potstill.distillation.prepare import Part
from potstill.export import fit_temperature
from potstill.transfer import Collected, Evidence, best_member, select_weights, soften
from potstill.types import Dataset, Doubles, Floats

TRUSTED_ROWS = 1_000
"""Validation rows that have as much say in the weights as all rows answered out of fold; fewer have less."""

_FITTED_ROWS = 20_000
_TINY = 1e-9


@dataclass(frozen=True)
class Weighed:
    """How the members' answers become the teacher's.

    Each temperature comes twice. Out of fold one model of each member answers, elsewhere the mean of all of
    them, which is less sure than it should be and takes a lower one.

    Parameters
    ----------
    weights
        ``(M,)`` non-negative, sum 1.
    best
        Index of the member that is best alone.
    members, out_of_fold_members
        A temperature for each member, before the mean.
    whole, out_of_fold_whole
        A temperature of the weighted mean.
    """

    weights: Doubles
    best: int
    members: tuple[float, ...] = ()
    out_of_fold_members: tuple[float, ...] = ()
    whole: float = 1.0
    out_of_fold_whole: float = 1.0

    def answers(self, collected: Collected, part: Part) -> Floats:
        """``(n, K)`` what the teacher answers."""
        return soften(collected.answers[part], self.weights, 1.0, members=self.members, whole=self.whole)

    def best_answers(self, collected: Collected, part: Part) -> Floats:
        """``(n, K)`` what its best member answers alone."""
        return soften(collected.answers[part], self.alone, 1.0, members=self.members)

    @property
    def alone(self) -> Doubles:
        """``(M,)`` weights of the best member alone."""
        return np.asarray(np.eye(len(self.weights))[self.best])


def weigh(collected: Collected, train: Dataset, valid: Dataset, *, selected: bool, fresh: bool) -> Weighed:
    """Weights and temperatures of the members, by the rows that are out of fold and the validation rows.

    Parameters
    ----------
    collected
        What the members answered.
    train, valid
        The training rows, and the rows that no model was fitted on.
    selected
        Whether to choose at all; otherwise all weigh the same and answer as they are.
    fresh
        Whether all members were fitted here. Otherwise some may have seen the validation rows before, and
        these have no say where they answer only a part of the training rows out of fold.
    """
    count = len(collected.members)
    if train.labels is None or valid.labels is None:
        return Weighed(np.full(count, 1.0 / count), 0)
    known = collected.out_of_fold_mask
    crossed = Evidence(collected.out_of_fold, train.labels, train.weight)
    if not selected:
        told = crossed.of(np.flatnonzero(known))
        if not known.any():  # all members came fitted: they may know the training rows by heart
            told = Evidence(collected.answers["valid"], valid.labels, valid.weight)
        return Weighed(np.full(count, 1.0 / count), best_member([told], task=train.task))
    if known.any() and not known.all():
        crossed = crossed.of(np.flatnonzero(known))
        if not fresh:
            weights = select_weights([crossed], task=train.task)
            return Weighed(weights, best_member([crossed], task=train.task))
    held_out = Evidence(
        collected.answers["valid"], valid.labels, valid.weight, share=min(1.0, len(valid) / TRUSTED_ROWS)
    )
    if train.task.is_classification:
        crossed, held_out = _calibrated(crossed), _calibrated(held_out)
    # Where all members were fitted on all training rows, only the validation rows tell.
    evidence = [crossed, held_out] if known.any() else [held_out]
    weights = select_weights(evidence, task=train.task)
    return Weighed(
        weights=weights,
        best=best_member(evidence, task=train.task),
        members=tuple(held_out.temperatures),
        out_of_fold_members=tuple(evidence[0].temperatures),
        whole=_temperature(held_out, weights),
        out_of_fold_whole=_temperature(evidence[0], weights),
    )


def _calibrated(evidence: Evidence) -> Evidence:
    """The same answers with the temperature of each member that suits them best."""
    temperatures = [_temperature(evidence, weights) for weights in np.eye(len(evidence.answers))]
    return replace(evidence, temperatures=temperatures)


def _temperature(evidence: Evidence, weights: Doubles) -> float:
    """What the weighted mean of the answers is to be softened with; 1 for values."""
    if evidence.labels.dtype.kind == "f":
        return 1.0
    rows = slice(None, None, max(1, len(evidence.labels) // _FITTED_ROWS))
    mean = soften(evidence.answers[:, rows], weights, 1.0, members=evidence.temperatures)
    weight = None if evidence.sample_weight is None else evidence.sample_weight[rows]
    return fit_temperature(np.log(np.maximum(mean, _TINY)), evidence.labels[rows].astype(np.int64), weight)
