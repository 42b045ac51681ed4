"""``potstill cascade``: from which confidence on the student may answer without the ensemble."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from potstill.cli.command import command, examples, json_option, option, quiet_option
from potstill.cli.output import check_folder, emit_json, emit_table, table
from potstill.cli.progress import shown_progress
from potstill.cli.training_options import soft_target_options, teacher_file_options, teachers_from
from potstill.errors import UserError

if TYPE_CHECKING:
    from potstill.artifact import Model
    from potstill.monitoring import CascadePoint, Latencies
    from potstill.report.cascade import CascadeFacts
    from potstill.types import Floats, Ints

TIMED_S = 2.0
"""Seconds that each of the two is timed at most, a row at a time."""

SHOWN = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@command(
    epilog=examples(
        "potstill cascade income.onnx validation.csv --teacher forest.skops",
        "potstill cascade income.onnx validation.csv --teacher http://old.example/predict --html curve.html",
        "potstill cascade income.onnx validation.csv --soft-targets said.parquet --ensemble-ms 40 --json",
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("rows", type=click.Path(path_type=str))
@option("--target", "-t", help="Column with the truth; the one the model was trained on by default.")
@option(
    "--keep-accuracy",
    type=float,
    default=1.0,
    show_default=True,
    help="Share of the ensemble's accuracy that the cascade must keep: 0.99 gives up a hundredth of it.",
)
@option(
    "--ensemble-ms", type=float, help="What the ensemble takes for a row as it is served; else it is timed."
)
@option("--html", type=click.Path(path_type=Path), help="The curve as one self-contained HTML page.")
@option("--seed", type=int, default=0, show_default=True, help="Divides the rows into the two halves.")
@teacher_file_options
@soft_target_options
@json_option()
@quiet_option()
def cascade(
    model: Path,
    rows: str,
    *,
    target: str | None,
    keep_accuracy: float,
    ensemble_ms: float | None,
    html: Path | None,
    seed: int,
    as_json: bool,
    quiet: bool,
    **teacher: Any,
) -> None:
    """Choose the confidence from which MODEL answers alone; the other rows go to the ensemble.

    ROWS are labelled and neither MODEL nor the ensemble has learned from them. One half of them chooses the
    threshold, the other says what it is worth; the curve is of all.
    """
    from potstill.artifact import load
    from potstill.cli.labelled import answered
    from potstill.cli.teachers import teacher_answers

    check_folder(html)
    opened, sources = load(model), teachers_from(teacher)
    if not opened.task.is_classification:
        raise UserError(
            f"{model} predicts values, which come without a probability to go by.",
            hint="A cascade needs a model of classes.",
        )
    if sources is None:
        raise UserError(
            "A cascade needs the ensemble: none was named.",
            hint="Give --teacher, or --soft-targets with --ensemble-ms.",
        )
    with shown_progress(quiet=quiet) as progress:
        progress.start(f"predicting {rows}")
        named = target or opened.task.target
        outputs, labels, kept = answered(opened, rows, named)
        progress.start("asking the ensemble")
        said = teacher_answers(sources, rows, opened, target=named, trust=teacher["trust"])[kept]
        progress.start("timing both")
        latencies = _latencies(opened, sources, rows, ensemble_ms, target=named, trust=teacher["trust"])
        facts = facts_of(opened, outputs, said, labels.astype("int64"), keep_accuracy, latencies, seed=seed)
    if html is not None:
        from potstill.report.cascade import save_cascade

        save_cascade(facts, html)
    if as_json:
        emit_json(facts)
        return
    show(facts)
    if html is not None:
        click.echo(f"wrote {html}", err=True)


def facts_of(
    model: Model,
    student: Floats,
    ensemble: Floats,
    labels: Ints,
    keep: float,
    latencies: Latencies,
    *,
    seed: int,
) -> CascadeFacts:
    """Choose on one half of the rows, measure on the other, draw the curve of all.

    Raises
    ------
    UserError
        There are too few rows to divide.
    """
    import numpy as np

    from potstill.monitoring import cascade_curve, cascade_point, choose_threshold
    from potstill.report.cascade import CascadeFacts

    if len(labels) < 20:
        raise UserError(
            f"Wanted at least 20 labelled rows to choose a threshold by, got {len(labels)}.",
            hint="A few hundred give an interval that says something.",
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    choose, measure = order[: len(order) // 2], order[len(order) // 2 :]
    threshold = choose_threshold(student[choose], ensemble[choose], labels[choose], keep=keep)
    return CascadeFacts(
        name=model.card.name,
        content_hash=model.card.content_hash,
        n_rows=len(labels),
        keep_accuracy=keep,
        threshold=threshold,
        chosen=cascade_point(student[measure], ensemble[measure], labels[measure], threshold, latencies),
        student_accuracy=float((student.argmax(axis=1) == labels).mean()),
        ensemble_accuracy=float((ensemble.argmax(axis=1) == labels).mean()),
        student_mean_us=float(np.mean(latencies.student_us)),
        ensemble_mean_us=float(np.mean(latencies.ensemble_us)),
        curve=cascade_curve(student, ensemble, labels, latencies),
    )


def _latencies(
    model: Model, sources: Sequence[Any], rows: str, ensemble_ms: float | None, *, target: str, trust: bool
) -> Latencies:
    from potstill.cli.teachers import one_row_calls
    from potstill.monitoring import Latencies

    student = _timed([partial(model.predict_one, row) for row in model.probe_rows], calls=2_000)
    if ensemble_ms is not None:
        return Latencies(student, (1000 * ensemble_ms,))
    return Latencies(
        student, _timed(one_row_calls(sources, rows, model, target=target, trust=trust), calls=200)
    )


def _timed(asks: Sequence[Callable[[], object]], *, calls: int) -> tuple[float, ...]:
    """Microseconds of each call, after one to warm up, in turns and for two seconds at most."""
    asks[0]()
    taken: list[float] = []
    begin = time.perf_counter()
    for turn in range(calls):
        start = time.perf_counter()
        asks[turn % len(asks)]()
        taken.append(1e6 * (time.perf_counter() - start))
        if time.perf_counter() - begin > TIMED_S:
            break
    return tuple(taken)


def show(facts: CascadeFacts) -> None:
    """The curve as a table, and the choice in words."""
    points = [min(facts.curve, key=lambda point: abs(point.share - share)) for share in SHOWN]
    heads = (
        "threshold",
        "student answers",
        "accuracy",
        "95 % interval",
        "against the ensemble",
        "mean",
        "p99",
    )
    rows = [_row(point) for point in dict.fromkeys(points)]
    emit_table(table(f"{facts.n_rows:,} rows", heads, rows, left=0))
    emit_table(
        table(
            "Chosen on one half of the rows, measured on the other",
            heads,
            [_row(facts.chosen)],
            left=0,
        )
    )
    click.echo(facts.in_words)


def _row(point: CascadePoint) -> tuple[str, ...]:
    low, high = 100 * point.difference_low, 100 * point.difference_high
    return (
        f"{point.threshold:.5g}",
        f"{point.share:.1%}",
        f"{point.accuracy:.2%}",
        f"{point.low:.2%} to {point.high:.2%}",
        f"{100 * point.difference:+.2f} ({low:+.2f} to {high:+.2f})",
        _milliseconds(point.mean_us),
        _milliseconds(point.p99_us),
    )


def _milliseconds(us: float | None) -> str:
    return "–" if us is None else f"{us / 1000:.3f} ms"
