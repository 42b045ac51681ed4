"""Stage two: the teacher's answers for every row, and the transfer set made of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from potstill.distillation.modality import Time
from potstill.distillation.prepare import Part, Prepared
from potstill.distillation.recipe import Recipe
from potstill.distillation.weigh import Weighed, weigh
from potstill.errors import UserError
from potstill.teachers import adopt_all
from potstill.teachers.table import OutOfFoldTableTeacher, TableTeacher
from potstill.transfer import Collected, MemberCost, Store, collect
from potstill.types import (
    Dataset,
    Doubles,
    Floats,
    Latency,
    Origin,
    PartialTeacher,
    Progress,
    SoftTargets,
    Teacher,
    Trainable,
    TransferSet,
)

ORIGINS: Mapping[Part, Origin] = {
    "train": "real",
    "valid": "held_out",
    "unlabeled": "unlabeled",
    "synthetic": "synthetic",
}
"""The origin, in the transfer set, of the rows of each part that a student may learn from."""


FEWEST_RATED, RATED_ROWS, RATED_S = 10, 1_000, 0.5
"""Training rows that tell how fast an adopted teacher answers; and seconds after which they are enough."""

LONGEST_S = 3_600.0
"""Seconds that a default ensemble takes at most where nothing limits it."""

CACHE_BYTES = 10_000_000_000
"""The user's own cache is cut back to this after a run, the answers longest unchanged first."""


_HEARD: tuple[Part, ...] = ("valid", "test")


@dataclass(frozen=True)
class TeacherCost:
    """What the teacher, or one member of it, costs to ask; None where it was not measured."""

    label: str
    latency_us: Latency | None
    size_bytes: int | None
    rows_per_s: float | None
    cpu_seconds_per_row: float | None


@dataclass(frozen=True)
class Taught:
    """What the teacher said.

    Parameters
    ----------
    transfer
        The transfer set, the validation rows in it as ``held_out``.
    answers, best_answers
        ``(n, K)`` probabilities or values for the ``valid`` and ``test`` rows, where the teacher can answer
        them: of the whole ensemble, and of the member that is best out of fold.
    cost, best_cost
        What they cost to ask.
    members
        Name to weight of the members.
    fingerprint
        Of the data and the members: what the soft targets follow from.
    warnings
        What may make the teacher, or its score, other than one expects: members left out, leaks.
    notes
        All sentences the caller should read.
    encoder
        File of a fine-tuned encoder that students may begin with; None where there is none.
    store
        Where it lies: one that is temporary goes with its last owner.
    """

    transfer: TransferSet
    answers: Mapping[Part, Floats]
    best_answers: Mapping[Part, Floats]
    cost: TeacherCost
    best_cost: TeacherCost
    members: Mapping[str, float]
    fingerprint: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    encoder: Path | None = None
    store: Store | None = None


