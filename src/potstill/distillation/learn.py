"""Stage three: the student, and its hard-label twin, out of the transfer set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import joblib
import msgspec
import numpy as np

from potstill.artifact import Calibration, Card, Model, Softmax, load
from potstill.distillation.account import foreseen
from potstill.distillation.judge import Judge
from potstill.distillation.limits import judgeable, over_budget
from potstill.distillation.modality import begun, describe_left_out, families_of
from potstill.distillation.prepare import Prepared
from potstill.distillation.recipe import Recipe
from potstill.distillation.reference import foreseen_reference
from potstill.distillation.teach import ORIGINS, Taught
from potstill.distillation.vectors import with_vectors
from potstill.errors import UserError
from potstill.evaluation import measure_latency, measure_memory
from potstill.export import artifact_bytes, carried_tokenizer, compose
from potstill.objectives import KD, MSE
from potstill.students.settings import adjusted
from potstill.training.candidates import Assessment, Candidate, Found, choose, ranked, under
from potstill.training.examples import LABELS_ONLY, RealTargets, Targets, make_examples
from potstill.training.lesson import SEARCH_ORIGINS, Lesson, Trial
from potstill.training.search import Search
from potstill.types import (
    Budget,
    Dataset,
    FittedStudent,
    Latency,
    Objective,
    Origin,
    Progress,
    Student,
)

MANY_EXAMPLES = 10_000
"""From this many rows on, fits are worth a process each."""

ASKED_TEST, ASKED_VALID = 3, 3
"""One-row latencies of the student that each test row and each validation row takes after the search: it and
its twin are held against what was trained, and asked, calibrated and not. Reckoned for transformers."""

TIMING_ROWS = 200
"""Validation rows whose latency is measured, one at a time."""


@dataclass(frozen=True)
class Searched:
    """A finished search, from which candidates can be settled on, again and again.

    ``notes`` are sentences worth reading.
    """

    search: Search
    found: Found
    budget: Budget
    judge: Judge
    assess: Assessor
    notes: tuple[str, ...] = ()
    refitted: dict[Trial, Candidate] = field(default_factory=dict)

    def refit(self, candidates: Sequence[Candidate]) -> None:
        """Fit those that are not in ``refitted`` yet with the held-out rows too."""
        new = list({one.trial: one for one in candidates if one.trial not in self.refitted}.values())
        self.refitted.update((one.trial, one) for one in self.search.refit(new))

    def again(self, candidate: Candidate, budget: Budget) -> Candidate:
        """``candidate`` as refitted, judged as it is now; as it was where that is too large a file."""
        refitted = self.refitted[candidate.trial]
        grown = refitted.fitted is not candidate.fitted
        if grown and candidate.fits_budget and budget.size_kb is not None:
            file = self.assess.file_of(refitted.fitted, self.judge.calibration_of(candidate))
            if len(file) > 1000 * budget.size_kb:
                return candidate
        return replace(refitted, excess=candidate.excess)


@dataclass(frozen=True)
class Learnt:
    """What ships and the baselines, fitted again with the held-out rows; sentences worth reading.

    Parameters
    ----------
    student, twin, twin_smoothed
        Refitted; the last is None where no labels were smoothed (regression).
    found
        As they were before, with all candidates.
    budget
        What they are judged by.
    judge
        What they were chosen by.
    origins
        Of the rows that they have learned from at last.
    """

    student: Candidate
    twin: Candidate
    twin_smoothed: Candidate | None
    found: Found
    budget: Budget
    judge: Judge
    origins: tuple[Origin, ...]
    notes: tuple[str, ...]


def search_students(
    taught: Taught,
    prepared: Prepared,
    *,
    student: Student | None,
    budget: Budget,
    recipe: Recipe,
    seed: int,
    limit_s: float | None,
    progress: Progress,
) -> Searched:
    """Search student and twin on the validation rows."""
    train = prepared.parts["train"]
    scale = _scale(train)
    device = chosen_device(recipe.device)
    n_rows = sum(len(rows) for rows in taught.transfer.rows.values())
    many = n_rows >= MANY_EXAMPLES or prepared.modality.heavy
    judge = Judge.of(prepared, taught, scale)
    lesson = make_lesson(
        taught,
        prepared,
        seed=seed,
        device=device,
        workers=joblib.cpu_count() if device == "cpu" and many else 1,
        trust=judge.hearsay.share if judge.hearsay else 0.0,
    )
    families = families_for(prepared) if student is None else [_named(student, prepared)]
    notes = _describe_search(families, prepared, named=student is not None)
    for note in notes:
        progress.note(note)
    tuned = taught.encoder or prepared.tuned
    begin = time.monotonic()
    if tuned is not None:
        lesson = with_vectors(lesson, families, str(tuned), limit_s, progress)
    if limit_s is not None:
        limit_s -= time.monotonic() - begin
    assess = Assessor(prepared, judge, budget, members=list(taught.members), families=families)
    search = Search(
        lesson,
        assess=assess,
        budget=budget,
        objectives=_objectives(prepared),
        limit_s=limit_s,
        short_share=prepared.modality.short_share,
        answers_after=_answers_after(prepared),
        progress=progress,
    )
    if tuned is not None:
        families = [adjusted(family, tuned=str(tuned)) for family in families]
    kinds = kinds_of_target(taught, recipe, prepared.modality.targets)
    found = search.run(families, kinds, free_size=student is None)
    return Searched(search, found, budget, judge, assess, notes)


def _answers_after(prepared: Prepared) -> int:
    parts = prepared.parts
    return ASKED_VALID * len(parts["valid"]) + (ASKED_TEST * len(parts["test"]) if "test" in parts else 0)


def make_lesson(
    taught: Taught,
    prepared: Prepared,
    *,
    seed: int,
    device: str = "cpu",
    workers: int = 1,
    trust: float = 0.0,
) -> Lesson:
    """What the candidates of a search learn from; see `Lesson`."""
    tensors = {origin: prepared.tensors[part] for part, origin in ORIGINS.items() if part in prepared.tensors}
    scale = _scale(prepared.parts["train"])
    return Lesson(
        transfer=taught.transfer,
        tensors=tensors,
        valid=make_examples(
            taught.transfer, tensors, LABELS_ONLY, temperature=1.0, origins=("held_out",), scale=scale
        ),
        spec=prepared.encoder.spec,
        task=prepared.parts["train"].task,
        scale=scale,
        seed=seed,
        device=device,
        workers=workers,
        heavy=prepared.modality.heavy,
        trust=trust,
    )


def settle(
    searched: Searched, *, pick: int | None = None, budget: Budget | None = None, progress: Progress
) -> Learnt:
    """Settle on a candidate, and fit it and the baselines again with the validation rows too.

    Parameters
    ----------
    pick
        Number of a candidate, from 1, see `ranked`; None takes the best under the budget.
    budget
        Judges the candidates by another budget than they were searched under.

    Raises
    ------
    UserError
        There is no such candidate, or the budget limits what candidates cannot be judged by afterwards.
    """
    found, allowed = searched.found, searched.budget
    if budget is not None:
        allowed = judgeable(budget, searched.budget, searched.assess.schema)
        tried = found.candidates
        if allowed.memory_mb is not None:
            progress.start("measuring memory")
            tried = tuple(searched.assess.with_memory(one) for one in tried)
        found = choose(under(allowed, tried))
    if pick is not None:
        found = replace(found, student=_picked(found, pick))
    wanted = [found.student, found.twin, *([found.twin_smoothed] if found.twin_smoothed else [])]
    progress.start("fitting on all rows", len(wanted))
    searched.refit(wanted)
    progress.advance(len(wanted))
    over = over_budget(found.student, allowed, searched.assess.schema) if pick is None else ()
    for note in over:
        progress.note(note)
    student = searched.again(found.student, allowed)
    return Learnt(
        student=student,
        twin=searched.again(found.twin, allowed),
        twin_smoothed=searched.again(found.twin_smoothed, allowed) if found.twin_smoothed else None,
        found=found,
        budget=allowed,
        judge=searched.judge,
        origins=SEARCH_ORIGINS if student is found.student else searched.search.final_origins,
        notes=(*searched.notes, *over),
    )


def _picked(found: Found, number: int) -> Candidate:
    ordered = ranked(found.candidates)
    if not 1 <= number <= len(ordered):
        raise UserError(
            f"Wanted candidate number {number}, but the search tried {len(ordered)}, numbered from 1.",
            hint="The report and `--frontier` number those worth picking; 1 has the smallest loss.",
        )
    return ordered[number - 1]


def families_for(prepared: Prepared) -> list[Student]:
    """The families to search: those that read all columns and, where directions are asked for, keep them."""
    constrained = any(prepared.encoder.spec.monotone)
    families = families_of(prepared.schema, prepared.recipe)
    return [family for family in families if family.keeps_monotone or not constrained]


def _describe_search(families: Sequence[Student], prepared: Prepared, *, named: bool) -> tuple[str, ...]:
    """Sentences on which families are not searched, and on which begin with what a teacher has learned."""
    notes = () if named else describe_left_out(prepared.schema)
    begin = [family.name for family in families if "tuned" in family.__struct_fields__]
    if prepared.tuned is None or not begin:
        return notes
    return (
        *notes,
        f"Students ({', '.join(begin)}) begin with the encoder in {prepared.tuned}; their twins do not.",
    )


def _named(student: Student, prepared: Prepared) -> Student:
    """The family that the caller asked for.

    Raises
    ------
    UserError
        It cannot learn from such columns.
    """
    kinds = {column.kind for column in prepared.schema.columns}
    if not kinds <= student.reads:
        able = [family.name for family in families_for(prepared)]
        raise UserError(
            f"The student {student.name!r} does not read columns of the kinds "
            f"{', '.join(sorted(kinds))}; these do: {', '.join(able)}.",
            hint="Leave the student out to search them all.",
        )
    return begun(student, prepared.recipe)


def kinds_of_target(taught: Taught, recipe: Recipe, preferred: Sequence[Targets] = ()) -> list[Targets]:
    """The kinds of target worth a trial with this transfer set, the most promising first.

    ``preferred`` takes the place of those that are tried for tables.

    Raises
    ------
    UserError
        Labels alone are asked for, of rows that all have one: the teacher would have no say.
    """
    more = {"unlabeled", "synthetic"} & taught.transfer.rows.keys()
    asked = {} if recipe.real_targets is None else {"real": recipe.real_targets}
    kinds = [msgspec.structs.replace(kind, **asked) for kind in preferred]
    kinds = kinds or _kinds_for_tables(taught, recipe)
    if recipe.hard_label_weight is not None:
        kinds = [msgspec.structs.replace(kind, hard_label_weight=recipe.hard_label_weight) for kind in kinds]
    lacking = {name: none for name, none in (("unlabeled", False), ("synthetic", 0.0)) if name not in more}
    kinds = [msgspec.structs.replace(kind, **lacking) for kind in kinds]
    told = [kind for kind in dict.fromkeys(kinds) if not kind.labels_only]
    if not told:
        raise UserError(
            "With a label weight of 1, and no rows but those that have a label, the teacher has no say.",
            hint="Lower the weight of the labels, or let there be synthetic or unlabelled rows.",
        )
    return told


def _kinds_for_tables(taught: Taught, recipe: Recipe) -> list[Targets]:
    more = {"unlabeled", "synthetic"} & taught.transfer.rows.keys()
    crossed = bool(taught.transfer.cross_fitted.out_of_fold.any())
    real: RealTargets = recipe.real_targets or "in_sample"
    kinds = [Targets(hard_label_weight=0.5, real=real)]
    if more:
        kinds.append(Targets(hard_label_weight=1.0, real=real))
    kinds.append(Targets(hard_label_weight=0.0, real=real))
    kept_off: RealTargets = "out_of_fold" if crossed and recipe.real_targets is None else real
    if taught.transfer.rows["real"].task.is_classification:
        kinds.append(Targets(hard_label_weight=0.5, real=kept_off, corrected=True))
    kinds.append(Targets(hard_label_weight=0.5, real=kept_off))
    if more:
        kinds.append(Targets(hard_label_weight=0.5, real=real, synthetic=0.0))
    return kinds


@final
class Assessor:
    """Exports a fitted student with its calibration, times it and has it judged.

    ``members`` and ``families`` are what the account in the file will be about: its bytes count.
    """

    def __init__(
        self,
        prepared: Prepared,
        judge: Judge,
        budget: Budget,
        *,
        members: Sequence[str] = (),
        families: Sequence[Student] = (),
    ) -> None:
        self._budget = budget
        self._judge = judge
        self.schema = prepared.schema
        self._encoder = prepared.encoder
        self._valid = prepared.parts["valid"]
        self._rows = single_rows(self._valid)
        blank = Card(
            name=prepared.parts["train"].task.target,
            task=self._valid.task,
            schema=self.schema,
            calibration=Softmax(),
            reference=foreseen_reference(prepared),
        )
        self._card = foreseen(blank, members, families, measured="test" in prepared.parts)

    def __call__(self, fitted: FittedStudent) -> Assessment:
        calibration, loss = self._judge.judged(fitted)
        artifact = self.file_of(fitted, calibration)
        return Assessment(
            loss=loss,
            temperature=calibration.temperature if isinstance(calibration, Softmax) else 1.0,
            size_bytes=len(artifact),
            latency_us=quiet_latency(load(artifact), self._rows),
            memory_bytes=measure_memory(artifact) if self._budget.memory_mb is not None else None,
        )

    def with_memory(self, candidate: Candidate) -> Candidate:
        """``candidate`` with what its file takes of memory, where that was not measured."""
        if candidate.assessment.memory_bytes is not None:
            return candidate
        file = self.file_of(candidate.fitted, self._judge.calibration_of(candidate))
        assessment = replace(candidate.assessment, memory_bytes=measure_memory(file))
        return replace(candidate, assessment=assessment)

    def file_of(self, fitted: FittedStudent, calibration: Calibration) -> bytes:
        """The file that would ship, but for the figures in its account."""
        graph = compose(self._encoder, fitted, calibration, task=self._valid.task, opset=self._budget.opset)
        tokenizer = carried_tokenizer(graph, self._encoder)
        card = msgspec.structs.replace(self._card, calibration=calibration, tokenizer=tokenizer)
        return artifact_bytes(graph, card, self._valid.rows)


def quiet_latency(model: Model, rows: Sequence[dict[str, Any]], *, calls: int = 1_000) -> Latency:
    """One-row latency on a core of its own: computing time of the thread, the quietest of three measurements.

    Other load on the machine can only add to it, and must not decide what ships.
    """
    measured = [
        measure_latency(model.predict_one, rows, seconds=0.5, max_calls=calls, clock=time.thread_time_ns)
        for _ in range(3)
    ]
    return min(measured, key=lambda latency: latency.p99)


def single_rows(dataset: Dataset) -> list[dict[str, Any]]:
    """Some rows as a caller with one row at a time would pass them."""
    return dataset.rows[:TIMING_ROWS, :].rows(named=True)


def chosen_device(device: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` takes a GPU where torch finds one."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "Wanted to train on cuda, but torch finds no GPU here.",
            hint="Leave the device at auto, or say cpu.",
        )
    return device


def _scale(train: Dataset) -> tuple[float, float]:
    """``(scale, shift)``: spread and mean of the training values; nothing to do for classes."""
    if train.task.is_classification:
        return 1.0, 0.0
    assert train.labels is not None
    spread = float(np.std(train.labels))
    return spread or 1.0, float(np.mean(train.labels))


def _objectives(prepared: Prepared) -> list[Objective]:
    if not prepared.parts["train"].task.is_classification:
        return [MSE()]
    asked = prepared.recipe.temperature
    return [KD(temperature=each) for each in ([asked] if asked else prepared.modality.temperatures)]
