"""``potstill drift``: are these rows still those that an artifact has learned from?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from potstill.cli.command import command, examples, json_option, option, quiet_option
from potstill.cli.output import emit_json, emit_table, table
from potstill.cli.progress import shown_progress
from potstill.errors import GateFailed, UserError

if TYPE_CHECKING:
    from potstill.artifact import Model
    from potstill.monitoring import Drift, Thresholds, Watch, Window

WHOLE = 10**12
"""Rows of a window that never closes: the file is one."""


@command(
    epilog=examples(
        "potstill drift income.onnx yesterday.csv",
        "potstill drift income.onnx yesterday.parquet --psi 0.1 --ignore opened_on --json",
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("rows", type=click.Path(path_type=str, allow_dash=True))
@option("--psi", type=float, default=0.2, show_default=True, help="Smallest shift of a column that alarms.")
@option(
    "--rate-rise", type=float, default=0.05, show_default=True, help="Smallest rise of missing or unseen."
)
@option("--ignore", multiple=True, help="Column that may drift, such as a date; can be given again.")
@json_option()
@quiet_option()
def drift(
    model: Path,
    rows: str,
    *,
    psi: float,
    rate_rise: float,
    ignore: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Hold ROWS, without labels, against the rows that MODEL has learned from.

    ROWS is a CSV, JSON Lines, Parquet or Arrow file, or - for stdin. Exit code 1 if a column or the answers
    have drifted, values are missing or unseen more often, or the accuracy is estimated to have fallen.
    """
    from potstill.artifact import load
    from potstill.monitoring import Thresholds, Watch

    opened = load(model)
    watch = Watch(
        opened, window_rows=WHOLE, ignore=ignore, thresholds=Thresholds(psi=psi, rate_rise=rate_rise)
    )
    with shown_progress(quiet=quiet) as progress:
        progress.start(f"reading {rows}")
        _read(opened, watch, rows)
    report = watch.report()
    if not report.has_reference:
        raise UserError(
            f"{model} does not say what its training rows looked like: an earlier version wrote it.",
            hint="Distil it again, or give potstill.monitoring.Watch a reference of your own.",
        )
    window = report.current
    if window is None:
        raise UserError(f"There are no rows in {rows}.", hint="Give a day's or a week's rows.")
    if as_json:
        emit_json(window)
    else:
        show(window, report.thresholds)
    if window.alarms:
        raise GateFailed(
            " ".join(window.alarms),
            hint="Is it the world, or a broken source? If it is the world, distil anew.",
        )


def _read(model: Model, watch: Watch, rows: str) -> None:
    from potstill.artifact import feeds
    from potstill.cli.cells import model_batches
    from potstill.cli.rows import read_chunks

    for chunk in read_chunks(rows):
        for columns in model_batches(chunk, model.schema, where=rows):
            inputs = feeds(columns, model.schema)
            watch.observe(inputs, model.outputs(inputs))


def show(window: Window, thresholds: Thresholds) -> None:
    """The columns, most drifted first, the answers, and the accuracy."""
    columns = sorted(window.columns.items(), key=lambda named: -(named[1].psi or 0.0))
    heads = ("", "PSI", "KS", "Jensen–Shannon", "missing", "unseen", "alarm")
    emit_table(table(f"{window.n_rows:,} rows", heads, [_row(*named) for named in columns]))
    emit_table(table("Answers", heads, [_row(*named) for named in window.answers.items()]))
    if window.accuracy is not None:
        said = window.accuracy
        trust = "" if said.trusted else "; not to be trusted, for the rows have drifted"
        click.echo(
            f"accuracy, estimated without labels: {said.value:.1%} ({said.low:.1%} to {said.high:.1%}); "
            f"it was {said.reference:.1%}{trust}"
        )
    if window.n_rows < thresholds.min_rows:
        click.echo(f"fewer than {thresholds.min_rows} rows: too few for an alarm")


def _row(name: str, drift: Drift) -> tuple[str, ...]:
    return (
        name,
        *("–" if value is None else f"{value:.3f}" for value in (drift.psi, drift.ks, drift.jensen_shannon)),
        f"{drift.missing:.1%}",
        f"{drift.unseen:.1%}",
        ", ".join(drift.alarms),
    )
