"""``potstill compare``: several artifacts of one task side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from potstill.cli.command import command, examples, json_option, option, quiet_option
from potstill.cli.output import check_folder, emit_json, emit_table, table
from potstill.cli.progress import shown_progress
from potstill.errors import UserError

if TYPE_CHECKING:
    from potstill.artifact import Model
    from potstill.report.comparison import Comparison
    from potstill.types import Latency, Task

ROUNDS = 3
"""Times each is timed, in turns, so that a busy moment of the machine does not count against one of them."""


@command(
    epilog=examples(
        "potstill compare income.onnx smaller.onnx",
        "potstill compare frontier/*.onnx --test test.csv",
        "potstill compare old.onnx new.onnx --test march.csv --target paid_back --json",
    )
)
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True)
@option("--test", type=click.Path(path_type=str), help="Labelled rows to ask all of them about.")
@option("--target", "-t", help="Column with the truth; the one the first was trained on by default.")
@option("--html", type=click.Path(path_type=Path), help="The comparison as one self-contained HTML page.")
@json_option()
@quiet_option()
def compare(
    models: tuple[Path, ...],
    *,
    test: str | None,
    target: str | None,
    html: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Put artifacts side by side: MODELS are two or more of one task.

    Family, columns, parameters, size and the latency of one row on this machine; with --test also the scores
    on these rows, what each is better by than the first with its paired 95 % interval, and how often it
    answers the same.
    """
    if len(models) < 2:
        raise UserError(
            f"Wanted at least two artifacts, got {len(models)}.",
            hint="One alone is scored by `potstill evaluate`.",
        )
    check_folder(html)
    with shown_progress(quiet=quiet) as progress:
        progress.start("opening and timing", None)
        opened = open_all(models)
        latencies = timed(opened)
        if test is not None:
            progress.start(f"asking about {test}", None)
        comparison = compared(models, opened, latencies, test=test, target=target)
    if html is not None:
        from potstill.report.comparison_page import save_comparison

        save_comparison(comparison, html)
    if as_json:
        emit_json(comparison)
        return
    show(comparison)
    if html is not None:
        click.echo(f"wrote {html}", err=True)


def open_all(paths: Sequence[Path]) -> list[Model]:
    """The artifacts, all of the first one's task.

    Raises
    ------
    UserError
        One predicts something else, or other classes.
    """
    from potstill.artifact import load

    opened = [load(path) for path in paths]
    first = opened[0].task
    for path, model in zip(paths, opened, strict=True):
        if (model.task.kind, model.task.classes) != (first.kind, first.classes):
            raise UserError(
                f"{path} predicts {_said(model.task)}, but {paths[0]} predicts {_said(first)}: "
                "they cannot be compared.",
                hint="Compare models of one task with the same classes.",
            )
    return opened


def _said(task: Task) -> str:
    if not task.is_classification:
        return f"values of {task.target!r}"
    classes = ", ".join(map(str, task.classes[:6])) + (", …" if len(task.classes) > 6 else "")
    return f"{task.target!r} ({classes})"


def timed(models: Sequence[Model]) -> list[Latency]:
    """One-row latency of each on the rows it carries: the quietest of several turns."""
    from potstill.evaluation import measure_latency

    turns = [
        [
            measure_latency(model.predict_one, model.probe_rows, seconds=0.2, max_calls=5_000)
            for model in models
        ]
        for _ in range(ROUNDS)
    ]
    return [min(each, key=lambda latency: latency.p99) for each in zip(*turns, strict=True)]


def compared(
    paths: Sequence[Path],
    models: Sequence[Model],
    latencies: Sequence[Latency],
    *,
    test: str | None = None,
    target: str | None = None,
) -> Comparison:
    """All that is said of the artifacts."""
    from potstill.artifact.weights import n_parameters
    from potstill.report.comparison import Compared, Comparison

    measured = [model.card.measured for model in models]
    sources = {(model.card.lineage.data_hash, model.card.lineage.seed) for model in models}
    artifacts = []
    answers: list[dict[str, Any]] = [{} for _ in models]
    n_rows = 0
    if test is not None:
        answers, n_rows = answered_alike(models, test, target or models[0].task.target)
    for name, path, model, latency, said in zip(
        short_names(paths), paths, models, latencies, answers, strict=True
    ):
        data = path.read_bytes()
        artifacts.append(
            Compared(
                name=name,
                family=model.card.lineage.student,
                n_parameters=n_parameters(data),
                size_bytes=len(data),
                latency=latency,
                n_columns=len(model.schema.columns),
                card_scores=model.card.measured.metrics.get("student", {}),
                card_rows=model.card.measured.n_rows,
                **said,
            )
        )
    return Comparison(
        task=models[0].task,
        artifacts=tuple(artifacts),
        rows=test,
        n_rows=n_rows,
        same_card_rows=len(sources) == 1 and len({each.n_rows for each in measured}) == 1,
    )


def answered_alike(models: Sequence[Model], rows: str, target: str) -> tuple[list[dict[str, Any]], int]:
    """For each model its scores, what it is better by than the first, and how far it agrees with that."""
    from potstill.cli.labelled import answered
    from potstill.evaluation import Interval, advantages, agreement, classification_scores, regression_scores

    classification = models[0].task.is_classification
    outputs = {}
    labels: Any = None
    for place, model in enumerate(models):
        outputs[str(place)], labels, _ = answered(model, rows, target)
    of_first = advantages(outputs, labels, of="0", classification=classification)
    found = []
    for name, answers in outputs.items():
        scores = (classification_scores if classification else regression_scores)(answers, labels)
        said: dict[str, Any] = {"scores": scores}
        if name != "0":
            said["better_by"] = {
                metric: Interval(0.0 - over.value, 0.0 - over.high, 0.0 - over.low)
                for metric, over in of_first[name].items()
            }
            said["agreement"] = agreement(answers, outputs["0"])
        found.append(said)
    return found, len(labels)


def short_names(paths: Sequence[Path]) -> list[str]:
    """The files' names where these tell them apart, else their paths."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def show(comparison: Comparison) -> None:
    """The tables on stdout."""
    from potstill.report.comparison import comparison_note, comparison_tables

    for written in comparison_tables(comparison):
        rows = [(line.name, *(cell.text for cell in line.cells)) for line in written.lines]
        emit_table(table(written.name, written.heads, rows))
    if note := comparison_note(comparison):
        click.echo(note, err=True)
