"""One student of every family of a run beside its own twin, and the claim about transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto

import potstill
import runs
from potstill.artifact.session import open_session
from potstill.distillation.prove import describe_candidate
from potstill.evaluation import SetLosses, measure_latency, pooled_gap
from potstill.graph import GraphBuilder
from potstill.networks.bert_folder import read_bert
from potstill.students.transformer_graph import build_transformer
from potstill.teachers.zoo_transformers import default_checkpoint, tokenizer_for
from potstill.training.candidates import Candidate, order, ranked

TIMED = 200
"""Texts that the encoder's latency is measured on."""

METRICS = ("accuracy", "log_loss")
SIDES = ("student", "twin")
KEPT = (*METRICS, "size_bytes", "latency_us", "rows_per_s")


def families_of(result: potstill.Result, test: Any, rows: Path) -> dict[str, Any]:
    """The best student of each family by validation rows, measured on test rows beside its own best twin.

    Parameters
    ----------
    rows
        Folder for the losses row by row, one file a family.
    """
    labels = runs.test_labels(test, result.card.task.classes)
    teacher = runs.row_losses(result.answers["teacher"], labels, regression=False)
    told: dict[str, Any] = {}
    for family in dict.fromkeys(one.student.name for one in result.candidates):
        sides: dict[str, Any] = {}
        losses = {f"teacher/{metric}": values for metric, values in teacher.items()}
        for side in SIDES:
            alike = [one for one in result.candidates if one.student.name == family and one.role == side]
            if alike:
                best = min(alike, key=order)
                facts, answers = _measured(result, best)
                own = runs.row_losses(answers, labels, regression=False)
                losses |= {f"{side}/{metric}": values for metric, values in own.items()}
                sides[side] = {name: facts[name] for name in KEPT} | {
                    "told": describe_candidate(best),
                    "validation": best.assessment.loss,
                    "seconds": best.seconds,
                }
        if len(sides) == len(SIDES):
            place = rows / f"{family}.npz"
            runs.keep_rows(place, losses)
            gaps = {metric: _gap({family: runs.set_losses(place, metric)}) for metric in METRICS}
            told[family] = {**sides, "gaps": gaps}
    return told


def _measured(result: potstill.Result, candidate: Candidate) -> tuple[Mapping[str, Any], NDArray[Any]]:
    """What a candidate measured on the test rows and its answers: as the run has it, or picked."""
    best = min((one for one in result.candidates if one.role == candidate.role), key=order)
    if candidate is best and (candidate.is_twin or result.card.shipped == "student"):
        return result.to_dict()[candidate.role], result.answers[candidate.role]
    place = next(at for at, one in enumerate(ranked(result.candidates), start=1) if one is candidate)
    picked = result.pick(place)
    return picked.to_dict()["student"], picked.answers["student"]


def encoder_alone(test: Any, n_classes: int) -> dict[str, Any] | None:
    """What one whole encoder with a head costs as float32 ONNX, on one core; None where there is none.

    Its weights do not matter for that, so they are the checkpoint's, and those of the head are 0.
    """
    checkpoint = default_checkpoint()
    if checkpoint is None:
        return None
    shape, weights = read_bert(checkpoint)
    weights |= {"logit_weight": torch.zeros(shape.width, n_classes), "logit_bias": torch.zeros(n_classes)}
    graph = GraphBuilder()
    pieces = graph.input("pieces", TensorProto.INT64, ["n", "P"])
    arrays = {name: weight.numpy() for name, weight in weights.items()}
    logits = build_transformer(graph, arrays, shape, pieces=pieces, pooling="mean", storage="float32")
    graph.output(logits, "logits", TensorProto.FLOAT, ["n", n_classes])
    data = graph.model().SerializeToString()
    session, tokenizer = open_session(data), tokenizer_for(checkpoint)

    def answer(text: str) -> object:
        return session.run(None, {"pieces": tokenizer.ids([text]).astype(np.int64)})

    texts = test["text"].slice(0, TIMED).to_pylist()
    latency = measure_latency(answer, texts)
    return {"size_bytes": len(data), "latency_us": {"p50": latency.p50, "p99": latency.p99}}


