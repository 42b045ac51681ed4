"""All that the models' answers on the test rows prove, gathered once for summary, gate and report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.artifact.pictures import data_url
from potstill.evaluation.calibration import ReliabilityCurve, reliability_curve
from potstill.evaluation.fidelity import agreement, disagreements, distance
from potstill.evaluation.metrics import (
    OperatingPoint,
    classification_scores,
    operating_points,
    regression_scores,
)
from potstill.evaluation.parts import ClassScores, SliceScores, per_class, slices
from potstill.evaluation.recovery import Interval, Recovered, advantages, gaps_recovered
from potstill.types import Ints, Labels, Task

Cell = str | float | int | bool | None


class Disagreement(msgspec.Struct, frozen=True):
    """A row the student and the teacher see differently.

    Parameters
    ----------
    index
        Position among the test rows.
    row
        Column to value as given; None where missing.
    truth
        The label (class index, or value); None when the row has none.
    teacher, student
        ``K`` probabilities, or one value.
    distance
        Total variation of the two, or absolute difference.
    """

    index: int
    row: dict[str, Cell]
    truth: float | None
    teacher: tuple[float, ...]
    student: tuple[float, ...]
    distance: float


class Predictions(msgspec.Struct, frozen=True):
    """Some of the test rows of a regression: true values, and each model's."""

    truth: tuple[float, ...]
    predicted: dict[str, tuple[float, ...]]


class Evidence(msgspec.Struct, frozen=True):
    """What the answers on the test rows prove, for ``student`` and whoever else answered them.

    Parameters
    ----------
    n_rows
        Test rows.
    scores
        Model to metric to score.
    gap_recovered
        Metric to gap; empty where teacher, twin or student did not answer.
    advantages
        Every other model to metric to what the student is better by, with its interval.
    agreement
        Of the student with the teacher; empty without a teacher.
    reliability
        Model to reliability curve; empty for regression.
    per_class, slices
        Scores of parts of the rows; slices worst first.
    operating_points
        Model to operating points; empty unless binary.
    disagreements
        Rows furthest apart, furthest first.
    predictions
        Regression: at most 2,000 rows to draw; None for classification.
    """

    n_rows: int
    scores: dict[str, dict[str, float]]
    gap_recovered: dict[str, Recovered] = {}
    advantages: dict[str, dict[str, Interval]] = {}
    agreement: dict[str, float] = {}
    reliability: dict[str, ReliabilityCurve] = {}
    per_class: tuple[ClassScores, ...] = ()
    slices: tuple[SliceScores, ...] = ()
    operating_points: dict[str, tuple[OperatingPoint, ...]] = {}
    disagreements: tuple[Disagreement, ...] = ()
    predictions: Predictions | None = None


def gather(
    outputs: Mapping[str, NDArray[Any]],
    labels: Labels,
    task: Task,
    *,
    columns: Mapping[str, NDArray[Any]] | None = None,
    sliced: Collection[str] | None = None,
    weight: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Evidence:
    """Score every model on the same test rows.

    Parameters
    ----------
    outputs
        Model to ``(n, K)`` probabilities, or ``(n, 1)`` values; ``student`` is always among them, the others
        where they answered these rows.
    labels
        ``(n,)`` class indices or values, none missing.
    columns
        The raw columns of the rows, ``(n,)`` each, None or NaN where missing: for slices and
        disagreements. Bytes are files of pictures.
    sliced
        Those of ``columns`` that slices are made of; None for all.
    weight, groups
        ``(n,)`` sample weights; group ids, which make the bootstrap draw whole groups.
    """
    columns = columns or {}
    cut = {name: values for name, values in columns.items() if sliced is None or name in sliced}
    common: dict[str, Any] = {
        "n_rows": len(labels),
        "slices": slices(cut, outputs, labels, weight=weight) if len(outputs) > 1 else (),
    }
    if {"teacher", "twin", "student"} <= outputs.keys():
        common["gap_recovered"] = gaps_recovered(
            outputs["teacher"],
            outputs["twin"],
            outputs["student"],
            labels,
            classification=task.is_classification,
            n=n_resamples,
            seed=seed,
            weight=weight,
            groups=groups,
        )
    if len(outputs) > 1:
        common["advantages"] = advantages(
            outputs,
            labels,
            of="student",
            classification=task.is_classification,
            n=n_resamples,
            seed=seed,
            weight=weight,
            groups=groups,
        )
    if "teacher" in outputs:
        common["agreement"] = agreement(outputs["student"], outputs["teacher"], weight)
        common["disagreements"] = _disagreements(outputs["student"], outputs["teacher"], labels, columns)
    if not task.is_classification:
        return Evidence(
            **common,
            scores={model: regression_scores(values, labels, weight) for model, values in outputs.items()},
            predictions=_predictions(outputs, labels, seed),
        )
    truth = labels.astype(np.int64)
    bins = min(15, max(4, len(labels) // 40))
    return Evidence(
        **common,
        scores={model: classification_scores(probs, truth, weight) for model, probs in outputs.items()},
        reliability={
            model: reliability_curve(probs, truth, weight, bins=bins) for model, probs in outputs.items()
        },
        per_class=per_class(outputs, truth, task.classes, weight),
        operating_points=_operating_points(outputs, truth, weight) if task.kind == "binary" else {},
    )


def _operating_points(
    outputs: Mapping[str, NDArray[Any]], labels: Ints, weight: NDArray[Any] | None
) -> dict[str, tuple[OperatingPoint, ...]]:
    points = {model: operating_points(probs[:, 1], labels, weight=weight) for model, probs in outputs.items()}
    return {model: each for model, each in points.items() if each}


def _disagreements(
    student: NDArray[Any], teacher: NDArray[Any], labels: Labels, columns: Mapping[str, NDArray[Any]]
) -> tuple[Disagreement, ...]:
    apart = distance(student, teacher)
    flat_student, flat_teacher = student.reshape(len(labels), -1), teacher.reshape(len(labels), -1)
    return tuple(
        Disagreement(
            index=i,
            row={str(name): _cell(values[i]) for name, values in columns.items()},
            truth=float(labels[i]),
            teacher=tuple(flat_teacher[i].astype(float).tolist()),
            student=tuple(flat_student[i].astype(float).tolist()),
            distance=float(apart[i]),
        )
        for i in disagreements(student, teacher).tolist()
        if apart[i] > 0.0
    )


def _cell(value: Any) -> Cell:
    """A cell as JSON can hold it: numpy scalars become Python's, NaN None, anything else its text."""
    if isinstance(value, bytes):
        return data_url(value)
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None or isinstance(plain, (bool, int, str)):
        return plain
    if isinstance(plain, float):
        return plain if np.isfinite(plain) else None
    return str(plain)


def _predictions(outputs: Mapping[str, NDArray[Any]], values: Labels, seed: int) -> Predictions:
    n = len(values)
    kept = np.sort(np.random.default_rng(seed).permutation(n)[:2000])

    def short(numbers: NDArray[Any]) -> tuple[float, ...]:
        # Six digits draw the same picture in half the bytes.
        return tuple(float(f"{number:.6g}") for number in numbers.reshape(n)[kept].tolist())

    return Predictions(short(values), {model: short(answers) for model, answers in outputs.items()})
