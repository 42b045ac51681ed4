"""Schema inference: the kind of every column, what is left out and why, and the caller's overrides."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from potstill.data import describe_schema, infer_schema, read_rows
from potstill.errors import UserError
from potstill.types import Column, DroppedColumn

N = 30
MAKERS: list[Callable[[Mapping[str, Any]], Any]] = [pd.DataFrame, pl.DataFrame, pa.table]


def rows_of(**columns: Any) -> nw.DataFrame[Any]:
    return read_rows(pa.table(columns))


def schema_error(rows: nw.DataFrame[Any], **overrides: Any) -> str:
    with pytest.raises(UserError) as caught:
        infer_schema(rows, **overrides)
    return str(caught.value)


def _every_kind() -> dict[str, Any]:
    return {
        "number": [i / 7 for i in range(N)],
        "whole": [None, *(i % 5 for i in range(1, N))],
        "flag": [None, *(i % 2 == 0 for i in range(1, N))],
        "word": [None, "once", *("ab"[i % 2] for i in range(2, N - 1)), ""],
        "day": [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(N)],
        "moment": [dt.datetime(2020, 1, 1, 12) + dt.timedelta(hours=i) for i in range(N)],
        "iso": [f"2021-02-{i % 28 + 1:02d}" for i in range(N)],
        "same": ["x"] * N,
        "nothing": pa.nulls(N, pa.string()).to_pylist(),
        "row": list(range(N)),
        "name": [f"n{i}" for i in range(N)],
    }


@pytest.mark.parametrize("make", MAKERS)
def test_every_kind_is_found_in_every_library(make: Callable[[Mapping[str, Any]], Any]) -> None:
    schema = infer_schema(read_rows(make(_every_kind())))
    first = 18262.0
    assert schema.columns == (
        Column("number", "numeric", low=0.0, high=29 / 7),
        Column("whole", "numeric", integer=True, low=0.0, high=4.0, has_missing=True),
        Column("flag", "boolean", low=0.0, high=1.0, has_missing=True),
        Column("word", "categorical", levels=("a", "b"), has_missing=True),
        Column("day", "date", integer=True, low=first, high=first + N - 1),
        Column("moment", "date", low=first + 0.5, high=first + 0.5 + 29 / 24),
        Column("iso", "date", integer=True, low=18659.0, high=18686.0),
    )
    assert schema.dropped == (
        DroppedColumn("same", "constant: one value in every row"),
        DroppedColumn("nothing", "no value in any row"),
        DroppedColumn("row", "identifier: every value differs"),
        DroppedColumn("name", "nearly every value differs: an identifier or free text"),
    )


def test_time_zones_become_utc() -> None:
    berlin = dt.timezone(dt.timedelta(hours=1))
    moments = [dt.datetime(1970, 1, 2, 1, tzinfo=berlin), dt.datetime(1970, 1, 3, 13, tzinfo=berlin)]
    column = infer_schema(rows_of(t=pa.array(moments, pa.timestamp("us", "Europe/Berlin")))).columns[0]
    assert (column.low, column.high, column.integer) == (1.0, 2.5, False)
    column = infer_schema(rows_of(t=["1970-01-02T01:00:00+01:00", "1970-01-03 12:00Z"])).columns[0]
    assert (column.low, column.high) == (1.0, 2.5)


@pytest.mark.parametrize("name", ["id", "user_id", "PassengerId", "Unnamed: 0", "index", "ROW", "case.id2"])
def test_whole_numbers_that_all_differ_are_identifiers_when_named_so(name: str) -> None:
    rows = rows_of(**{name: [7, 3, 99, 12], "x": [1.0, 2.0, 3.0, 4.0]})
    assert infer_schema(rows).dropped == (DroppedColumn(name, "identifier: every value differs"),)


@pytest.mark.parametrize("name", ["width", "grid", "paid", "humidity", "key_size", "fluid", "amount"])
def test_other_whole_numbers_are_kept(name: str) -> None:
    assert infer_schema(rows_of(**{name: [7, 3, 99, 12]})).names == (name,)


def test_fractions_that_all_differ_are_kept_and_a_row_counter_is_not() -> None:
    values = np.random.default_rng(0).normal(size=N)
    rows = rows_of(id=values, n=np.arange(1, N + 1), year=np.arange(1990, 1990 + N))
    schema = infer_schema(rows)
    assert schema.names == ("id", "year")
    assert schema.dropped == (DroppedColumn("n", "identifier: it counts the rows"),)


def test_levels_are_ordered_by_frequency_then_alphabet_and_capped() -> None:
    words = [f"w{i:05d}" for i in range(6_000) for _ in range(3)] + ["often"] * 9 + ["twice"] * 2
    column = infer_schema(rows_of(w=words)).columns[0]
    assert column.levels[:3] == ("often", "w00000", "w00001")
    assert len(column.levels) == 5_000
    assert "twice" not in column.levels


def test_declared_kinds_win() -> None:
    rows = rows_of(
        id=[1, 2, 2], code=[3.0, None, 3.0], same=[1, 1, 1], text=["1.5", "", "nan"], yes=[0, 1, None]
    )
    kinds = {
        "id": "categorical",
        "code": "categorical",
        "same": "numeric",
        "text": "numeric",
        "yes": "boolean",
    }
    schema = infer_schema(rows, kinds=kinds)  # type: ignore[arg-type]
    assert schema.columns == (
        Column("id", "categorical", levels=("2",)),
        Column("code", "categorical", levels=("3",), has_missing=True),
        Column("same", "numeric", integer=True, low=1.0, high=1.0),
        Column("text", "numeric", low=1.5, high=1.5, has_missing=True),
        Column("yes", "boolean", low=0.0, high=1.0, has_missing=True),
    )


def test_drop_leaves_a_column_out() -> None:
    schema = infer_schema(rows_of(a=[1.0, 2.0], b=[1.0, 3.0]), drop=["a"])
    assert (schema.names, schema.dropped) == (("b",), (DroppedColumn("a", "left out as asked"),))


def test_unknown_names_get_near_matches() -> None:
    rows = rows_of(income=[1, 2], age=[1, 2])
    assert schema_error(rows, kinds={"incom": "numeric"}) == (
        "There is no column 'incom'; the columns are 'income', 'age'.\n\nhint: did you mean 'income'?"
    )
    assert schema_error(rows, drop=["zzz"]) == (
        "There is no column 'zzz'; the columns are 'income', 'age'.\n\n"
        "hint: check the spelling, upper and lower case matter."
    )


def test_no_column_left() -> None:
    assert schema_error(rows_of(a=[1, 1], b=pa.nulls(2))) == (
        "Wanted at least one column to predict from, but none is left "
        "('a': constant: one value in every row; "
        "'b': no value in any row).\n\nhint: declare the kind of a column to keep it."
    )


def test_mixed_types_name_column_and_rows() -> None:
    rows = read_rows(pd.DataFrame({"a": [1, 2, "x", None], "b": [1, 2, 3, 4]}))
    assert schema_error(rows) == (
        "Wanted values of one kind in column 'a', got numbers (1 in row 0) and text ('x' in row 2).\n\n"
        "hint: convert the column to one type before handing it over, or leave it out: drop 'a'."
    )


def test_a_mixture_beyond_the_first_rows_is_seen_too() -> None:
    rows = read_rows(pd.DataFrame({"a": np.array(["x"] * 500 + [3], dtype=object)}))
    assert schema_error(rows).startswith(
        "Wanted values of one kind in column 'a', got text ('x' in row 0) and numbers (3 in row 500)."
    )


def test_numbers_with_a_few_words_are_a_mistake_unless_declared() -> None:
    rows = rows_of(age=[*(str(i) for i in range(9)), "?"])
    assert schema_error(rows) == (
        "Column 'age' mixes numbers and text: 90% of its values are numbers, but there is '?' in row 9.\n\n"
        "hint: correct these values or make them empty (missing), or declare 'age' categorical."
    )
    assert schema_error(rows, kinds={"age": "numeric"}) == (
        "Wanted numbers in column 'age', got '?' in row 9.\n\n"
        "hint: correct these values or make them empty (missing), or declare the column categorical."
    )
    assert infer_schema(rows, kinds={"age": "categorical"}).names == ("age",)
    assert infer_schema(rows_of(n=["1", "2", "3", "more"] * 5)).columns[0].kind == "categorical"


def test_declared_kinds_that_do_not_fit() -> None:
    assert schema_error(rows_of(a=[0, 1, 2]), kinds={"a": "boolean"}) == (
        "Wanted only true and false (or 1 and 0) in column 'a', got 2 in row 2.\n\n"
        "hint: declare 'a' numeric or categorical instead."
    )
    assert schema_error(rows_of(a=["2020-01-01", "soon"]), kinds={"a": "date"}) == (
        "Wanted dates in column 'a', got 'soon' in row 1.\n\n"
        "hint: give dates as ISO texts such as 2013-01-31 or 2013-01-31T12:30:00."
    )


def test_nested_values_and_times_of_day_are_left_out() -> None:
    rows = rows_of(a=[1.0, 2.0], b=[[1], [2]], c=[dt.time(1), dt.time(2)])
    assert infer_schema(rows).dropped == (
        DroppedColumn("b", "list<item: int64> values cannot be used"),
        DroppedColumn("c", "times of day cannot be used"),
    )


def test_description_reads_well() -> None:
    described = describe_schema(infer_schema(read_rows(pl.DataFrame(_every_kind()))), N)
    assert described == "\n".join(
        [
            "7 input columns, 30 rows",
            "  number   numeric      0 to 4.14286",
            "  whole    numeric      0 to 4, whole, some missing",
            "  flag     boolean      false or true, some missing",
            "  word     categorical  2 levels: a, b, some missing",
            "  day      date         2020-01-01 to 2020-01-30",
            "  moment   date         2020-01-01 to 2020-01-02, with time of day",
            "  iso      date         2021-02-01 to 2021-02-28",
            "left out",
            "  same     constant: one value in every row",
            "  nothing  no value in any row",
            "  row      identifier: every value differs",
            "  name     nearly every value differs: an identifier or free text",
            "to change this: --column NAME=KIND (numeric, boolean, categorical, date, text) or --drop NAME,",
            'in Python columns={"NAME": "KIND"} or drop=["NAME"]',
        ]
    )


def test_categories_of_a_library_are_categories_whatever_they_hold() -> None:
    frame = pd.DataFrame(
        {"code": pd.Categorical([3, 5, 3, None, 5, 3]), "flag": pd.Categorical([True, False] * 3)}
    )
    expected = (
        Column("code", "categorical", levels=("3", "5"), has_missing=True),
        Column("flag", "categorical", levels=("false", "true")),
    )
    assert infer_schema(read_rows(frame)).columns == expected
    enum = pl.DataFrame(
        {"e": pl.Series(["2020-01-01", "2020-01-02"] * 2, dtype=pl.Enum(["2020-01-01", "2020-01-02"]))}
    )
    assert infer_schema(read_rows(enum)).columns == (
        Column("e", "categorical", levels=("2020-01-01", "2020-01-02")),
    )


def test_a_column_no_arrow_type_fits_is_named() -> None:
    rows = read_rows(pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 1.0])}))
    said = schema_error(rows)
    assert said.startswith("Column 'a' cannot be read: ")
    assert said.endswith("\n\nhint: convert the column to a plain type first, or leave it out: drop 'a'.")


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "uint8", ">i4"])
def test_arrays_of_every_width(dtype: str) -> None:
    columns = infer_schema(read_rows(np.array([[1, 2], [3, 5]], dtype=dtype))).columns
    assert columns == tuple(
        Column(name, "numeric", integer=True, low=low, high=high)
        for name, low, high in (("x0", 1.0, 3.0), ("x1", 2.0, 5.0))
    )


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "int64[pyarrow]"])
def test_nullable_numbers_of_pandas(dtype: str) -> None:
    rows = read_rows(pd.DataFrame({"a": pd.Series([1, 0, None], dtype=dtype)}))
    assert infer_schema(rows).columns == (
        Column("a", "numeric", integer=True, low=0.0, high=1.0, has_missing=True),
    )
