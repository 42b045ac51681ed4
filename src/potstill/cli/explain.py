"""``potstill distill --explain``: what a run would see, without running it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from potstill.cli.columns import HEADS, rows_of
from potstill.cli.output import emit_json, emit_table, table

if TYPE_CHECKING:
    from potstill.distillation import Recipe
    from potstill.types import Budget, Student


def explain(
    train: Path,
    *,
    target: str | None,
    test: Path | None,
    student: Student | None,
    budget: Budget | Callable[[Budget], Budget] | None,
    recipe: Recipe,
    seed: int,
    as_json: bool,
) -> None:
    """Print the task, the columns the model would ask for and the splits of a run."""
    from potstill.data import load_dataset
    from potstill.distillation.modality import modality_of
    from potstill.distillation.monotone import check_keeps_monotone, describe_monotone, with_monotone
    from potstill.distillation.prepare import matching, split_rows, student_schema
    from potstill.distillation.run import limits_of

    if student is not None:
        check_keeps_monotone(student, recipe.monotone)

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
    task = loaded.dataset.task
    schema = student_schema(with_monotone(loaded.dataset.schema, recipe.monotone, task), recipe)
    notes = [*loaded.notes, *describe_monotone(schema, task)]
    most = limits_of(budget)(modality_of(schema).budget).max_columns
    if most is not None and most < len(schema.columns):
        notes.append(f"The run picks the {most} of these {len(schema.columns)} columns that are worth most.")
    if as_json:
        emit_json(
            {
                "task": msgspec.to_builtins(task),
                "schema": msgspec.to_builtins(schema),
                "rows": rows,
                "rows_without_target": loaded.n_missing_target,
                "notes": notes,
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
    for note in notes:
        click.echo(note, err=True)
    click.echo("change a kind with --column NAME=KIND, leave a column out with --drop NAME", err=True)
