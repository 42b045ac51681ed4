"""Rows of every shape give the same inputs, or one clear sentence."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from potstill.artifact import feeds
from potstill.errors import UserError
from potstill.types import Column, DroppedColumn, Schema

SCHEMA = Schema(
    (Column("n", "numeric"), Column("c", "categorical"), Column("b", "boolean"), Column("d", "date"))
)
DAYS = [datetime(2024, 5, 31, 12), None, datetime(1969, 12, 31)]
COLUMNS = {"n": [1.5, None, 3.0], "c": ["a", None, "é"], "b": [True, False, None], "d": DAYS}
EXPECTED = {
    "n": np.array([1.5, np.nan, 3], np.float32),
    "c": np.array(["a", "", "é"], object),
    "b": np.array([1, 0, np.nan], np.float32),
    "d": np.array([19874.5, np.nan, -1.0]),
}


def records():
    return [{name: values[row] for name, values in COLUMNS.items()} | {"extra": 1} for row in range(3)]


def pandas_nullable():
    kinds = {"n": "Float64", "c": "string", "b": "boolean"}
    return pd.DataFrame({**COLUMNS, "d": pd.to_datetime(COLUMNS["d"])}).astype(kinds)


def pandas_categorical():
    return pandas_nullable().astype({"c": "category", "n": "Float32"})


def pandas_arrow():
    return pa.table(COLUMNS).to_pandas(types_mapper=pd.ArrowDtype)


def pandas_zoned():
    frame = pandas_nullable()
    return frame.assign(d=frame["d"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))


def arrow_dictionary():
    table = pa.table(COLUMNS)
    return pa.concat_tables(
        [
            table.set_column(1, "c", table["c"].dictionary_encode())[:2],
            table[2:].set_column(1, "c", table["c"][2:].dictionary_encode()),
        ]
    )


SHAPES = {
    "dict of lists": lambda: COLUMNS,
    "dict of arrays": lambda: {name: np.array(values, dtype=object) for name, values in COLUMNS.items()},
    "dict of series": lambda: (
        dict(pandas_nullable().items()) | {"c": pl.Series(COLUMNS["c"]), "n": pa.array(COLUMNS["n"])}
    ),
    "records": records,
    "pandas objects": lambda: pd.DataFrame(COLUMNS).astype(object),
    "pandas inferred": lambda: pd.DataFrame(COLUMNS),
    "pandas nullable": pandas_nullable,
    "pandas categorical": pandas_categorical,
    "pandas arrow": pandas_arrow,
    "pandas with a zone": pandas_zoned,
    "polars": lambda: pl.DataFrame(COLUMNS),
    "polars categorical": lambda: pl.DataFrame(COLUMNS).with_columns(pl.col("c").cast(pl.Categorical)),
    "polars zoned": lambda: pl.DataFrame(COLUMNS).with_columns(
        pl.col("d").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
    ),
    "arrow": lambda: pa.table(COLUMNS),
    "arrow batch": lambda: pa.RecordBatch.from_pydict(COLUMNS),
    "arrow dictionary with nulls": arrow_dictionary,
    "narwhals": lambda: nw.from_native(pl.DataFrame(COLUMNS)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_inputs(shape):
    converted = feeds(SHAPES[shape](), SCHEMA)
    assert list(converted) == list(EXPECTED)
    for name, expected in EXPECTED.items():
        assert converted[name].dtype == expected.dtype
        np.testing.assert_array_equal(converted[name], expected)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([3, None, 4], dtype="Int64"),
        pd.Series([3.0, None, 4.0]),
        pd.Series([3, None, 4], dtype="category"),
        pd.Series([3, None, 4], dtype="int64[pyarrow]"),
        pl.Series([3, None, 4]),
        pl.Series([3, None, 4], dtype=pl.Int128),
        pl.Series([Decimal("3.0"), None, Decimal("4.00")]),
        pa.array([3, None, 4]),
        pa.array([3, None, 4]).dictionary_encode(),
        pa.array([Decimal("3.0"), None, Decimal("4.0")]),
        np.ma.masked_array([3, 9, 4], mask=[False, True, False]),
        [3, None, 4.0],
    ],
    ids=lambda column: f"{type(column).__module__}-{getattr(column, 'dtype', getattr(column, 'type', ''))}",
)
def test_whole_numbers_are_the_same_numbers_and_categories_everywhere(column):
    assert feeds({"c": column}, Schema((Column("c", "categorical"),)))["c"].tolist() == ["3", "", "4"]
    number = feeds({"c": column}, Schema((Column("c", "numeric"),)))["c"]
    np.testing.assert_array_equal(number, np.array([3, np.nan, 4], np.float32))


def test_large_integer_codes_keep_every_digit_as_categories():
    code = 2**60 + 1
    for column in (pl.Series([code, None]), pa.array([code, None]), pd.Series([code, None], dtype="Int64")):
        assert feeds({"c": column}, Schema((Column("c", "categorical"),)))["c"].tolist() == [str(code), ""]


def test_arrays_are_taken_by_position_where_training_was_on_an_array():
    schema = Schema(
        (Column("x0", "numeric"), Column("x2", "categorical")), (DroppedColumn("x1", "constant"),)
    )
    converted = feeds(np.array([[1.5, 0, 7], [2, 0, 8]]), schema)
    assert converted["x0"].tolist() == [1.5, 2.0]
    assert converted["x2"].tolist() == ["7", "8"]


def test_no_rows():
    assert {name: len(values) for name, values in feeds([], SCHEMA).items()} == {
        "n": 0,
        "c": 0,
        "b": 0,
        "d": 0,
    }


def without(name):
    return {key: values for key, values in COLUMNS.items() if key != name}


ACCEPTED = "a dict of columns, a list of dicts, or a pandas, polars or pyarrow table"
WRONG = {
    "missing": (
        without("n"),
        "The rows lack column 'n', which the model takes.\n\nhint: Pass None where a value is missing.",
    ),
    "missing with a near name": (
        without("n") | {"N ": [1, 2, 3]},
        "The rows lack column 'n', which the model takes.\n\nhint: The rows do have 'N ' (for 'n').",
    ),
    "two missing": (
        {"c": []},
        "The rows lack 3 columns 'n', 'b', 'd', which the model takes.\n\n"
        "hint: Pass None where a value is missing.",
    ),
    "missing in one record": (
        [COLUMNS, without("b")],
        "The rows lack column 'b', which the model takes.\n\nhint: Pass None where a value is missing.",
    ),
    "twice": (
        pa.table([[1], [2], ["a"], [True], [None]], names=["n", "n", "c", "b", "d"]),
        "The rows have 2 columns named 'n'; wanted one.\n\nhint: Rename or drop the others.",
    ),
    "lengths": (
        COLUMNS | {"c": ["a"]},
        "Column 'c' has 1 rows, but column 'n' has 3.\n\nhint: Give every column one value a row.",
    ),
    "wrong value": (
        COLUMNS | {"n": [1, "abc", 2]},
        "Column 'n' takes numbers; row 1 holds 'abc' (str).\n\n"
        "hint: Convert the column to numbers first; None means missing.",
    ),
    "text numbers": (
        pl.DataFrame(COLUMNS | {"n": ["1", "2", "3"]}),
        "Column 'n' takes numbers; row 0 holds '1' (str).\n\n"
        "hint: Text is not read as a number: pass 1 itself, and None where one is missing.",
    ),
    "scalars": (
        {"n": 1, "c": "a", "b": True, "d": None},
        "Column 'n' is a int; wanted one value a row.\n\n"
        "hint: For one row as a dict of single values use predict_one.",
    ),
    "matrix column": (
        COLUMNS | {"n": np.zeros((3, 1))},
        "Column 'n' is a ndarray of shape (3, 1); wanted one value a row.\n\n"
        "hint: For one row as a dict of single values use predict_one.",
    ),
    "array": (
        np.zeros((2, 4)),
        "The rows are an array of shape (2, 4), but the model was not trained on such: "
        "its columns have names.\n\n"
        f"hint: Give {ACCEPTED}.",
    ),
    "lists": (
        [[1, "a", True, None]],
        f"Row 0 is a list; wanted a dict of column names to values.\n\nhint: Give {ACCEPTED}.",
    ),
    "lazy": (
        pl.LazyFrame(COLUMNS),
        f"The rows are a lazy LazyFrame; wanted {ACCEPTED}.\n\nhint: Call .collect() first.",
    ),
    "series": (
        pd.Series([1, 2]),
        f"The rows are a Series; wanted {ACCEPTED}.\n\n"
        "hint: Convert them first, for instance with .to_pandas(), .to_arrow() or .collect().",
    ),
    "text": (
        "rows.csv",
        f"The rows are a str; wanted {ACCEPTED}.\n\n"
        "hint: Convert them first, for instance with .to_pandas(), .to_arrow() or .collect().",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rows_get_one_clear_sentence(case):
    rows, message = WRONG[case]
    with pytest.raises(UserError) as error:
        feeds(rows, SCHEMA)
    assert str(error.value) == message


def test_an_array_of_another_width():
    schema = Schema((Column("x0", "numeric"), Column("x1", "numeric")))
    with pytest.raises(UserError) as error:
        feeds(np.zeros((2, 3)), schema)
    assert str(error.value) == (
        "The rows are an array of 3 columns; the model was trained on 2.\n\n"
        "hint: Pass the same columns in the same order as in training."
    )
