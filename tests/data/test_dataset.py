"""Datasets: rows, labels, weights, groups and time out of every source, and rows that must match others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer

from potstill.data import load_dataset
from potstill.errors import UserError
from potstill.types import DroppedColumn, Schema

COLUMNS = {
    "age": [20.0, 30.5, 40.0, None, 60.0, 70.0],
    "job": ["a", "b", "a", "b", None, "a"],
    "y": ["no", "yes", None, "no", "yes", "no"],
    "w": [1.0, 2.0, 0.0, 1.0, 1.0, 1.0],
    "g": ["p", "p", "q", "q", None, "r"],
    "t": [dt.date(2020, 1, day) for day in (3, 2, 1, 4, 6, 5)],
}
MAKERS: list[Callable[[Mapping[str, Any]], Any]] = [pd.DataFrame, pl.DataFrame, pa.table]


def load_error(source: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(source, **options)
    return str(caught.value)


@pytest.mark.parametrize("make", MAKERS)
def test_all_roles_out_of_one_table(make: Callable[[Mapping[str, Any]], Any]) -> None:
    loaded = load_dataset(make(COLUMNS), target="y", weight="w", group="g", time="t")
    dataset = loaded.dataset
    assert dataset.rows.columns == ["age", "job", "t"]
    assert dataset.schema.names == ("age", "job")
    assert dataset.schema.dropped == (
        DroppedColumn("t", "orders the split; as an input it would only extrapolate"),
    )
    assert dataset.task.classes == ("no", "yes")
    assert dataset.labels is not None
    assert dataset.weight is not None
    assert dataset.groups is not None
    assert dataset.labels.tolist() == [0, 1, 0, 1, 0]
    assert dataset.weight.tolist() == [1, 2, 1, 1, 1]
    assert dataset.groups.tolist() == [0, 0, 1, 3, 2]
    assert dataset.ids is not None
    assert dataset.ids.tolist() == [0, 1, 3, 4, 5]
    assert loaded.time is not None
    assert loaded.time.tolist() == [18264, 18263, 18265, 18267, 18266]
    assert loaded.n_missing_target == 1
    assert loaded.notes == (
        "Left out 1 of 6 rows: their target is missing.",
        "The time column 't' orders the split and is no input; declare its kind to keep it.",
        "1 rows have no group; each is taken for a group of its own.",
    )
    assert not dataset.from_array


def test_the_time_column_is_an_input_when_declared() -> None:
    loaded = load_dataset(pa.table(COLUMNS), target="y", drop=["g"], time="t", kinds={"t": "date"})
    assert loaded.dataset.schema.names == ("age", "job", "w", "t")


def test_pairs_of_arrays_and_frames() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    dataset = load_dataset((X, y)).dataset
    assert dataset.from_array
    assert dataset.schema.names == tuple(f"x{i}" for i in range(30))
    assert (dataset.task.target, dataset.task.classes) == ("target", (0, 1))
    np.testing.assert_array_equal(dataset.labels, y)
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]})
    dataset = load_dataset((frame, pd.Series(list("uvuv"), name="label"))).dataset
    assert not dataset.from_array
    assert (dataset.schema.names, dataset.task.target) == (("a",), "label")
    assert load_dataset((frame, [0.5, 1.5, 2.5, 3.5])).dataset.task.kind == "regression"
    assert load_dataset((frame, np.array([[0], [1], [0], [1]])), target="z").dataset.task.target == "z"


def test_weights_and_groups_as_arrays() -> None:
    X = np.arange(8.0).reshape(4, 2)
    dataset = load_dataset(
        (X, [0, 1, 0, 1]), weight=np.array([1, 2, 3, 4]), group=np.array([5, 5, 6, 6])
    ).dataset
    assert dataset.weight is not None
    assert dataset.groups is not None
    assert (dataset.weight.tolist(), dataset.groups.tolist()) == ([1, 2, 3, 4], [0, 0, 1, 1])
    assert load_error((X, [0, 1, 0, 1]), weight=np.ones(3)) == (
        "Wanted one weight a row, 4 in all, got an array of shape (3,).\n\n"
        "hint: pass the name of a column or as many values as there are rows as weight."
    )


def test_pairs_that_do_not_fit() -> None:
    X = np.eye(3)
    assert load_error((X, [0, 1])) == (
        "Wanted one label a row, got X with 3 rows and y with 2.\n\n"
        "hint: X and y must come from the same rows in the same order."
    )
    assert load_error((X, np.eye(3))) == (
        "Wanted one label a row (a 1-d y), got an array of shape (3, 3).\n\n"
        "hint: predict one target at a time."
    )
    assert load_error((pd.DataFrame({"a": [1, 2]}), [0, 1]), target="a") == (
        "The labels y are called 'a', but X has a column of that name too.\n\n"
        "hint: remove the column from X, or give the target another name: target=..."
    )


def test_target_errors() -> None:
    table = pa.table(COLUMNS)
    assert load_error(table) == (
        "Wanted to know which column to predict, but no target was named.\n\n"
        "hint: name it: target=..., on the command line --target."
    )
    assert load_error(table, target="jib") == (
        "Wanted the target in the data. There is no column 'jib'; "
        "the columns are 'age', 'job', 'y', 'w', 'g', 't'."
        "\n\nhint: did you mean 'job'?"
    )
    assert load_error(pa.table({"a": [1, 2], "y": pa.nulls(2)}), target="y") == (
        "Every row's target 'y' is missing.\n\nhint: is it the right column, and the right file?"
    )
    assert load_error(pa.table({"y": [1, 2]}), target="y") == (
        "Wanted columns to predict 'y' from, but there is no other column.\n\n"
        "hint: is the file read with the right delimiter?"
    )


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (
            [1, -1, 1, None],
            "Wanted sample weights in column 'w' that are finite and not negative, got -1 in row 1, "
            "None in row 3.\n\nhint: give every row a weight; 0 leaves a row out.",
        ),
        (
            [0, 0, 0, 0],
            "Wanted sample weights in column 'w', but all of them are 0.\n\n"
            "hint: give some rows a weight above 0.",
        ),
        (
            ["1", "much", "2", "3"],
            "Wanted sample weights that are numbers in column 'w', got 'much' in row 1.\n\n"
            "hint: is it the right column?",
        ),
    ],
)
def test_weights_that_are_none(weights: list[Any], said: str) -> None:
    table = pa.table({"a": [1, 2, 4, 3], "y": [0, 1, 0, 1], "w": weights})
    assert load_error(table, target="y", weight="w") == said


def test_a_weight_may_be_missing_where_the_target_is() -> None:
    table = pa.table({"a": [1, 2, 4, 3, 5], "y": [0, 1, 0, 1, None], "w": [1, 2, 1, 2, -1]})
    assert load_dataset(table, target="y", weight="w").dataset.weight.tolist() == [1, 2, 1, 2]
    negative = load_error(table.set_column(2, "w", [[1, -2, 1, 2, -1]]), target="y", weight="w")
    assert negative.startswith(
        "Wanted sample weights in column 'w' that are finite and not negative, got -2 in row 1.\n"
    )


@pytest.mark.parametrize("role", ["weight", "group", "time"])
def test_the_target_has_no_other_role(role: str) -> None:
    table = pa.table({"a": [1, 2, 4, 3], "y": [0, 1, 0, 1]})
    assert load_error(table, target="y", **{role: "y"}) == (
        f"The column 'y' cannot be the target and the {role} at once.\n\n"
        f"hint: name another column as target or as {role}."
    )


def test_other_rows_match_the_training_data(tmp_path: Path) -> None:
    train = load_dataset(pl.DataFrame(COLUMNS), target="y", weight="w", group="g", time="t").dataset
    path = tmp_path / "test.csv"
    path.write_text("job,age,more,y\n7,20,1,no\n8,,1,yes\n7,30,1,\n")
    loaded = load_dataset(path, like=train, weight="w", group="g")
    other = loaded.dataset
    assert isinstance(other.rows.to_native(), pl.DataFrame)
    assert other.rows.to_dict(as_series=False) == {"age": [20, None], "job": ["7", "8"]}
    assert (other.task, other.schema, other.ids) == (train.task, train.schema, None)
    assert other.labels is not None
    assert other.labels.tolist() == [0, 1]
    assert (other.weight, other.groups) == (None, None)
    assert loaded.notes == (
        "Columns that the training data does not have are not used: 'more'.",
        "Left out 1 of 3 rows: their target is missing.",
    )


def test_unlabelled_rows() -> None:
    train = load_dataset(pa.table(COLUMNS), target="y", drop=["w", "g", "t"]).dataset
    rows = pa.table({"age": [1.0], "job": ["a"]})
    assert load_dataset(rows, like=train, need_labels=False).dataset.labels is None
    assert load_error(rows, like=train) == (
        "Wanted the target in these rows. There is no column 'y'; the columns are 'age', 'job'.\n\n"
        "hint: check the spelling, upper and lower case matter."
    )
    array = load_dataset((np.random.default_rng(0).normal(size=(6, 2)), [0, 1] * 3)).dataset
    other = load_dataset(np.zeros((2, 2)), like=array, need_labels=False).dataset
    assert other.from_array
    assert other.labels is None


def test_other_rows_that_do_not_match() -> None:
    train = load_dataset(pa.table(COLUMNS), target="y", drop=["w", "g", "t"]).dataset
    assert load_error(pa.table({"age": [1.0], "y": ["no"]}), like=train) == (
        "Wanted the columns of the training data, but 'job' is not there; the columns are 'age'.\n\n"
        "hint: the rows must have every column that the model takes."
    )
    assert load_error(pa.table({"age": ["old"], "job": ["a"], "y": ["no"]}), like=train) == (
        "Wanted numbers in column 'age', got 'old' in row 0; "
        "in the training data the column is numeric (double)."
        "\n\nhint: convert the column to the type it has in the training data."
    )
    assert load_error(pa.table({"age": [1.0], "job": ["a"], "y": ["maybe"]}), like=train).startswith(
        "The target column 'y' has labels that the training data does not have: 'maybe'."
    )


def test_texts_declared_numbers_become_numbers_for_the_teachers() -> None:
    rows = pd.DataFrame({"a": ["1.5", "", "2.5", "x"][:3] * 2, "y": [0, 1] * 3})
    dataset = load_dataset(rows, target="y", kinds={"a": "numeric"}).dataset
    np.testing.assert_array_equal(dataset.rows["a"].to_numpy(), [1.5, np.nan, 2.5] * 2)


def test_one_schema_for_all_libraries() -> None:
    def schema_in(make: Callable[[Mapping[str, Any]], Any]) -> Schema:
        return load_dataset(make(COLUMNS), target="y").dataset.schema

    assert schema_in(pd.DataFrame) == schema_in(pl.DataFrame) == schema_in(pa.table)
