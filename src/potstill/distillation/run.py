"""`distill`: the stages one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from potstill.distillation.clock import PROVING_SHARE, Clock
from potstill.distillation.columns import check_allows_a_column, check_can_pick, pick_columns
from potstill.distillation.learn import search_students, settle
from potstill.distillation.limits import beside_reading
from potstill.distillation.modality import TABLES, check_can_be_written, tuned_encoder
from potstill.distillation.monotone import check_keeps_monotone
from potstill.distillation.prepare import prepare
from potstill.distillation.prove import prove
from potstill.distillation.recipe import Recipe
from potstill.distillation.result import Result
from potstill.distillation.teach import teach
from potstill.errors import UserError
from potstill.graph import chosen_opset
from potstill.types import Budget, Progress, Silent, Student

MAX_SEED = 2**32 - 1
"""numpy and scikit-learn take no seed above it."""


def distill(
    train: Any,
    *,
    target: str | None = None,
    test: Any = None,
    unlabeled: Any = None,
    teachers: Any = None,
    student: Student | None = None,
    budget: Budget | Callable[[Budget], Budget] | None = None,
    seed: int = 0,
    recipe: Recipe | None = None,
    sample_weight: Any = None,
    pick: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Distil an ensemble into one small model, and prove what it is worth.

    Parameters
    ----------
    train
        Labelled rows: a path (CSV, Parquet, Arrow), a pandas, polars or pyarrow table, or ``(X, y)``. For
        pictures also a folder with one folder of them a class, ``(X, y)`` with an array of uint8
        ``(n, height, width, channels)``, or a torch data set.
    target
        Name of the column to predict; not needed with ``(X, y)``, folders and torch data sets.
    test
        Labelled rows to measure on, in the same forms; None holds some of ``train`` out.
    unlabeled
        More rows without labels, for the teacher to answer: the best transfer data there is.
    teachers
        None trains the default ensemble of twelve. Otherwise one teacher or a list of them: fitted models,
        unfitted estimators (these are cross-fitted), functions, paths of model files, tables of
        probabilities, web addresses. See `potstill.teachers`.
    student
        A part to train as it is, e.g. ``potstill.students.MLP(hidden=(64, 32))``; None searches all families.
    budget
        What the artifact may cost; None is a millisecond and a megabyte, for pictures 2 ms and a megabyte,
        for texts 20 ms and 40 MB. A function is given what None stands for and returns it changed.
    seed
        Decides splits, folds, synthetic rows and every fit.
    recipe
        Everything else, see `Recipe`.
    sample_weight
        ``(n,)`` weights of the rows of ``train``, for those who have them apart; a column of weights is named
        in the recipe.
    pick
        Number, from 1, of the candidate to ship, as the report gives it; None ships the best in the budget. A
        run with the same seed numbers them the same, unless a time limit decides how many there are;
        `Result.pick` picks without another run.
    progress
        Told how far the work is; None is silent.

    Raises
    ------
    UserError
        The input is wrong: the message says what and where. Nothing is written.
    ParityFailed
        The exported file does not answer as the trained student does.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> result = distill(
    ...     load_breast_cancer(return_X_y=True, as_frame=True),
    ...     teachers=RandomForestClassifier(n_estimators=50),
    ...     recipe=Recipe(cache=False),
    ... )
    >>> result.model.task.kind
    'binary'
    """
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"Wanted a seed from 0 to {MAX_SEED:,}, got {seed:,}.", hint="0 is as good as any.")
    recipe, progress = recipe or Recipe(), progress or Silent()
    # These raise now rather than after the teacher.
    limits = limits_of(budget)
    foreseen = limits(TABLES.budget)
    chosen_opset(foreseen.opset)
    check_allows_a_column(foreseen)
    if student is not None:
        check_keeps_monotone(student, recipe.monotone)
    clock = Clock(recipe.time_limit)
    with clock.stage("prepare"):
        prepared = prepare(
            train,
            target=target,
            sample_weight=sample_weight,
            test=test,
            unlabeled=unlabeled,
            recipe=recipe,
            seed=seed,
            progress=progress,
            tuned=tuned_encoder(teachers, student, recipe),
        )
    default, said = beside_reading(prepared.modality.budget, prepared.parts["valid"], prepared.schema)
    allowed = limits(default)
    for note in said if allowed.latency_ms == default.latency_ms else ():
        progress.note(note)
    check_can_pick(allowed, prepared.schema)
    check_can_be_written(prepared.modality, allowed.opset)
    clock.limit(prepared.modality.time_limit_s)
    with clock.stage("teacher"):
        taught, prepared = teach(
            teachers,
            prepared,
            recipe=recipe,
            seed=seed,
            limit_s=clock.teacher_s(prepared.modality.teacher_share),
            progress=progress,
        )
    # Where fits are heavy, the search itself keeps what answering takes after it.
    kept = 0.0 if prepared.modality.heavy else PROVING_SHARE
    with clock.stage("student"):
        chosen = pick_columns(
            taught, prepared, budget=allowed, seed=seed, limit_s=clock.student_s(kept), progress=progress
        )
        searched = search_students(
            taught,
            chosen.prepared,
            student=student,
            budget=allowed,
            recipe=recipe,
            seed=seed,
            limit_s=clock.student_s(kept),
            progress=progress,
        )

    def settled(pick: int | None, other: Budget | None) -> Result:
        stages = Clock(spent=clock.seconds)
        with stages.stage("student"):
            learnt = settle(searched, pick=pick, budget=other, progress=progress)
        with stages.stage("evaluation"):
            proven = prove(
                learnt,
                taught,
                chosen,
                seed=seed,
                timings=stages.seconds,
                progress=progress,
            )
        return Result(
            artifact=proven.artifact,
            card=proven.card,
            facts=proven.facts,
            answers=proven.answers,
            candidates=learnt.found.candidates,
            rows={part: len(rows) for part, rows in prepared.parts.items()},
            seconds={**stages.seconds, "total": sum(stages.seconds.values())},
            notes=(*prepared.notes, *taught.notes, *chosen.notes, *learnt.notes),
            settled=settled,
        )

    return settled(pick, None)


def limits_of(budget: Budget | Callable[[Budget], Budget] | None) -> Callable[[Budget], Budget]:
    """The default budget of the data to the one that holds, as `distill` is told it."""
    if callable(budget):
        return budget
    return lambda default: default if budget is None else budget
