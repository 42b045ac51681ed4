"""Rows and answers → the reference that the Card carries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.artifact.columns import Feeds, rows_of
from potstill.artifact.reference import Confidence, Histogram, Reference
from potstill.monitoring.counting import MEASURES, LevelBins, NumberBins, as_histogram, said_of
from potstill.types import Column, Doubles, Floats, Ints, Schema, Task

BINS = 20
"""Bins of a column, fewer where columns are so many that the file would grow by their histograms."""

ALL_BINS = 4_000
CONFIDENCE_BINS = 10


def column_histograms(batches: Iterable[Feeds], schema: Schema) -> dict[str, Histogram]:
    """Column name to the counts of its values.

    Parameters
    ----------
    batches
        Rows as `feeds` makes them, some at a time: those the model has learned from.
    """
    n_bins = max(min(BINS, ALL_BINS // max(len(schema.columns), 1)), 4)
    watched: dict[str, list[NDArray[Any]]] = {column.name: [] for column in schema.columns}
    for inputs in batches:
        for column in schema.columns:
            measure = MEASURES.get(column.kind)
            values = inputs[column.name]
            watched[column.name].append(values if measure is None else measure(values))
    return {
        column.name: _histogram(np.concatenate(watched[column.name]), column, n_bins)
        for column in schema.columns
    }


def make_reference(
    inputs: Feeds,
    schema: Schema,
    task: Task,
    *,
    answered: Floats | None = None,
    labels: NDArray[Any] | None = None,
) -> Reference:
    """What live rows and answers will be held against.

    Parameters
    ----------
    inputs
        Rows as `feeds` makes them: those the model has learned from.
    answered
        ``(m, K)`` answers to rows the model has *not* learned from: to others it answers too surely. None
        leaves answers and accuracy unwatched.
    labels
        ``(m,)`` class indices of the same rows, -1 for none; None where they are not known.

    Examples
    --------
    >>> schema = Schema((Column("age", "numeric"),))
    >>> ages = np.arange(20, 60, dtype=np.float32)
    >>> make_reference({"age": ages}, schema, Task("regression", "price")).columns["age"].edges[:3]
    (21.5, 23.5, 25.5)
    """
    return with_answers(
        Reference(n_rows=rows_of(inputs), columns=column_histograms([inputs], schema)), task, answered, labels
    )


def with_answers(
    reference: Reference, task: Task, answered: Floats | None, labels: NDArray[Any] | None = None
) -> Reference:
    """``reference`` with the counts of these ``(m, K)`` answers in place of its own."""
    if answered is None or not len(answered):
        return Reference(n_rows=reference.n_rows, columns=reference.columns)
    confidence = None
    if task.is_classification and labels is not None and (labels >= 0).any():
        known = labels >= 0
        confidence = _confidence(answered[known], labels[known].astype(np.int64))
    return Reference(
        n_rows=reference.n_rows,
        columns=reference.columns,
        n_answers=len(answered),
        answers={name: _answers(name, values, task) for name, values in said_of(answered, task).items()},
        confidence=confidence,
    )


def equal_mass_edges(values: NDArray[Any], n_bins: int) -> tuple[float, ...]:
    """Edges of at most ``n_bins`` bins of about as many values each, every edge between two of the values."""
    levels, counts = np.unique(values[~np.isnan(values)].astype(np.float64), return_counts=True)
    if len(levels) < 2:
        return ()
    upto = np.cumsum(counts[:-1])
    wanted = np.arange(1, n_bins) * counts.sum() / n_bins
    after = np.unique(np.clip(np.searchsorted(upto, wanted), 0, len(upto) - 1))
    return tuple(dict.fromkeys(_between(levels[place], levels[place + 1]) for place in after))


def _between(low: float, high: float) -> float:
    """A number from ``low`` on and below ``high``, with few digits if there is one."""
    if not np.isfinite(low) or not np.isfinite(high):
        return float(np.clip(low, -np.finfo(np.float64).max, None))
    middle = low + (high - low) / 2
    for digits in (3, 4, 6, 9):
        short = float(f"{middle:.{digits}g}")
        if low < short < high:
            return short
    return float(low)


def _histogram(values: NDArray[Any], column: Column, n_bins: int) -> Histogram:
    if column.kind == "categorical":
        return as_histogram(LevelBins.of(column.levels).count(values))
    edges = equal_mass_edges(values, n_bins)
    return as_histogram(NumberBins(np.array(edges)).count(values), edges)


def _answers(name: str, values: NDArray[Any], task: Task) -> Histogram:
    if name == "label":
        return Histogram(tuple(np.bincount(values, minlength=task.n_outputs).tolist()))
    edges = equal_mass_edges(values, BINS)
    return as_histogram(NumberBins(np.array(edges)).count(values), edges)


def _confidence(outputs: Floats, labels: Ints) -> Confidence:
    top: Doubles = outputs.max(axis=1).astype(np.float64)
    edges = equal_mass_edges(top, CONFIDENCE_BINS)
    index = np.searchsorted(np.array(edges), top)
    counts = np.bincount(index, minlength=len(edges) + 1)
    right = np.bincount(index[outputs.argmax(axis=1) == labels], minlength=len(edges) + 1)
    said = np.bincount(index, top, minlength=len(edges) + 1) / np.maximum(counts, 1)
    return Confidence(edges, tuple(counts.tolist()), tuple(right.tolist()), tuple(np.round(said, 6).tolist()))
