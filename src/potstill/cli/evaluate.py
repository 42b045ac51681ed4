"""``potstill evaluate``: how good an artifact is on labelled rows, beside its teacher where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from potstill.cli.command import command, examples, json_option, option, quiet_option
from potstill.cli.output import emit_json, emit_table, table
from potstill.cli.progress import shown_progress
from potstill.cli.training_options import soft_target_options, teacher_file_options, teachers_from

if TYPE_CHECKING:
    from potstill.artifact import Model
    from potstill.evaluation.evidence import Evidence
    from potstill.types import Floats

MODELS = {"student": "this model", "teacher": "teacher"}


@command(
    epilog=examples(
        "potstill evaluate income.onnx test.csv",
        "potstill evaluate income.onnx test.parquet --teacher forest.skops --json",
        "potstill evaluate income.onnx march.csv --target paid_back",
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("rows", type=click.Path(path_type=str))
@option("--target", "-t", help="Column with the truth; the one the model was trained on by default.")
@teacher_file_options
@soft_target_options
@json_option()
@quiet_option()
def evaluate(
    model: Path, rows: str, *, target: str | None, as_json: bool, quiet: bool, **teacher: Any
) -> None:
    """Score MODEL on labelled rows.

    ROWS is a CSV, JSON Lines, Parquet or Arrow file, or a folder with one folder of pictures for each class.
    Rows whose target is missing are counted and left out. With a teacher (no JSON Lines then, and the
    training half installed) both are scored on the same rows, with how often they agree.
    """
    from potstill.artifact import load
    from potstill.cli.labelled import answered
    from potstill.cli.rows import passed_over
    from potstill.evaluation.evidence import gather

    opened = load(model)
    for note in [] if quiet else passed_over(rows):
        click.echo(note, err=True)
    with shown_progress(quiet=quiet) as progress:
        progress.start(f"predicting {rows}")
        outputs: dict[str, Floats] = {}
        outputs["student"], labels, kept = answered(opened, rows, target or opened.task.target)
        sources = teachers_from(teacher)
        if sources:
            from potstill.cli.teachers import teacher_answers

            progress.start("asking the teacher")
            said = teacher_answers(
                sources, rows, opened, target=target or opened.task.target, trust=teacher["trust"]
            )
            outputs["teacher"] = said[kept]
        evidence = gather(outputs, labels, opened.task)
    if as_json:
        emit_json(as_object(evidence, opened, n_skipped=len(kept) - len(labels)))
        return
    for drawn in tables(evidence):
        emit_table(drawn)
    if (n_skipped := len(kept) - len(labels)) and not quiet:
        click.echo(f"{n_skipped:,} rows without a target were left out", err=True)


def as_object(evidence: Evidence, model: Model, *, n_skipped: int) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "task": model.task.kind,
        "rows": evidence.n_rows,
        "rows_without_target": n_skipped,
        **evidence.scores,
        "agreement": evidence.agreement,
        "operating_points": evidence.operating_points,
        "per_class": evidence.per_class,
        "reliability": evidence.reliability,
    }


def tables(evidence: Evidence) -> list[Any]:
    """The scores, how far the teacher is followed, and what is caught at which false-positive rate."""
    from potstill.report import words

    models = [name for name in MODELS if name in evidence.scores]
    rows = [
        (
            words.METRICS.get(metric, metric),
            *(words.score(evidence.scores[name].get(metric), metric) for name in models),
        )
        for metric in evidence.scores["student"]
    ]
    drawn = [table(f"{evidence.n_rows:,} rows", ("", *(MODELS[name] for name in models)), rows)]
    if evidence.agreement:
        drawn.append(table("", ("agreement with the teacher", ""), _figures(evidence.agreement)))
    if points := evidence.operating_points.get("student"):
        caught = [
            (
                f"{each.fpr:.1%}",
                f"{each.recall:.1%}",
                _ratio(each.precision),
                _ratio(each.threshold, "{:.4f}"),
            )
            for each in points
        ]
        heads = ("false-positive rate at most", "recall", "precision", "threshold")
        drawn.append(table("Operating points", heads, caught))
    return drawn


def _figures(named: Mapping[str, float]) -> Sequence[Sequence[str]]:
    return [(name.replace("_", " "), f"{value:.4f}") for name, value in named.items()]


def _ratio(value: float | None, shape: str = "{:.1%}") -> str:
    return "–" if value is None else shape.format(value)
