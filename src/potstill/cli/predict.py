"""``potstill predict``: answers for the rows of a file."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from pathlib import Path

import click

from potstill.cli.command import command, examples, json_option, option, quiet_option
from potstill.cli.output import emit_json, written_whole
from potstill.cli.progress import shown_progress
from potstill.errors import UserError


@command(
    epilog=examples(
        "potstill predict income.onnx rows.csv > predictions.csv",
        "potstill predict income.onnx rows.parquet --out predictions.parquet",
        "potstill predict photos.onnx new-photos/ > predictions.csv",
        'echo \'{"age": 39, "workclass": "Private"}\' | potstill predict income.onnx - --json',
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("rows", type=click.Path(path_type=str, allow_dash=True))
@option(
    "--out", "-o", type=click.Path(path_type=Path), help="CSV, JSON Lines or Parquet file; stdout by default."
)
@option("--label", "only", flag_value="label", help="Only the predicted label.")
@option("--proba", "only", flag_value="proba", help="Only the probabilities.")
@json_option("Print one JSON object a row; with --out, one that sums up.")
@quiet_option()
def predict(
    model: Path, rows: str, *, out: Path | None, only: str | None, as_json: bool, quiet: bool
) -> None:
    """Answer the rows of a file with MODEL.

    ROWS is a CSV, JSON Lines, Parquet or Arrow file, a folder of pictures, or - for stdin. Columns the model
    does not take are ignored; empty cells are missing values. The answer has a row for each row, in order:
    the column "prediction" and, for classes, a column "p_CLASS" for each; for a folder, in the order of the
    names, before them the column "file".
    """
    from potstill.artifact import load
    from potstill.cli.answers import answers, output_names
    from potstill.cli.rows import passed_over, read_chunks
    from potstill.cli.writers import writer_for

    opened = load(model)
    if only == "proba" and not opened.task.is_classification:
        raise UserError("A regression has no probabilities.", hint="Leave --proba out.")
    writer = writer_for(out, as_json=as_json)
    for note in [] if quiet else passed_over(rows):
        click.echo(note, err=True)
    n_rows = 0
    with ExitStack() as stack:
        progress = stack.enter_context(shown_progress(quiet=quiet or out is None))
        progress.start(f"predicting {rows}")
        answered = (
            (len(chunk), answers(opened, chunk, only=only, where=rows)) for chunk in read_chunks(rows)
        )
        # What is wrong with the input mostly shows in its first rows: then not even a header is written.
        first = list(itertools.islice(answered, 1))
        path = None if out is None else stack.enter_context(written_whole(out))
        names = list(first[0][1]) if first else output_names(opened, only)
        write = stack.enter_context(writer(path, names))
        for count, columns in itertools.chain(first, answered):
            write(columns)
            n_rows += count
            progress.advance(count)
    if out is not None and as_json:
        emit_json({"rows": n_rows, "out": str(out)})
    elif out is not None and not quiet:
        click.echo(f"wrote {n_rows:,} rows to {out}", err=True)
