"""Values → counts in the bins of a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from potstill.artifact.columns import Feeds, rows_of
from potstill.artifact.reference import Histogram, Reference
from potstill.types import Column, ColumnKind, Doubles, Floats, Ints, Schema, Task

MAX_LEVELS = 100
"""Levels of a column that are counted one by one; the rarer ones are counted together."""


class Bins(Protocol):
    """Counts values: ``(B + 2,)``, the bins, then unseen, then missing."""

    def count(self, values: NDArray[Any]) -> Ints: ...


@final
@dataclass(frozen=True)
class NumberBins:
    """Bins between rising edges; NaN is missing, infinities are in the outermost bins."""

    edges: Doubles

    def count(self, values: NDArray[Any]) -> Ints:
        missing = np.isnan(values)
        n_missing = int(np.count_nonzero(missing))
        index = np.searchsorted(self.edges, values[~missing] if n_missing else values)
        counts = np.bincount(index, minlength=len(self.edges) + 3)
        counts[-1] = n_missing
        return counts


@final
@dataclass(frozen=True)
class LevelBins:
    """One bin a level, rarer known ones in one; ``""`` is missing, other texts unseen."""

    places: Mapping[str, int]
    n_bins: int

    @classmethod
    def of(cls, levels: Sequence[str]) -> LevelBins:
        n_bins = min(len(levels), MAX_LEVELS + 1)
        places = {level: min(place, n_bins - 1) for place, level in enumerate(levels)}
        return cls(places | {"": n_bins + 1}, n_bins)

    def count(self, values: NDArray[Any]) -> Ints:
        places, unseen = self.places, self.n_bins
        index = [places.get(text, unseen) for text in values.tolist()]
        return np.bincount(index, minlength=self.n_bins + 2)


@final
@dataclass(frozen=True)
class MeasuredBins:
    """Bins of a number that says something of every value: how long a text is, how bright a picture."""

    edges: Doubles
    measure: Callable[[NDArray[Any]], Doubles]

    def count(self, values: NDArray[Any]) -> Ints:
        return NumberBins(self.edges).count(self.measure(values))


def letters(texts: NDArray[Any]) -> Doubles:
    """``(n,)`` how long each text is; NaN where there is none."""
    return np.array([len(text) or np.nan for text in texts.tolist()], dtype=np.float64)


def brightness(pictures: NDArray[Any]) -> Doubles:
    """``(n,)`` how bright each picture is on average, 0 black to 255 white."""
    return np.array([float(np.mean(picture)) for picture in pictures], dtype=np.float64)


MEASURES: Mapping[ColumnKind, Callable[[NDArray[Any]], Doubles]] = {"text": letters, "image": brightness}
"""Kind of column to what is watched of its values, where that is not the values themselves."""


def column_bins(column: Column, edges: Sequence[float]) -> Bins:
    """The bins of a column whose reference has these edges."""
    if column.kind in MEASURES:
        return MeasuredBins(np.array(edges, dtype=np.float64), MEASURES[column.kind])
    if column.kind == "categorical":
        return LevelBins.of(column.levels)
    return NumberBins(np.array(edges, dtype=np.float64))


def as_histogram(counts: Ints, edges: Sequence[float] = ()) -> Histogram:
    """What a `Bins` counted, as it is stored."""
    *bins, unseen, missing = counts.tolist()
    return Histogram(tuple(bins), tuple(edges), n_missing=missing, n_unseen=unseen)


def as_counts(histogram: Histogram) -> Ints:
    """The inverse of `as_histogram`."""
    return np.array([*histogram.counts, histogram.n_unseen, histogram.n_missing], dtype=np.int64)


def said_of(outputs: Floats, task: Task) -> dict[str, NDArray[Any]]:
    """What is watched of ``(n, K)`` answers: name to ``(n,)`` numbers, or class indices for ``label``."""
    if not task.is_classification:
        return {"value": outputs[:, 0]}
    labels = outputs.argmax(axis=1)
    if task.n_outputs == 2:
        return {"label": labels, "probability": outputs[:, 1]}
    return {"label": labels, "confidence": outputs.max(axis=1)}


@final
@dataclass
class Tally:
    """The counts of one window. Not safe between threads.

    Parameters
    ----------
    columns, answers
        Name to ``(B + 2,)`` counts.
    confident, said
        ``(B,)`` rows and summed probability of the most probable class, in the reference's confidence bins.
    """

    n_rows: int = 0
    columns: dict[str, Ints] = field(default_factory=dict)
    answers: dict[str, Ints] = field(default_factory=dict)
    confident: Ints | None = None
    said: Doubles | None = None


@final
class Counter:
    """Counts rows and answers in the bins of a reference; columns without one by missing and unseen alone.

    Parameters
    ----------
    schema, task
        Of the model.
    reference
        Its bins.
    """

    def __init__(self, schema: Schema, task: Task, reference: Reference) -> None:
        self._task = task
        self._columns = {
            column.name: column_bins(column, _edges(reference.columns, column.name))
            for column in schema.columns
        }
        self._answers = {
            name: NumberBins(np.array(histogram.edges))
            for name, histogram in reference.answers.items()
            if name != "label"
        }
        self._confidence = None if reference.confidence is None else np.array(reference.confidence.edges)

    def add(self, tally: Tally, inputs: Feeds, outputs: Floats) -> None:
        """Count some rows, ``inputs`` as `feeds` makes them, and the ``(n, K)`` answers to them."""
        for name, bins in self._columns.items():
            _add(tally.columns, name, bins.count(inputs[name]))
        for name, values in said_of(outputs, self._task).items():
            if name == "label":
                _add(tally.answers, name, np.bincount(values, minlength=self._task.n_outputs + 2))
            elif name in self._answers:
                _add(tally.answers, name, self._answers[name].count(values))
        if self._confidence is not None:
            self._add_confidence(tally, outputs.max(axis=1).astype(np.float64))
        tally.n_rows += rows_of(inputs)

    def _add_confidence(self, tally: Tally, top: Doubles) -> None:
        assert self._confidence is not None
        n_bins = len(self._confidence) + 1
        index = np.searchsorted(self._confidence, top)
        counts = np.bincount(index, minlength=n_bins)
        said: Doubles = np.bincount(index, top, minlength=n_bins).astype(np.float64)
        tally.confident = counts if tally.confident is None else tally.confident + counts
        tally.said = said if tally.said is None else tally.said + said


def _edges(histograms: Mapping[str, Histogram], name: str) -> tuple[float, ...]:
    return histograms[name].edges if name in histograms else ()


def _add(counts: dict[str, Ints], name: str, more: Ints) -> None:
    counts[name] = counts[name] + more if name in counts else more
