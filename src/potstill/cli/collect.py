"""``potstill collect``: what fitted teachers answer for the rows of a file of any length."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from potstill.cli.command import command, examples, json_option, option, quiet_option
from potstill.cli.output import emit_json
from potstill.cli.progress import shown_progress
from potstill.cli.training_options import FILE, columns_option, target_options, teacher_file_options
from potstill.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from potstill.types import Dataset


@command(
    epilog=examples(
        "potstill collect unlabeled.parquet --train train.csv -t income --teacher forest.skops -o answers/",
        "potstill collect big.parquet --train train.csv -t y --teacher a.txt --teacher b.onnx -o answers/",
    )
)
@click.argument("rows", type=FILE)
@option(
    "--out",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the answers.",
)
@option("--train", type=FILE, required=True, help="Labelled rows that say what the columns and classes are.")
@option(
    "--batch-rows",
    type=click.IntRange(min=1),
    default=131_072,
    show_default=True,
    help="Rows asked at a time.",
)
@target_options
@columns_option
@teacher_file_options
@json_option()
@quiet_option()
def collect(rows: Path, *, out: Path, train: Path, batch_rows: int, **chosen: Any) -> None:
    """Ask fitted teachers about every row of a file.

    ROWS is a Parquet, Arrow or CSV file or a folder of Parquet files. It is read a batch at a time, so it may
    be longer than the memory; a run that was stopped is taken up where it ended. The answers go to Parquet
    files in the folder --out, with the column "row" and a column for each teacher; `potstill distill
    --soft-targets` takes the folder.
    """
    if not chosen["teachers"]:
        raise UserError("Wanted at least one --teacher, got none.", hint="Give the file of a fitted model.")
    with shown_progress(quiet=chosen["quiet"]) as progress:
        from potstill.cli.teachers import fitted_teachers
        from potstill.data import load_dataset
        from potstill.transfer import collect_file

        progress.start("reading the columns")
        like = load_dataset(
            train, target=chosen["target"], task=chosen["task"], kinds=chosen["columns"]
        ).dataset
        teachers = fitted_teachers(chosen["teachers"], like.task, trust=chosen["trust"])
        collected = collect_file(
            teachers,
            rows,
            load_batch=lambda table, first: batch(table, first, like),
            out=out,
            batch_rows=batch_rows,
            progress=progress,
        )
    if chosen["as_json"]:
        emit_json(
            {
                "out": str(out),
                "members": collected.members,
                "rows": collected.rows,
                "files": [str(path) for path in collected.files],
                "computed": collected.computed,
            }
        )
    elif not chosen["quiet"]:
        click.echo(f"{collected.rows:,} rows answered by {', '.join(collected.members)}, in {out}", err=True)


def batch(table: pa.Table, first_row: int, like: Dataset) -> Dataset:
    """A batch of the file as a dataset: the columns of ``like``, no labels, ids from ``first_row`` on."""
    from dataclasses import replace

    import numpy as np

    from potstill.data import load_dataset

    loaded = load_dataset(table, like=like, need_labels=False).dataset
    return replace(loaded, ids=np.arange(first_row, first_row + len(loaded), dtype=np.int64))