def sections(within: Path, found: Mapping[str, Any]) -> list[str]:
    """Tables of the families and of the claim, of the sets in ``found`` that have them."""
    known = {name: result for name, result in found.items() if result.get("families")}
    if not known:
        return []
    head = ["set, family", "accuracy: teacher", "twin", "student", "gap in accuracy", "log-loss: teacher"]
    head += ["twin", "student", "gap in log-loss", "one row", "rows a second", "size"]
    lines = ["", "Each family's best student by validation rows, beside the best twin of that family:", ""]
    lines += runs.table(head, _families(known))
    lines += ["", *_pooled(within, known)]
    claimed = {name: result for name, result in known.items() if result.get("encoder_alone")}
    if claimed:
        lines += ["", *_claim(claimed)]
    return lines


def _families(known: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, result in known.items():
        for family, sides in result["families"].items():
            student, latency = sides["student"], sides["student"]["latency_us"]
            cells = [f"{name}, {family}"]
            for metric in METRICS:
                models = (result["teacher"], sides["twin"], student)
                cells += [f"{model[metric]:.4f}" for model in models]
                cells.append(sides["gaps"][metric])
            yield [
                *cells,
                f"{latency['p50']:.0f} µs, p99 {latency['p99']:.0f}",
                f"{student['rows_per_s']:,.0f}",
                f"{student['size_bytes'] / 1000:,.0f} kB",
            ]


def _pooled(within: Path, known: Mapping[str, Any]) -> Iterator[str]:
    families = dict.fromkeys(family for result in known.values() for family in result["families"])
    for family in families:
        for metric in METRICS:
            losses = {
                name: runs.set_losses(within / name / f"{family}.npz", metric)
                for name, result in known.items()
                if family in result["families"]
            }
            if any(losses.values()):
                names = ", ".join(name for name, one in losses.items() if one is not None)
                yield f"Pooled gap in {metric.replace('_', '-')} of {family}, {names}: {_gap(losses)}."
                yield ""


def _gap(losses: Mapping[str, SetLosses | None]) -> str:
    value, over_rows = runs.pooled_words(
        pooled_gap({name: one for name, one in losses.items() if one is not None})
    )[:2]
    return f"{value} {over_rows}"


def _claim(claimed: Mapping[str, Any]) -> list[str]:
    head = ["set", "best member", "accuracy kept: transformer", "static", "float32 ONNX: size", "one row"]
    head += ["in torch", "transformer smaller by", "as fast", "static as fast", "than in torch"]
    return [
        "Against one fine-tuned transformer: the ensemble's best member (accuracy, and one row as it answers "
        "in torch), and an encoder of its shape as float32 ONNX (size, and one row on one core, word pieces "
        "included). Smaller: the part of the bytes saved. As fast: the one time divided by the other; "
        'DistilBERT\'s "60 % faster" is 1.6 times.',
        "",
        *runs.table(head, [_claim_row(name, result) for name, result in claimed.items()]),
    ]


def _claim_row(name: str, result: Mapping[str, Any]) -> Sequence[str]:
    best, alone, families = result["best_member"], result["encoder_alone"], result["families"]
    whole_us = alone["latency_us"]["p50"]
    is_transformer = best["label"].startswith("transformer")

    def student(family: str) -> Mapping[str, Any] | None:
        return families[family]["student"] if family in families else None

    def kept(family: str) -> str:
        one = student(family)
        return "–" if one is None else f"{one['accuracy'] / best['accuracy']:.1%}"

    transformer, static = student("transformer"), student("static")
    saved = ["–", "–"]
    if transformer is not None:
        saved = [
            f"{1 - transformer['size_bytes'] / alone['size_bytes']:.0%}",
            f"{whole_us / transformer['latency_us']['p50']:.1f} times",
        ]
    return [
        name,
        f"{best['label']}, {best['accuracy']:.4f}",
        kept("transformer"),
        kept("static"),
        f"{alone['size_bytes'] / 1e6:.1f} MB",
        f"{whole_us / 1000:.2f} ms",
        f"{best['latency_us']['p50'] / 1000:.2f} ms",
        *saved,
        *(_faster(static, us) for us in (whole_us, best["latency_us"]["p50"] if is_transformer else None)),
    ]


def _faster(static: Mapping[str, Any] | None, us: float | None) -> str:
    """How many times as fast a static student is as what takes ``us``; a dash where either is missing."""
    return "–" if static is None or us is None else f"{us / static['latency_us']['p50']:.0f} times"
