"""Which few columns are worth most: backward elimination by trees fitted on the transfer set."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from potstill.distillation.learn import make_lesson
from potstill.distillation.prepare import Prepared
from potstill.distillation.teach import Taught
from potstill.errors import UserError
from potstill.evaluation.metrics import log_losses, squared_errors
from potstill.objectives import KD, MSE
from potstill.students import GBDT
from potstill.training.examples import Targets
from potstill.training.lesson import Fit, Trial
from potstill.training.pace import LEAST_S
from potstill.types import (
    TABLE_KINDS,
    Budget,
    Doubles,
    FeatureSpec,
    FittedStudent,
    Floats,
    Ints,
    Progress,
    Schema,
    Tensors,
)

KEPT = 0.75
"""Part of the columns that is left after each round, at least one being dropped."""

SHARE = 0.25
"""Part of the student's time that picking them may take under a time limit."""

JUDGED_ROWS = 2_000
"""Validation rows on which a column is shuffled to see what it is worth, at most."""

JUDGE = GBDT(size=0.5)
"""The student whose loss decides, whatever ships: trees are quick, and need no column scaled."""

TAUGHT = Targets(hard_label_weight=0.5, real="in_sample", synthetic=0.25)


@dataclass(frozen=True)
class ColumnPoint:
    """What so many columns are worth to the trees that choose them.

    Parameters
    ----------
    names
        The columns.
    loss, low, high
        Log-loss or RMSE on the validation rows, and its 95 % interval.
    """

    names: tuple[str, ...]
    loss: float
    low: float
    high: float


@dataclass(frozen=True)
class Picked:
    """The rows as the student sees them, and the losses with ever fewer columns, most columns first."""

    prepared: Prepared
    curve: tuple[ColumnPoint, ...] = ()
    notes: tuple[str, ...] = ()


def check_allows_a_column(budget: Budget) -> None:
    """Raise where a budget leaves the student nothing to see.

    Raises
    ------
    UserError
        The budget allows no column.
    """
    if budget.max_columns is not None and budget.max_columns < 1:
        raise UserError(
            f"The budget allows {budget.max_columns} columns; a student needs at least one.",
            hint="Leave max_columns out to use all of them.",
        )


def check_can_pick(budget: Budget, schema: Schema) -> None:
    """Raise where a budget asks for fewer columns than there are, which are not all of a table.

    Raises
    ------
    UserError
        They cannot be picked.
    """
    unusual = [column.name for column in schema.columns if column.kind not in TABLE_KINDS]
    if unusual and budget.max_columns is not None and budget.max_columns < len(schema.columns):
        raise UserError(
            f"Columns cannot be picked by what they are worth beside {unusual[0]!r}, which is no column of a "
            "table.",
            hint="Leave max_columns out; --without NAME keeps a column from the student.",
        )


def pick_columns(
    taught: Taught,
    prepared: Prepared,
    *,
    budget: Budget,
    seed: int,
    limit_s: float | None = None,
    progress: Progress,
) -> Picked:
    """The most valuable columns, as many as the budget allows.

    From all columns on, trees are fitted on the transfer set, each column is shuffled in the validation rows,
    and the quarter whose shuffling costs least is dropped, down to one column. Where the time for it is used
    up, the rest are dropped at once, down to those that the budget allows.

    Parameters
    ----------
    limit_s
        Seconds there are for the student, of which this may take `SHARE`; None without a limit.
    """
    most = budget.max_columns
    if most is None or most >= len(prepared.schema.columns):
        return Picked(prepared)
    names = prepared.schema.names
    progress.start("picking the columns")
    end = math.inf if limit_s is None else time.monotonic() + SHARE * limit_s
    curve = []
    while True:
        seen = prepared.seeing(names)
        # Fewer columns take less time: as much of what is left as of the columns will go.
        fit_s = None if limit_s is None else max(LEAST_S, (1 - KEPT) * (end - time.monotonic()))
        fitted = _fitted(taught, seen, seed, fit_s)
        curve.append(_point(fitted, seen))
        progress.advance(1, note=f"{len(names)} columns: {curve[-1].loss:.4g}")
        late = time.monotonic() >= end
        if len(names) == 1 or (late and len(names) <= most):
            break
        count = 0 if late else int(len(names) * KEPT)
        count = min(len(names) - 1, max(count, most) if len(names) > most else max(1, count))
        worth = _worth(fitted, seen, seed)
        best = set(sorted(names, key=lambda name: -worth[name])[:count])
        names = tuple(name for name in names if name in best)
    chosen = next(point for point in curve if len(point.names) <= most)
    note = (
        f"The student sees {len(chosen.names)} of {len(prepared.schema.names)} columns: "
        f"{', '.join(chosen.names)}."
    )
    progress.note(note)
    return Picked(prepared.seeing(chosen.names), tuple(curve), (note,))


def _fitted(taught: Taught, prepared: Prepared, seed: int, limit_s: float | None) -> FittedStudent:
    objective = KD() if prepared.parts["train"].task.is_classification else MSE()
    lesson = make_lesson(taught, prepared, seed=seed)
    return lesson.fit([Fit(Trial(JUDGE, TAUGHT, objective), time_limit_s=limit_s)])[0].student


def _point(fitted: FittedStudent, prepared: Prepared) -> ColumnPoint:
    losses = _losses(fitted, prepared, prepared.tensors["valid"])
    mean, spread = float(np.mean(losses)), 1.96 * float(np.std(losses)) / np.sqrt(len(losses))
    ends = np.array([mean, mean - spread, mean + spread]).clip(min=0)
    if not prepared.parts["valid"].task.is_classification:
        ends = np.sqrt(ends)
    return ColumnPoint(prepared.schema.names, *ends.tolist())


def _losses(fitted: FittedStudent, prepared: Prepared, tensors: Tensors) -> Doubles:
    """``(n,)`` log-loss of the validation labels, or squared error in the target's unit squared."""
    valid = prepared.parts["valid"]
    assert valid.labels is not None
    logits = fitted.logits(tensors)
    labels = valid.labels[: len(logits)]
    if valid.task.is_classification:
        return log_losses(_softmax(logits), labels.astype(np.int64))
    train = prepared.parts["train"].labels
    assert train is not None
    spread = float(np.std(train)) or 1.0
    return squared_errors(logits * spread + float(np.mean(train)), labels)


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)


def _worth(fitted: FittedStudent, prepared: Prepared, seed: int) -> Mapping[str, float]:
    """Column to what shuffling it adds to the mean loss."""
    tensors = {name: values[:JUDGED_ROWS] for name, values in prepared.tensors["valid"].items()}
    order = np.random.default_rng(seed).permutation(len(tensors["numeric"]))
    plain = float(np.mean(_losses(fitted, prepared, tensors)))
    spec, worth = prepared.encoder.spec, {}
    for name in prepared.schema.names:
        shuffled = _losses(fitted, prepared, _shuffled(tensors, name, spec, order))
        worth[name] = float(np.mean(shuffled)) - plain
    return worth


def _shuffled(tensors: Tensors, name: str, spec: FeatureSpec, order: Ints) -> Tensors:
    """The tensors with all that is made of the column ``name`` in another order of rows."""
    mixed = {kind: values.copy() for kind, values in tensors.items()}
    for kind, features in (("numeric", spec.numeric), ("categorical", spec.categorical)):
        for at, feature in enumerate(features):
            # A date makes several features, `name:weekday` and so on.
            if feature == name or feature.rpartition(":")[0] == name:
                mixed[kind][:, at] = mixed[kind][order, at]
    return mixed
