"""Many members' answers made one: weights by greedy selection, a temperature on each, their average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from potstill.types import Doubles, Floats, Ints, Labels, Task

_TINY = 1e-12
_ROWS_AT_A_TIME = 65_536


@dataclass(frozen=True, eq=False)
class Evidence:
    """Answers to labelled rows that no model answering them was fitted on.

    Parameters
    ----------
    answers
        ``(M, n, K)``.
    labels
        ``(n,)``; rows without one (-1, NaN) do not count.
    sample_weight
        ``(n,)``; None when all weigh the same.
    temperatures
        What each member is softened with first; empty for 1.
    share
        Weight of all these rows together, relative to that of other evidence.
    """

    answers: Floats
    labels: Labels
    sample_weight: Doubles | None = None
    temperatures: Sequence[float] = ()
    share: float = 1.0

    def of(self, rows: Ints) -> Evidence:
        """The evidence of some of the rows."""
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        return replace(self, answers=self.answers[:, rows], labels=self.labels[rows], sample_weight=weight)


def select_weights(
    evidence: Sequence[Evidence], *, task: Task, rounds: int = 50, max_rows: int = 100_000
) -> Doubles:
    """Weights of the members by greedy selection with replacement.

    From the best single member on, each round adds the member with which the average of all added so far
    has the lowest loss: log-loss, or squared error for regression. The best of all averages on the way is
    taken, the earliest among equals; of equal members, the first.

    Parameters
    ----------
    evidence
        What the loss is measured on.
    task
        Which loss it is.
    rounds
        Members added, the first included; weights are multiples of one over the number added.
    max_rows
        Of evidence with more rows every n-th is used.

    Returns
    -------
    weights : (M,) float64, non-negative, sum 1

    References
    ----------
    Caruana, Niculescu-Mizil, Crew, Ksikes: Ensemble selection from libraries of models, ICML 2004.
    """
    answers, truth, weight = _pooled(evidence, task, max_rows)
    n_members = len(answers)
    if n_members == 1 or not len(truth):
        return np.full(n_members, 1 / n_members)
    counts = np.zeros((rounds, n_members))
    total = np.zeros_like(answers[0])
    losses = np.empty(rounds)
    for step in range(rounds):
        candidates = [_loss((total + answer) / (step + 1), truth, weight, task) for answer in answers]
        chosen = int(np.argmin(candidates))
        total += answers[chosen]
        counts[step:, chosen] += 1
        losses[step] = candidates[chosen]
    best = counts[int(np.argmin(losses))]
    return np.asarray(best / best.sum(), dtype=np.float64)


def best_member(evidence: Sequence[Evidence], *, task: Task) -> int:
    """Index of the member with the lowest log-loss (squared error), the first among equals."""
    answers, truth, weight = _pooled(evidence, task, None)
    if not len(truth):
        return 0
    return int(np.argmin([_loss(answer, truth, weight, task) for answer in answers]))


def mean_loss(evidence: Sequence[Evidence], weights: Doubles, *, task: Task) -> float:
    """Log-loss, or squared error, of the members' average with ``weights`` ``(M,)``."""
    answers, truth, weight = _pooled(evidence, task, None)
    return _loss(np.tensordot(weights, answers, axes=1), truth, weight, task)


def soften(
    probs: Floats,
    weights: Doubles,
    temperature: float,
    *,
    members: Sequence[float] = (),
    whole: float = 1.0,
) -> Floats:
    """The ensemble's probabilities at a temperature: each member softened, then their weighted average.

    Softening is ``softmax(log(p) / T)``; at ``T = 1`` this is the plain weighted mean, so it serves values
    of a regression too.

    Parameters
    ----------
    probs
        ``(M, n, K)`` probabilities.
    weights
        ``(M,)`` non-negative, sum 1.
    temperature
        ``T > 0`` of each member; above 1 it flattens.
    members
        What calibrates each member: its own factor of the temperature; empty for 1.
    whole
        What calibrates their average: a temperature of it alone.

    Returns
    -------
    probs : (n, K) float32

    References
    ----------
    Hinton, Vinyals, Dean: Distilling the knowledge in a neural network, 2015, section 2.
    """
    n_members, n, n_outputs = probs.shape
    averaged = np.empty((n, n_outputs), dtype=np.float32)
    for start in range(0, n, _ROWS_AT_A_TIME):
        rows = slice(start, start + _ROWS_AT_A_TIME)
        total = np.zeros(averaged[rows].shape)
        for member in range(n_members):
            if weights[member]:
                own = temperature * (members[member] if members else 1.0)
                total += weights[member] * _softened(probs[member, rows], own)
        averaged[rows] = _softened(total, whole)
    return averaged


def _softened(probs: Floats | Doubles, temperature: float) -> Doubles:
    exact = probs.astype(np.float64)
    if temperature == 1.0:
        return exact
    logits = np.log(np.maximum(exact, _TINY)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _pooled(
    evidence: Sequence[Evidence], task: Task, max_rows: int | None
) -> tuple[Doubles, Doubles, Doubles]:
    """``(M, n)`` probability of the row's class (log-loss sees no more) or value; truth, weight."""
    answers, truths, weights = [], [], []
    for each in evidence:
        labelled = each.labels >= 0 if task.is_classification else np.isfinite(each.labels)
        rows = np.flatnonzero(labelled)
        rows = rows[:: 1 if max_rows is None else max(1, -(-len(rows) // max_rows))]
        if not len(rows):
            continue
        weight = np.ones(len(rows)) if each.sample_weight is None else each.sample_weight[rows]
        answers.append(_own_answers(each, rows, task))
        truths.append(np.ones(len(rows)) if task.is_classification else each.labels[rows].astype(np.float64))
        weights.append(each.share * weight / weight.sum())
    if not answers:
        return np.empty((len(evidence[0].answers), 0)), np.empty(0), np.empty(0)
    return np.concatenate(answers, axis=1), np.concatenate(truths), np.concatenate(weights)


def _own_answers(evidence: Evidence, rows: np.ndarray[tuple[int], np.dtype[np.intp]], task: Task) -> Doubles:
    """``(M, rows)``: what each member, softened, gives the row's own class; its value for regression."""
    own = np.empty((len(evidence.answers), len(rows)))
    classes = evidence.labels[rows].astype(np.int64) if task.is_classification else np.zeros(len(rows), int)
    for member, probs in enumerate(evidence.answers):
        temperature = evidence.temperatures[member] if evidence.temperatures else 1.0
        own[member] = _softened(probs[rows], temperature)[np.arange(len(rows)), classes]
    return own


def _loss(answer: Doubles, truth: Doubles, weight: Doubles, task: Task) -> float:
    if task.is_classification:
        return float(-weight @ np.log(np.maximum(answer, _TINY)))
    return float(weight @ np.square(answer - truth))
