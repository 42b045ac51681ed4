"""``potstill distill --explain``: what a run would see, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from potstill.cli.columns import HEADS, rows_of
from potstill.cli.output import emit_json, emit_table, table

if TYPE_CHECKING:
    from potstill.distillation import Recipe


def explain(train: Path, *, target: str, test: Path | None, recipe: Recipe, seed: int, as_json: bool) -> None:
    """Print the task, the columns and the splits of a run."""
    from potstill.data import load_dataset
    from potstill.distillation.prepare import matching, split_rows

    loaded = load_dataset(
        train,
        target=target,
        task=recipe.task,
        kinds=recipe.columns,
        drop=recipe.drop,
        weight=recipe.weight,
        group=recipe.group,
        time=recipe.time,
    )
    parts = split_rows(loaded, recipe, seed=seed, has_test=test is not None)
    rows = {"train": len(parts.train), "valid": len(parts.valid), "test": len(parts.test)}
    if test is not None:
        rows["test"] = len(matching(test, loaded.dataset, recipe, part="test").dataset)
    task, schema = loaded.dataset.task, loaded.dataset.schema
    if as_json:
        emit_json(
            {
                "task": msgspec.to_builtins(task),
                "schema": msgspec.to_builtins(schema),
                "rows": rows,
                "rows_without_target": loaded.n_missing_target,
                "notes": loaded.notes,
            }
        )
        return
    classes = f": {', '.join(map(str, task.classes[:12]))}" if task.classes else ""
    click.echo(f"predicts {task.target!r}, {task.kind}{classes}")
    click.echo(", ".join(f"{count:,} rows {part}" for part, count in rows.items()))
    emit_table(table("Columns", HEADS, rows_of(schema), left=len(HEADS)))
    if schema.dropped:
        emit_table(
            table("Left out", ("name", "why"), [(each.name, each.reason) for each in schema.dropped], left=2)
        )
    for note in loaded.notes:
        click.echo(note, err=True)
    click.echo("change a kind with --column NAME=KIND, leave a column out with --drop NAME", err=True)
