"""Stage four: the artifacts of student and twin, and what all four models are worth on unseen rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import narwhals as nw
import numpy as np
import onnx
from numpy.typing import NDArray

from potstill.artifact import (
    Calibration,
    Card,
    GapRecovered,
    Lineage,
    Measured,
    Model,
    Softmax,
    Volatile,
    load,
)
from potstill.artifact.card import Contender
from potstill.distillation.account import ROWS_MEASURED, library_versions
from potstill.distillation.columns import Picked
from potstill.distillation.judge import Judge
from potstill.distillation.learn import Learnt, quiet_latency, single_rows
from potstill.distillation.monotone import describe_monotone
from potstill.distillation.prepare import Prepared
from potstill.distillation.reference import answered_reference, column_reference
from potstill.distillation.teach import Taught, TeacherCost
from potstill.evaluation import measure_batch
from potstill.evaluation.evidence import Evidence, gather
from potstill.export import artifact_bytes, carried_tokenizer, check_parity, compose, input_batches
from potstill.report import CandidateFacts, ColumnFacts, ModelFacts, ReportFacts
from potstill.training.candidates import Candidate, pareto, ranked
from potstill.training.examples import rows_taught
from potstill.types import TABLE_KINDS, Dataset, Floats, Progress, Student

BATCH_ROWS, BATCH_S = 2_000, 1.0
"""Rows asked at once where throughput is measured; fewer where these would take longer one by one."""

SHOWN_COLUMNS = 40
"""Columns of the test rows that slices and disagreements look at, at most."""


@dataclass(frozen=True)
class Proven:
    """The shipped artifact and the evidence for it.

    Parameters
    ----------
    artifact
        The one file.
    facts
        What the report tells; None where no test rows were held out.
    answers
        Model to ``(n, K)`` probabilities, or values ``(n, 1)``, of the test rows; empty without any.
    """

    artifact: bytes
    card: Card
    facts: ReportFacts | None
    answers: Mapping[str, Floats]


def prove(
    learnt: Learnt,
    taught: Taught,
    picked: Picked,
    *,
    seed: int,
    timings: Mapping[str, float],
    progress: Progress,
) -> Proven:
    """Export student and twin with parity, ask all models about the test rows, and write the Card.

    Raises
    ------
    ParityFailed
        An exported graph does not answer as the trained student does; nothing is written then.
    """
    prepared = picked.prepared
    progress.start("exporting and measuring", 3)
    account = _account(learnt, taught, prepared, seed)
    small: dict[Contender, _Exported] = {"twin": _export(learnt.twin, account, prepared, learnt)}
    if learnt.twin_smoothed is not None:
        small["twin_smoothed"] = _export(learnt.twin_smoothed, account, prepared, learnt)
    small["student"] = _export(learnt.student, account, prepared, learnt)
    progress.advance(2)
    if "test" not in prepared.parts:
        return _seal(small["student"], account, prepared)
    test = prepared.parts["test"]
    models = _costs(small, taught, test)
    answers = _answers(small, taught, prepared)
    facts = ReportFacts(
        title=account.name,
        task=test.task,
        evidence=_evidence(answers, test, seed),
        models=models,
        shipped="twin" if learnt.found.student is learnt.found.twin else "student",
        untaught=learnt.found.twin_ships,
        candidates=_candidates(learnt),
        validation_losses=_validation_losses(taught, learnt.judge),
        judged_by=learnt.judge.words,
        budget=learnt.budget,
        columns=_column_facts(picked),
        rows=_row_counts(prepared),
        soft_targets=_told(learnt.student),
        seconds=dict(timings),
        warnings=(*prepared.notes, *taught.warnings, *learnt.notes),
    )
    measured = _measured_card(account, facts)
    progress.advance()
    proven = _seal(small["student"], measured, prepared)
    weighed = {
        name: msgspec.structs.replace(models[name], size_bytes=len(sealed.artifact))
        for name, sealed in (("student", proven), ("twin", _seal(small["twin"], measured, prepared)))
    }
    facts = msgspec.structs.replace(facts, models=models | weighed, card=_card_words(proven.card))
    return replace(proven, facts=facts, answers=answers)


@dataclass(frozen=True)
class _Exported:
    """A refitted candidate as graph and as the file it would be."""

    candidate: Candidate
    calibration: Calibration
    graph: onnx.ModelProto
    model: Model
    size_bytes: int


def _export(candidate: Candidate, account: Card, prepared: Prepared, learnt: Learnt) -> _Exported:
    rows, task = prepared.parts["valid"].rows, account.task
    calibration = learnt.judge.calibration_of(candidate)
    graph = compose(prepared.encoder, candidate.fitted, calibration, task=task, opset=learnt.budget.opset)
    account = msgspec.structs.replace(account, tokenizer=carried_tokenizer(graph, prepared.encoder))
    check_parity(graph, prepared.encoder, candidate.fitted, calibration, rows, schema=account.schema)
    artifact = artifact_bytes(graph, msgspec.structs.replace(account, calibration=calibration), rows)
    return _Exported(candidate, calibration, graph, load(artifact), len(artifact))


def _seal(exported: _Exported, account: Card, prepared: Prepared) -> Proven:
    tokenizer = carried_tokenizer(exported.graph, prepared.encoder)
    card = msgspec.structs.replace(account, calibration=exported.calibration, tokenizer=tokenizer)
    artifact = artifact_bytes(exported.graph, card, prepared.parts["valid"].rows)
    return Proven(artifact=artifact, card=load(artifact).card, facts=None, answers={})


def _answers(small: Mapping[Contender, _Exported], taught: Taught, prepared: Prepared) -> dict[str, Floats]:
    said: dict[str, list[Floats]] = {name: [] for name in small}
    for inputs in input_batches(prepared.parts["test"].rows, prepared.schema):
        for name, exported in small.items():
            said[name].append(exported.model.outputs(inputs))
    answers: dict[str, Floats] = {}
    if "test" in taught.answers:
        answers |= {"teacher": taught.answers["test"], "best_member": taught.best_answers["test"]}
    answers |= {name: np.concatenate(each) for name, each in said.items()}
    twin = small["twin"]
    if isinstance(twin.calibration, Softmax):
        answers["twin_raw"] = Softmax().apply(twin.candidate.fitted.logits(prepared.tensors["test"]))
    return answers


def _evidence(answers: Mapping[str, Floats], test: Dataset, seed: int) -> Evidence:
    assert test.labels is not None
    shown = test.schema.columns[:SHOWN_COLUMNS]
    columns = {column.name: _plain(test.rows.get_column(column.name)) for column in shown}
    return gather(
        answers,
        test.labels,
        test.task,
        columns=columns,
        sliced=[column.name for column in shown if column.kind in TABLE_KINDS],
        weight=test.weight,
        groups=test.groups,
        seed=seed,
    )


def _plain(column: nw.Series[Any]) -> NDArray[Any]:
    """A column as an array with None, or NaN among numbers, where a value is missing."""
    if not column.dtype.is_numeric():
        return np.array(column.to_list(), dtype=object)
    return np.array(column.to_list(), dtype=np.float64 if column.null_count() else None)


def _costs(small: Mapping[Contender, _Exported], taught: Taught, test: Dataset) -> dict[str, ModelFacts]:
    asked: dict[Contender, TeacherCost] = {"teacher": taught.cost, "best_member": taught.best_cost}
    models: dict[str, ModelFacts] = {
        name: ModelFacts(
            label=cost.label,
            size_bytes=cost.size_bytes,
            latency=cost.latency_us,
            rows_per_s=cost.rows_per_s,
            cpu_seconds_per_row=cost.cpu_seconds_per_row,
        )
        for name, cost in asked.items()
    }
    singles = single_rows(test)
    for name, exported in small.items():
        model = exported.model
        if name == "twin_smoothed":
            models[name] = ModelFacts(label=exported.candidate.student.name, size_bytes=exported.size_bytes)
            continue
        answer = model.predict_proba if test.task.is_classification else model.predict
        latency = quiet_latency(model, singles, calls=10_000)
        batch = test.rows[: max(1, min(BATCH_ROWS, round(1e6 * BATCH_S / latency.p50))), :]
        throughput = measure_batch(answer, batch, len(batch))
        models[name] = ModelFacts(
            label=exported.candidate.student.name,
            size_bytes=exported.size_bytes,
            latency=latency,
            rows_per_s=throughput.rows_per_s,
            cpu_seconds_per_row=throughput.cpu_seconds_per_row,
        )
    return models


def _validation_losses(taught: Taught, judge: Judge) -> dict[str, float]:
    """Loss of the teacher and its best member by what the candidates were chosen by."""
    heard = {"teacher": taught.answers.get("valid"), "best_member": taught.best_answers.get("valid")}
    return {name: judge.loss(said) for name, said in heard.items() if said is not None}


def _account(learnt: Learnt, taught: Taught, prepared: Prepared, seed: int) -> Card:
    """The Card before anything is measured."""
    train, chosen = prepared.parts["train"], learnt.student
    reference = answered_reference(
        learnt.found.student,
        prepared,
        learnt.judge.calibration_of(learnt.found.student),
        columns=column_reference(prepared),
    )
    return Card(
        name=train.task.target,
        task=train.task,
        schema=prepared.schema,
        calibration=Softmax(),
        lineage=Lineage(
            members={name: round(weight, 6) for name, weight in taught.members.items() if weight > 0},
            student=chosen.student.name,
            hyper_parameters=_hyper_parameters(chosen.student),
            objective=chosen.objective.name,
            temperature=chosen.objective.temperature,
            hard_weight=chosen.targets.hard_label_weight,
            generation=chosen.targets.generation or msgspec.UNSET,
            transfer_rows=dict(rows_taught(taught.transfer, chosen.targets, learnt.origins).items()),
            seed=seed,
            data_hash=prepared.data_hash,
            versions=library_versions(),
        ),
        volatile=Volatile(created=datetime.now(UTC).isoformat(timespec="seconds")),
        shipped="twin" if learnt.found.twin_ships else "student",
        reference=reference,
    )


def _measured_card(account: Card, facts: ReportFacts) -> Card:
    evidence = facts.evidence
    measured = Measured(
        rows=ROWS_MEASURED,
        n_rows=evidence.n_rows,
        metrics={model: dict(scores) for model, scores in evidence.scores.items()},
        gap_recovered={
            metric: GapRecovered(value=gap.value, low=gap.low, high=gap.high)
            for metric, gap in evidence.gap_recovered.items()
        },
    )
    volatile = msgspec.structs.replace(
        account.volatile,
        latency_us={name: model.latency for name, model in facts.models.items() if model.latency},
        size_bytes={name: model.size_bytes for name, model in facts.models.items() if model.size_bytes},
    )
    return msgspec.structs.replace(account, measured=measured, volatile=volatile)


def _candidates(learnt: Learnt) -> tuple[CandidateFacts, ...]:
    front = {id(one) for one in pareto(learnt.found.candidates)}
    places = {id(one): place for place, one in enumerate(ranked(learnt.found.candidates), start=1)}
    return tuple(
        CandidateFacts(
            name=describe_candidate(one),
            loss=one.assessment.loss,
            size_bytes=one.assessment.size_bytes,
            latency=one.assessment.latency_us,
            pareto=id(one) in front,
            chosen=one is learnt.found.student,
            number=places[id(one)] if id(one) in front else None,
            fits_budget=one.fits_budget,
        )
        for one in learnt.found.candidates
    )


def describe_candidate(candidate: Candidate) -> str:
    """Family, size and what it was told, in a few words: ``mlp ×2, 0.5 label, out of fold, synthetic``."""
    settings = f" ({candidate.settings})" if candidate.settings else ""
    return f"{candidate.student.name} ×{candidate.student.size:.3g}{settings}, {candidate.told}"


def _column_facts(picked: Picked) -> tuple[ColumnFacts, ...]:
    return tuple(
        ColumnFacts(
            names=point.names,
            loss=point.loss,
            low=point.low,
            high=point.high,
            chosen=point.names == picked.prepared.schema.names,
        )
        for point in picked.curve
    )


def _told(candidate: Candidate) -> dict[str, str]:
    targets = candidate.targets
    if targets.labels_only:
        return {"targets": "labels only"}
    return {
        "label weight": f"{targets.hard_label_weight:g}",
        "real rows": targets.real.replace("_", " "),
        "answers of": "teacher and students" if targets.generation else "teacher",
        "synthetic": f"{targets.synthetic:.0%}",
        "T": f"{candidate.objective.temperature:g}",
    }


def _row_counts(prepared: Prepared) -> dict[str, int]:
    names = {"train": "train", "valid": "validation", "test": "test"}
    return {names.get(part, part): len(rows) for part, rows in prepared.parts.items()}


def _hyper_parameters(student: Student) -> dict[str, Any]:
    """The settings of ``student``; of an encoder it began with, whether there was one, not where it lay."""
    settings: dict[str, Any] = msgspec.to_builtins(student)
    return {name: value is not None if name == "tuned" else value for name, value in settings.items()}


def _card_words(card: Card) -> dict[str, str]:
    lineage = card.lineage
    return {
        "target": f"{card.task.target} ({card.task.kind})",
        "columns": ", ".join(card.schema.names),
        "left out": ", ".join(f"{gone.name} ({gone.reason})" for gone in card.schema.dropped) or "none",
        "monotone": " ".join(describe_monotone(card.schema, card.task)) or "no constraint",
        "teacher": ", ".join(f"{name} {weight:.2f}" for name, weight in lineage.members.items()),
        "student": f"{lineage.student} {lineage.hyper_parameters}",
        "loss": f"{lineage.objective}, T = {lineage.temperature:g}, label weight {lineage.hard_weight:g}",
        "soft targets of": "teacher and students" if lineage.generation else "teacher",
        "transfer set": ", ".join(f"{n:,} {origin}" for origin, n in lineage.transfer_rows.items()),
        "calibration": str(card.calibration),
        "seed": str(lineage.seed),
        "data": lineage.data_hash,
        "graph": card.graph_hash,
        "content": card.content_hash,
        "versions": ", ".join(f"{name} {number}" for name, number in lineage.versions.items()),
        "created": card.volatile.created,
    }
