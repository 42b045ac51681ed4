"""What the held-out test rows may not decide, and what they may."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from potstill import Recipe
from potstill.data import load_dataset
from potstill.distillation.prepare import Prepared, prepare
from potstill.types import DroppedColumn, Silent

N = 100


def prepared(rows: Any, *, test: Any = None, **recipe: Any) -> Prepared:
    return prepare(
        rows,
        target="y",
        sample_weight=None,
        test=test,
        unlabeled=None,
        recipe=Recipe(synthetic=0, **recipe),
        seed=0,
        progress=Silent(),
    )


def table(**columns: Any) -> pd.DataFrame:
    numbers = np.random.default_rng(0).normal(size=N)
    return pd.DataFrame({"x": numbers, **columns, "y": np.arange(N) % 2})


def test_a_row_counter_stays_out_where_test_rows_leave_gaps() -> None:
    rows = table(n=np.arange(N))
    for schema in (load_dataset(rows, target="y").dataset.schema, prepared(rows).schema):
        assert schema.names == ("x",)
        assert schema.dropped == (DroppedColumn("n", "identifier: it counts the rows"),)


def test_a_kind_is_that_of_all_rows_and_the_values_those_of_the_rows_looked_at() -> None:
    days = [f"2021-02-{at % 20 + 1:02d}" for at in range(N - 1)]
    flags = np.where(np.arange(N) < N - 1, 0.0, 1.0)
    rows = table(day=[*days, "unknown"], flag=flags, order=np.arange(N), gap=[*range(N - 1), None])
    parts = prepared(rows, time="order")
    day, flag, gap = parts.schema.columns[1:]
    assert (day.name, day.kind, len(day.levels)) == ("day", "categorical", 20)
    assert (flag.kind, flag.low, flag.high) == ("numeric", 0.0, 0.0)
    assert (gap.low, gap.high, gap.has_missing) == (0.0, N * 0.8 - 1, False)
    assert parts.schema.dropped == (
        DroppedColumn("order", "orders the split; as an input it would only extrapolate"),
    )
    assert parts.parts["test"].rows["day"][-1] == "unknown"


def test_texts_on_both_sides_of_the_split_are_told_of() -> None:
    said = [f"what number {at} of them says" for at in range(N // 2)]
    twice = pd.DataFrame({"said": said * 2, "y": np.arange(N) % 2})
    notes = [note for note in prepared(twice).notes if "of a training row" in note]
    assert len(notes) == 1
    assert "% of the test rows have the said of a training row" in notes[0]
    once = twice.assign(said=[f"{text} {at}" for at, text in enumerate(twice["said"])])
    assert not any("of a training row" in note for note in prepared(once).notes)


def test_groups_of_test_rows_are_kept() -> None:
    rows = table(who=[f"p{at % 9}" for at in range(N)])
    parts = prepared(rows, test=rows[:30], group="who").parts
    assert parts["test"].groups is not None
    assert len(np.unique(parts["test"].groups)) == 9
    assert prepared(rows, test=rows[:30].drop(columns="who"), group="who").parts["test"].groups is None


def test_a_column_of_several_kinds_can_be_dropped() -> None:
    """Of the training rows and of others, while texts beside it are read as numbers."""
    rows = table(note=[1, "two", None, 4.0] * (N // 4), size=[f"{at / 7}" for at in range(N)])
    read = {"drop": ("note",), "columns": {"size": "numeric"}}
    parts = prepared(rows, test=rows, **read)
    assert parts.schema.names == ("x", "size")
    assert parts.schema.dropped == (DroppedColumn("note", "left out as asked"),)
    assert parts.parts["test"].rows["note"].to_list() == rows["note"].to_list()
    assert parts.parts["test"].rows["size"][7] == 1.0
    assert prepared(rows, **read).data_hash == parts.data_hash
    assert prepared(rows.assign(note=[*rows["note"][:-1], "more"]), **read).data_hash != parts.data_hash