def teach(
    teachers: Any,
    prepared: Prepared,
    *,
    recipe: Recipe,
    seed: int,
    limit_s: float | None = None,
    progress: Progress,
) -> tuple[Taught, Prepared]:
    """Adopt or make the teacher, ask it about every row, weigh its members.

    Parameters
    ----------
    limit_s
        Seconds it may take: the default ensemble is made so small; an adopted one is asked about fewer of the
        synthetic rows, which the ``prepared`` that comes back then lacks.

    Raises
    ------
    UserError
        A teacher cannot be adopted or cannot answer the rows.
    """
    asked = (recipe.teacher_time or prepared.modality.teacher_s, limit_s)
    teacher_s = min(seconds for seconds in (*asked, LONGEST_S) if seconds is not None)
    begin = time.monotonic()
    members = _members(teachers, prepared, recipe, teacher_s)
    planned_s = time.monotonic() - begin  # a default ensemble looks how fast this machine is
    if limit_s is not None:
        prepared = _affordable(members, prepared, limit_s)
    store = _store(recipe)
    collected = collect(
        members,
        _answerable(members, prepared.parts),
        folds=prepared.folds,
        store=store,
        seed=seed,
        time_limit_s=max(1.0, teacher_s - planned_s) if teachers is None else None,
        workers=joblib.cpu_count() if teachers is None else 1,
        progress=progress,
    )
    if recipe.cache is None:
        store.prune(CACHE_BYTES)
    leaks = () if teachers is None else _leaks(collected)
    for leak in leaks:
        progress.note(leak)
    weighed = weigh(
        collected,
        prepared.parts["train"],
        prepared.parts["valid"],
        selected=_selects(recipe, adopted=teachers is not None),
        fresh=all(isinstance(member, Trainable) for member in members),
    )
    weights = weighed.weights
    heard = [part for part in _HEARD if part in collected.answers]
    taught = Taught(
        transfer=_transfer_set(prepared, collected, weighed),
        answers={part: weighed.answers(collected, part) for part in heard},
        best_answers={part: weighed.best_answers(collected, part) for part in heard},
        cost=_cost(_counted(int((weights > 0).sum())), collected.costs, weights),
        best_cost=_cost(collected.members[weighed.best], collected.costs, weighed.alone),
        members={name: float(w) for name, w in zip(collected.members, weights, strict=True)},
        fingerprint=collected.fingerprint,
        warnings=(*collected.left_out, *leaks),
        notes=(*collected.notes, *leaks),
        encoder=collected.encoder,
        store=store,
    )
    return taught, prepared


def _counted(members: int) -> str:
    return "1 member" if members == 1 else f"{members} members"


def _affordable(members: Sequence[Teacher | Trainable], prepared: Prepared, limit_s: float) -> Prepared:
    """As many synthetic rows as fitted members can answer in time, by what some training rows take them."""
    fitted = [member for member in members if not isinstance(member, Trainable | PartialTeacher)]
    if "synthetic" not in prepared.parts or not fitted:
        return prepared
    begin = time.monotonic()
    each_s = 0.0
    for member in fitted:
        with suppress(Exception):  # who fails is left out, and named, where all are asked
            each_s += _seconds_a_row(member, prepared.parts["train"])
    always = sum(len(rows) for part, rows in prepared.parts.items() if part != "synthetic")
    left_s = limit_s - (time.monotonic() - begin)
    rows = int(max(0.0, left_s / max(each_s, 1e-9) - always))
    return prepared.first_synthetic(min(rows, len(prepared.parts["synthetic"])))


def _seconds_a_row(member: Teacher, rows: Dataset) -> float:
    """Seconds for one more row, by as few rows as tell: a teacher may be slow, far away or paid for."""
    taken: list[tuple[int, float]] = []
    n_rows = min(FEWEST_RATED, len(rows))
    while True:
        some = rows.take(np.arange(n_rows))
        begin = time.monotonic()
        member.predict(some)
        taken.append((n_rows, time.monotonic() - begin))
        if taken[-1][1] > RATED_S or n_rows >= min(RATED_ROWS, len(rows)):
            break
        n_rows = min(4 * n_rows, RATED_ROWS, len(rows))
    (fewest, fewest_s), (most, most_s) = taken[0], taken[-1]
    # What a question costs whatever its rows is taken off.
    return (most_s - fewest_s) / (most - fewest) if most > fewest else most_s / most


def _members(
    teachers: Any, prepared: Prepared, recipe: Recipe, teacher_s: float
) -> Sequence[Teacher | Trainable]:
    train = prepared.parts["train"]
    if teachers is None:
        allowed = Time(
            seconds=teacher_s,
            folds=int(prepared.folds.max()) + 1,
            threads=joblib.cpu_count(),
            answers=sum(map(len, prepared.parts.values())),
        )
        return prepared.modality.members(train, recipe, allowed)
    sources = teachers if isinstance(teachers, (list, tuple)) else [teachers]
    if not sources:
        raise UserError(
            "Wanted at least one teacher, got an empty list.",
            hint="Leave `teachers` out to train the default ensemble.",
        )
    members = adopt_all(sources, task=train.task, trust=recipe.trust)
    for member in members:
        if isinstance(member, TableTeacher | OutOfFoldTableTeacher):
            member.check_length(prepared.n_given)
    return members


