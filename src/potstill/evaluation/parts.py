"""Scores of the models on parts of the rows: by class, by level of a column, by quartile of a number."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.evaluation.metrics import log_losses, squared_errors
from potstill.evaluation.recovery import Interval
from potstill.types import Bools, Doubles, Ints, Label, Labels


class SliceScores(msgspec.Struct, frozen=True):
    """How the models do on one part of the rows.

    Parameters
    ----------
    column, level
        The column, and its level or range of values.
    n
        Rows of the slice.
    scores
        Model to metric to score: ``accuracy`` and ``log_loss``, or ``rmse``.
    excess
        Student's mean loss (log-loss; squared error for regression) minus the reference's, with its 95 %
        normal interval; positive where the student is worse. The reference is the teacher, without one the
        twin.
    """

    column: str
    level: str
    n: int
    scores: dict[str, dict[str, float]]
    excess: Interval


class ClassScores(msgspec.Struct, frozen=True):
    """How the models do on the rows of one class.

    Parameters
    ----------
    label
        The class, as text.
    n
        Rows whose label it is.
    recall
        Model to share of these rows that it gives this class.
    precision
        Model to share of the rows it gives this class that are of it; a model that never does is left out.
    log_loss
        Model to mean log-loss of these rows.
    """

    label: str
    n: int
    recall: dict[str, float]
    precision: dict[str, float]
    log_loss: dict[str, float]


def per_class(
    outputs: Mapping[str, NDArray[Any]],
    labels: Ints,
    classes: tuple[Label, ...],
    weight: NDArray[Any] | None = None,
) -> tuple[ClassScores, ...]:
    """Scores of each class that has rows, in the order of ``classes``.

    Parameters
    ----------
    outputs
        Model (``teacher``, ``best_member``, ``twin``, ``student``) to probabilities ``(n, K)``.
    labels
        ``(n,)`` class indices.
    """
    mass = np.ones(len(labels)) if weight is None else weight.astype(np.float64)
    chosen = {name: probs.argmax(axis=1) for name, probs in outputs.items()}
    losses = {name: log_losses(probs, labels) for name, probs in outputs.items()}
    table = []
    for k, label in enumerate(classes):
        own = labels == k
        if mass[own].sum() == 0.0:
            continue
        called = {name: mass[choice == k].sum() for name, choice in chosen.items()}
        hit = {name: mass[own & (choice == k)].sum() for name, choice in chosen.items()}
        table.append(
            ClassScores(
                label=str(label),
                n=int(own.sum()),
                recall={name: float(hit[name] / mass[own].sum()) for name in outputs},
                precision={name: float(hit[name] / called[name]) for name in outputs if called[name] > 0.0},
                log_loss={name: float(np.average(losses[name][own], weights=mass[own])) for name in outputs},
            )
        )
    return tuple(table)


def slices(
    columns: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    labels: Labels,
    *,
    weight: NDArray[Any] | None = None,
    min_rows: int = 30,
    max_levels: int = 20,
) -> tuple[SliceScores, ...]:
    """Scores on each level of each categorical column and each quartile of each numeric one.

    Parameters
    ----------
    columns
        Name to ``(n,)`` values. Numbers with more than ten distinct values are cut at their quartiles; all
        else is text. None and NaN are the slice ``missing``.
    outputs
        Model to ``(n, K)`` probabilities or ``(n, 1)`` values. ``student`` is compared with ``teacher``, or
        with ``twin`` where there is no teacher.
    labels
        ``(n,)`` class indices, or values for one-column outputs.
    min_rows
        Smaller slices are left out: their scores are noise. So are slices of all rows.
    max_levels
        Most frequent levels of a column to look at.

    Returns
    -------
    tuple of SliceScores
        Worst first: by the lower end of the interval of ``excess``, so a small unlucky slice does not lead.
    """
    reference = "teacher" if "teacher" in outputs else "twin"
    metrics = {name: _row_metrics(values, labels) for name, values in outputs.items()}
    mass = np.ones(len(labels)) if weight is None else weight.astype(np.float64)
    found = []
    for column, values in columns.items():
        for level, rows in _levels(values, max_levels):
            if int(rows.sum()) < min_rows or mass[rows].sum() == 0.0 or rows.all():
                continue
            differences = (metrics["student"]["loss"] - metrics[reference]["loss"])[rows]
            found.append(
                SliceScores(
                    column=str(column),
                    level=level,
                    n=int(rows.sum()),
                    scores={name: _scores(each, rows, mass) for name, each in metrics.items()},
                    excess=_normal_interval(differences, mass[rows]),
                )
            )
    return tuple(sorted(found, key=lambda each: (-each.excess.low, each.column, each.level)))


def _row_metrics(values: NDArray[Any], labels: Labels) -> dict[str, Doubles]:
    if values.ndim == 1 or values.shape[1] == 1:
        return {"loss": squared_errors(values, labels)}
    truth = labels.astype(np.int64)
    hit: Doubles = (values.argmax(axis=1) == truth).astype(np.float64)
    return {"loss": log_losses(values, truth), "hit": hit}


def _scores(metrics: dict[str, Doubles], rows: Bools, mass: Doubles) -> dict[str, float]:
    means = {name: float(np.average(values[rows], weights=mass[rows])) for name, values in metrics.items()}
    if "hit" in means:
        return {"accuracy": means["hit"], "log_loss": means["loss"]}
    return {"rmse": means["loss"] ** 0.5}


def _normal_interval(differences: Doubles, mass: Doubles) -> Interval:
    share = mass / mass.sum()
    mean = float((share * differences).sum())
    error = float(np.sqrt((share**2 * np.square(differences - mean)).sum()))
    return Interval(value=mean, low=mean - 1.96 * error, high=mean + 1.96 * error)


def _levels(values: NDArray[Any], max_levels: int) -> list[tuple[str, Bools]]:
    if values.dtype.kind in "iuf":
        missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
        present = values[~missing]
        distinct = np.unique(present)
        ranges = _quartiles(values, present) if len(distinct) > 10 else _named(values, distinct, max_levels)
    else:
        missing = np.array([_is_missing(value) for value in values.tolist()], dtype=bool)
        text = np.array([str(value) for value in values.tolist()], dtype=object)
        levels, counts = np.unique(text[~missing].astype(str), return_counts=True)
        frequent = levels[np.argsort(-counts, kind="stable")[:max_levels]]
        ranges = [(str(level), (text == level) & ~missing) for level in frequent]
    return [*ranges, ("missing", missing)] if missing.any() else ranges


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124


def _quartiles(values: NDArray[Any], present: NDArray[Any]) -> list[tuple[str, Bools]]:
    """Four ranges of about equal size; a smallest value that a quarter of the rows have stands alone."""
    least = present.min()
    ranges: list[tuple[str, Bools]] = []
    if np.mean(present == least) >= 0.25:
        ranges = [(_number(least), values == least)]
        present = present[present > least]
    cuts = np.unique(np.quantile(present, [0.0, 0.25, 0.5, 0.75, 1.0]))
    for i, (low, high) in enumerate(pairwise(cuts)):
        above = values >= low if i == 0 else values > low
        ranges.append((f"{_number(low)} to {_number(high)}", above & (values <= high)))
    return ranges


def _named(values: NDArray[Any], distinct: NDArray[Any], max_levels: int) -> list[tuple[str, Bools]]:
    return [(_number(level), values == level) for level in distinct[:max_levels]]


def _number(value: float) -> str:
    return f"{float(f'{value:.4g}'):,.10g}"
