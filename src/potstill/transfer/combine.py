"""Many members' answers made one: weights by greedy selection, a temperature on each, their average."""

from __future__ import annotations

import numpy as np

from potstill.types import Doubles, Floats, Labels, Task

_TINY = 1e-12
_ROWS_AT_A_TIME = 65_536


def select_weights(
    out_of_fold: Floats,
    labels: Labels,
    *,
    task: Task,
    sample_weight: Doubles | None = None,
    rounds: int = 50,
    max_rows: int = 100_000,
) -> Doubles:
    """Weights of the members by greedy selection with replacement.

    From the best single member on, each round adds the member with which the average of all added so far
    has the lowest loss: log-loss, or squared error for regression. The best of all averages on the way is
    taken, the earliest among equals; of equal members, the first. Above ``max_rows`` rows every n-th is
    used.

    Parameters
    ----------
    out_of_fold
        ``(M, n, K)`` answers of members that were not fitted on the row.
    labels
        ``(n,)``; rows without one (-1, NaN) are left out.
    sample_weight
        ``(n,)``; None when all weigh the same.
    rounds
        Members added, the first included; weights are multiples of one over the number added.

    Returns
    -------
    weights : (M,) float64, non-negative, sum 1

    References
    ----------
    Caruana, Niculescu-Mizil, Crew, Ksikes: Ensemble selection from libraries of models, ICML 2004.
    """
    n_members = out_of_fold.shape[0]
    if n_members == 1:
        return np.ones(1)
    rows = _usable_rows(labels, task, max_rows)
    if len(rows) == 0:
        return np.full(n_members, 1 / n_members)
    answers, truth = _label_answers(out_of_fold, labels, rows, task)
    weight = np.ones(len(rows)) if sample_weight is None else sample_weight[rows].astype(np.float64)
    weight = weight / weight.sum()

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


def best_member(
    out_of_fold: Floats, labels: Labels, *, task: Task, sample_weight: Doubles | None = None
) -> int:
    """Index of the member with the lowest log-loss (squared error), the first among equals.

    Parameters are those of `select_weights`; all labelled rows count.
    """
    rows = _usable_rows(labels, task, len(labels))
    if len(rows) == 0:
        return 0
    weight = np.ones(len(rows)) if sample_weight is None else sample_weight[rows]
    losses = []
    for member in range(out_of_fold.shape[0]):
        answers, truth = _label_answers(out_of_fold[member : member + 1], labels, rows, task)
        losses.append(_loss(answers[0], truth, weight / weight.sum(), task))
    return int(np.argmin(losses))


def soften(probs: Floats, weights: Doubles, temperature: float, *, whole: float = 1.0) -> Floats:
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
    whole
        A second temperature, of the average: that which calibrates the ensemble.

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
                total += weights[member] * _softened(probs[member, rows], temperature)
        averaged[rows] = _softened(total, whole)
    return averaged


def _softened(probs: Floats | Doubles, temperature: float) -> Doubles:
    exact = probs.astype(np.float64)
    if temperature == 1.0:
        return exact
    logits = np.log(np.maximum(exact, _TINY)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _usable_rows(labels: Labels, task: Task, max_rows: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    labelled = labels >= 0 if task.is_classification else np.isfinite(labels)
    rows = np.flatnonzero(labelled)
    step = -(-len(rows) // max_rows) if len(rows) else 1
    return rows[::step]


def _label_answers(
    out_of_fold: Floats, labels: Labels, rows: np.ndarray[tuple[int], np.dtype[np.intp]], task: Task
) -> tuple[Doubles, Doubles]:
    """``(M, n)`` probability of the row's own class (log-loss sees no more) or value; ``(n,)`` truth."""
    truth = labels[rows]
    if task.is_classification:
        return out_of_fold[:, rows, truth.astype(np.int64)].astype(np.float64), np.ones(len(rows))
    return out_of_fold[:, rows, 0].astype(np.float64), truth.astype(np.float64)


def _loss(answer: Doubles, truth: Doubles, weight: Doubles, task: Task) -> float:
    if task.is_classification:
        return float(-weight @ np.log(np.maximum(answer, _TINY)))
    return float(weight @ np.square(answer - truth))
