"""Stage three: the student, and its hard-label twin, out of the transfer set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import joblib
import msgspec
import numpy as np

from potstill.artifact import Affine, Calibration, Card, Model, Softmax, load
from potstill.distillation.prepare import Prepared
from potstill.distillation.recipe import Recipe
from potstill.distillation.teach import ORIGINS, Taught
from potstill.errors import UserError
from potstill.evaluation import measure_latency
from potstill.evaluation.metrics import log_losses, squared_errors
from potstill.export import artifact_bytes, compose, fit_temperature
from potstill.objectives import KD, MSE
from potstill.students import STUDENTS
from potstill.training.examples import LABELS_ONLY, RealTargets, Targets, make_examples
from potstill.training.search import Assessment, Candidate, Found, Lesson, Search
from potstill.types import Budget, Dataset, FittedStudent, Floats, Latency, Objective, Progress, Student

MANY_EXAMPLES = 10_000
"""From this many rows on, fits are worth a process each."""

TIMING_ROWS = 200
"""Validation rows whose latency is measured, one at a time."""


@dataclass(frozen=True)
class Learnt:
    """Winner and twin, fitted again with the held-out rows; all candidates; sentences worth reading.

    `opset` is the budget's.
    """

    student: Candidate
    twin: Candidate
    found: Found
    scale: tuple[float, float]
    opset: int | None
    notes: tuple[str, ...]


def learn(
    taught: Taught,
    prepared: Prepared,
    *,
    student: Student | None,
    budget: Budget,
    recipe: Recipe,
    seed: int,
    progress: Progress,
) -> Learnt:
    """Search student and twin on the validation rows, then fit both again with these rows too."""
    train = prepared.parts["train"]
    scale = _scale(train)
    device = chosen_device(recipe.device)
    n_rows = sum(len(rows) for rows in taught.transfer.rows.values())
    tensors = {origin: prepared.tensors[part] for part, origin in ORIGINS.items() if part in prepared.tensors}
    lesson = Lesson(
        transfer=taught.transfer,
        tensors=tensors,
        valid=make_examples(
            taught.transfer, tensors, LABELS_ONLY, temperature=1.0, origins=("held_out",), scale=scale
        ),
        spec=prepared.encoder.spec,
        task=train.task,
        scale=scale,
        seed=seed,
        device=device,
        workers=joblib.cpu_count() if device == "cpu" and n_rows >= MANY_EXAMPLES else 1,
    )
    search = Search(
        lesson,
        assess=Assessor(prepared, scale, opset=budget.opset),
        budget=budget,
        objective=_objective(train, recipe),
        progress=progress,
    )
    families = families_for(prepared) if student is None else [student]
    found = search.run(families, kinds_of_target(taught, recipe), free_size=student is None)
    progress.start("fitting on all rows", 2)
    refitted, *others = search.refit([found.student, *([] if found.student is found.twin else [found.twin])])
    twin = others[0] if others else refitted
    progress.advance(2)
    notes = _over_budget(found.student, budget)
    for note in notes:
        progress.note(note)
    return Learnt(student=refitted, twin=twin, found=found, scale=scale, opset=budget.opset, notes=notes)


def families_for(prepared: Prepared) -> list[Student]:
    """Every family, with its defaults, that can keep what the columns ask for."""
    constrained = any(prepared.encoder.spec.monotone)
    return [family() for family in STUDENTS.values() if family.keeps_monotone or not constrained]


def _over_budget(chosen: Candidate, budget: Budget) -> tuple[str, ...]:
    """What would have to give where nothing keeps the budget."""
    if chosen.fits_budget:
        return ()
    needed = chosen.assessment
    wanted = []
    if budget.size_kb is not None:
        wanted.append(f"{needed.size_bytes / 1000:.0f} kB where {budget.size_kb:g} kB are allowed")
    if budget.latency_ms is not None:
        wanted.append(
            f"{needed.latency_us.p99 / 1000:.3f} ms at p99 where {budget.latency_ms:g} ms are allowed"
        )
    return (
        f"No student keeps the budget. The one that ships needs {' and '.join(wanted)}; loosen the budget, "
        "or name a smaller student.",
    )


def kinds_of_target(taught: Taught, recipe: Recipe) -> list[Targets]:
    """The kinds of target worth a trial with this transfer set, the most promising first."""
    more = {"unlabeled", "synthetic"} & taught.transfer.rows.keys()
    crossed = bool(taught.transfer.cross_fitted.out_of_fold.any())
    real: RealTargets = "out_of_fold" if crossed else "in_sample"
    kinds = [Targets(hard_label_weight=0.5, real=real), Targets(hard_label_weight=0.0, real=real)]
    if crossed:
        kinds.append(Targets(hard_label_weight=0.0, real="in_sample"))
    if more:
        kinds += [
            Targets(hard_label_weight=1.0, real=real),
            Targets(hard_label_weight=0.5, real=real, synthetic=0.0),
        ]
    if recipe.hard_label_weight is not None:
        kinds = [msgspec.structs.replace(kind, hard_label_weight=recipe.hard_label_weight) for kind in kinds]
    return list(dict.fromkeys(kinds))


@final
class Assessor:
    """Exports a fitted student with its calibration, times it and scores it on the validation rows."""

    def __init__(self, prepared: Prepared, scale: tuple[float, float], *, opset: int | None = None) -> None:
        self._encoder = prepared.encoder
        self._valid = prepared.parts["valid"]
        self._tensors = prepared.tensors["valid"]
        self._scale = scale
        self._opset = opset
        self._rows = single_rows(self._valid)

    def __call__(self, fitted: FittedStudent) -> Assessment:
        valid = self._valid
        logits = fitted.logits(self._tensors)
        calibration = calibrate(logits, valid, self._scale)
        graph = compose(self._encoder, fitted, calibration, task=valid.task, opset=self._opset)
        card = Card(name="candidate", task=valid.task, schema=valid.schema, calibration=calibration)
        artifact = artifact_bytes(graph, card, valid.rows)
        return Assessment(
            loss=_loss(calibration.apply(logits), valid),
            temperature=calibration.temperature if isinstance(calibration, Softmax) else 1.0,
            size_bytes=len(artifact),
            latency_us=quiet_latency(load(artifact), self._rows),
        )


def quiet_latency(model: Model, rows: Sequence[dict[str, Any]], *, calls: int = 1_000) -> Latency:
    """One-row latency, the quietest of three measurements: other load on the machine can only add to it."""
    measured = [measure_latency(model.predict_one, rows, seconds=0.5, max_calls=calls) for _ in range(3)]
    return min(measured, key=lambda latency: latency.p99)


def single_rows(dataset: Dataset) -> list[dict[str, Any]]:
    """Some rows as a caller with one row at a time would pass them."""
    return dataset.rows[:TIMING_ROWS, :].rows(named=True)


def calibrate(logits: Floats, valid: Dataset, scale: tuple[float, float]) -> Calibration:
    """One temperature fitted on the validation labels; for regression the way back to the target's unit."""
    if not valid.task.is_classification:
        return Affine(scale=scale[0], shift=scale[1])
    assert valid.labels is not None
    return Softmax(temperature=fit_temperature(logits, valid.labels.astype(np.int64), valid.weight))


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


def _loss(outputs: Floats, valid: Dataset) -> float:
    assert valid.labels is not None
    if valid.task.is_classification:
        return float(np.average(log_losses(outputs, valid.labels.astype(np.int64)), weights=valid.weight))
    return float(np.sqrt(np.average(squared_errors(outputs, valid.labels), weights=valid.weight)))


def _scale(train: Dataset) -> tuple[float, float]:
    """``(scale, shift)``: spread and mean of the training values; nothing to do for classes."""
    if train.task.is_classification:
        return 1.0, 0.0
    assert train.labels is not None
    spread = float(np.std(train.labels))
    return spread or 1.0, float(np.mean(train.labels))


def _objective(train: Dataset, recipe: Recipe) -> Objective:
    return KD(temperature=recipe.temperature or 1.0) if train.task.is_classification else MSE()