def _answerable(members: Sequence[Teacher | Trainable], parts: Mapping[Part, Dataset]) -> dict[str, Dataset]:
    """The parts that every member can answer; training and validation rows must be, and are always asked.

    Synthetic rows have the keys of the rows they were made from, whose answers are not theirs.
    """
    partial = [member for member in members if isinstance(member, PartialTeacher)]
    return {
        part: rows
        for part, rows in parts.items()
        if part in ("train", "valid")
        or not partial
        or (part != "synthetic" and all(member.covers(rows) for member in partial))
    }


def _store(recipe: Recipe) -> Store:
    if recipe.cache is False:
        return Store.temporary()
    return Store(Path(recipe.cache)) if isinstance(recipe.cache, str) else Store.default()


def _selects(recipe: Recipe, *, adopted: bool) -> bool:
    if recipe.teacher_weights is None:
        return not adopted
    return recipe.teacher_weights == "select"


def _transfer_set(prepared: Prepared, collected: Collected, weighed: Weighed) -> TransferSet:
    weights = weighed.weights
    heard = np.flatnonzero(weights)

    def soft(probs: Floats, part: Part, out_of_fold: bool) -> SoftTargets:
        n = probs.shape[1]
        own = weighed.out_of_fold_members if out_of_fold else weighed.members
        cross_fitted = part == "train" and out_of_fold
        return SoftTargets(
            members=tuple(collected.members[member] for member in heard),
            probs=probs if len(heard) == len(weights) else probs[heard],
            weights=weights[heard],
            out_of_fold=collected.out_of_fold_mask if cross_fitted else np.full(n, part != "train"),
            fold=collected.folds if part == "train" else np.full(n, -1, dtype=np.int64),
            member_temperatures=tuple(own[member] for member in heard) if own else (),
            temperature=weighed.out_of_fold_whole if out_of_fold else weighed.whole,
        )

    answered = {part: origin for part, origin in ORIGINS.items() if part in collected.answers}
    return TransferSet(
        rows={origin: prepared.parts[part] for part, origin in answered.items()},
        soft_targets={
            origin: soft(collected.answers[part], part, False) for part, origin in answered.items()
        },
        cross_fitted=soft(collected.out_of_fold, "train", True),
    )


def _cost(label: str, costs: Sequence[MemberCost], weights: Doubles) -> TeacherCost:
    """The members with any weight, asked one after the other."""
    asked = [cost for cost, weight in zip(costs, weights, strict=True) if weight > 0]
    sizes = [cost.size_bytes for cost in asked]
    seconds = sum(cost.batch_seconds_per_row for cost in asked)
    return TeacherCost(
        label=label,
        latency_us=Latency(
            p50=sum(cost.latency.p50 for cost in asked), p99=sum(cost.latency.p99 for cost in asked)
        ),
        size_bytes=None if None in sizes else sum(size for size in sizes if size is not None),
        rows_per_s=1.0 / seconds if seconds > 0 else None,
        cpu_seconds_per_row=sum(cost.batch_cpu_seconds_per_row for cost in asked),
    )


def _leaks(collected: Collected) -> tuple[str, ...]:
    if collected.out_of_fold_mask.all():
        return ()
    share = 1.0 - float(collected.out_of_fold_mask.mean())
    return (
        f"For {share:.0%} of the training rows the soft targets are not out of fold: a teacher that came "
        "fitted may have been fitted on them, and then answers too confidently. If it also saw the rows the "
        "scores stand on, its own score and the gap are flattered; hand over a test file it never saw, "
        "unlabelled rows, or the unfitted estimators.",
    )
