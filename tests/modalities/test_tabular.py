"""The encoder of tables: what the tensors hold, and that numpy and the graph agree bit for bit."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import onnxruntime as ort
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from potstill.artifact.columns import feeds
from potstill.data import infer_schema, load_dataset, read_rows
from potstill.errors import UserError
from potstill.graph import GraphBuilder
from potstill.modalities import TabularEncoder
from potstill.types import Column, Schema, Tensors

MAKERS: list[Callable[[Mapping[str, Any]], Any]] = [pd.DataFrame, pl.DataFrame, pa.table]
BERLIN = dt.timezone(dt.timedelta(hours=1))
COLUMNS: dict[str, Any] = {
    "net income": [1.5, None, float("inf"), float("-inf"), 0.1, 1e300, -0.0],
    "größe": [2**24 + 1, 2**53 + 1, None, -3, 0, 7, 2**62],
    "ps/const_1": [True, None, False, True, True, False, None],
    "job title": ["cook", None, "", "cook", "nurse", "nurse", "never seen before"],
    "day": [dt.date(1969, 12, 31), None, *(dt.date(2020, 2, 28) + dt.timedelta(days=i) for i in range(5))],
    "moment": [dt.datetime(2021, 3, 4, 5, 6, 7, 890123) + dt.timedelta(hours=7 * i) for i in range(6)]
    + [None],
    "zoned": [None, *(dt.datetime(2021, 12, 31, 23, i, tzinfo=BERLIN) for i in range(6))],
    "iso": ["2013-01-31", "", None, "2013-02-01", "2013-02-02", "2014-01-01", "2012-02-29"],
    "code": [3, 3, None, 12, 12, 5, 99],
    "ratio": [3.0, None, 0.25, 0.25, 3.0, 1e22, 1e22],
    "flag": [True, True, None, False, False, True, True],
    "row id": list("abcdefg"),
}
KINDS: dict[str, Any] = {"code": "categorical", "ratio": "categorical", "flag": "categorical"}


def session_of(encoder: TabularEncoder) -> ort.InferenceSession:
    graph = GraphBuilder()
    types = {"numeric": TensorProto.FLOAT, "categorical": TensorProto.INT64}
    for name, value in encoder.build(graph).items():
        graph.output(value, name, types[name], ["n", len(getattr(encoder.spec, name))])
    return ort.InferenceSession(graph.model().SerializeToString(), providers=["CPUExecutionProvider"])


def check_parity(encoder: TabularEncoder, rows: nw.DataFrame[Any]) -> Tensors:
    """The graph's tensors are those of `encode` to the last bit; return them."""
    session = session_of(encoder)
    answers = session.run(None, feeds(rows, encoder.schema))
    tensors = encoder.encode(rows)
    named = dict(zip((output.name for output in session.get_outputs()), answers, strict=True))
    for name, dtype in (("numeric", np.float32), ("categorical", np.int64)):
        expected = tensors[name]
        assert expected.dtype == dtype
        assert expected.shape == (len(rows), len(getattr(encoder.spec, name)))
        if name in named:
            # NaN payloads aside, bits are compared: -0.0 is not 0.0.
            np.testing.assert_array_equal(named[name], expected)
            np.testing.assert_array_equal(np.signbit(named[name]), np.signbit(expected))
        else:
            assert expected.shape[1] == 0
    return tensors


def encoder_of(columns: Mapping[str, Any], kinds: Mapping[str, Any] | None = None) -> TabularEncoder:
    return TabularEncoder(infer_schema(read_rows(pa.table(columns)), kinds=kinds))


@pytest.mark.parametrize("make", MAKERS)
def test_graph_and_numpy_agree_in_every_library(make: Callable[[Mapping[str, Any]], Any]) -> None:
    rows = read_rows(make(COLUMNS))
    encoder = TabularEncoder(infer_schema(rows, kinds=KINDS))
    assert encoder == encoder_of(COLUMNS, KINDS)
    tensors = check_parity(encoder, rows)
    for name, expected in encoder_of(COLUMNS, KINDS).encode(read_rows(pa.table(COLUMNS))).items():
        np.testing.assert_array_equal(tensors[name], expected)


def test_what_the_tensors_hold() -> None:
    encoder = encoder_of(COLUMNS, KINDS)
    spec = encoder.spec
    dates = ("day", "moment", "zoned", "iso")
    assert spec.numeric == (
        *("net income", "größe", "ps/const_1"),
        *(f"{date}:{feature}" for feature in ("place", "weekday", "year_sin", "year_cos") for date in dates),
        *("moment:day_time", "zoned:day_time"),
    )
    assert spec.categorical == ("job title", "code", "ratio", "flag")
    assert spec.cardinalities == (4, 4, 5, 4)
    tensors = encoder.encode(read_rows(pa.table(COLUMNS)))
    numeric = dict(zip(spec.numeric, tensors["numeric"].T, strict=True))
    inf, nan = np.inf, np.nan
    np.testing.assert_array_equal(numeric["net income"], np.float32([1.5, nan, inf, -inf, 0.1, inf, 0]))
    np.testing.assert_array_equal(numeric["größe"], np.float32([2**24, 2**53, nan, -3, 0, 7, 2**62]))
    np.testing.assert_array_equal(numeric["ps/const_1"], [1, nan, 0, 1, 1, 0, nan])
    np.testing.assert_array_equal(numeric["day:weekday"], [2, nan, 4, 5, 6, 0, 1])
    assert (numeric["day:place"][0], numeric["day:place"][-1]) == (0.0, 1.0)
    np.testing.assert_allclose(numeric["zoned:day_time"][1:], (22 * 60 + np.arange(6)) / 1440, rtol=1e-6)
    np.testing.assert_allclose(
        numeric["day:year_sin"] ** 2 + numeric["day:year_cos"] ** 2, [1, nan, 1, 1, 1, 1, 1]
    )
    np.testing.assert_allclose(numeric["iso:year_cos"][5], np.cos(0.0), atol=0.02)
    ids = dict(zip(spec.categorical, tensors["categorical"].T.tolist(), strict=True))
    assert ids["job title"] == [2, 1, 1, 2, 3, 3, 0]
    assert ids["code"] == [3, 3, 1, 2, 2, 0, 0]
    assert ids["ratio"] == [4, 1, 2, 2, 4, 3, 3]
    assert ids["flag"] == [2, 2, 1, 3, 3, 2, 2]


def test_levels_and_dates_not_seen_in_training() -> None:
    encoder = encoder_of(COLUMNS, KINDS)
    other = {name: list(values) for name, values in COLUMNS.items()}
    other["job title"] = ["Cook", "cook ", "köchin", "nul\x00l", "nan", "None", "nurse"]
    other["day"] = [dt.date(1, 1, 1), dt.date(9999, 12, 31), *[None] * 5]
    other["code"] = [3.0, None, 12.0, 4.5, float("inf"), -1.0, 1e30]
    for make in MAKERS:
        tensors = check_parity(encoder, read_rows(make(other)))
        assert tensors["categorical"][:, 0].tolist() == [0, 0, 0, 0, 0, 0, 3]
        assert tensors["categorical"][:, 1].tolist() == [3, 1, 2, 0, 0, 0, 0]


@pytest.mark.parametrize("dtype", ["str", "object", "category", "string[pyarrow]"])
def test_every_text_dtype_of_pandas(dtype: str) -> None:
    encoder = encoder_of({"job": ["cook", "cook", "nurse", "nurse"], "x": [1.0, 2.0, 3.0, 4.0]})
    series = pd.Series(["nurse", None, "cook", "smith"], dtype=dtype)
    tensors = check_parity(encoder, read_rows(pd.DataFrame({"job": series, "x": [1, 2, 3, 4]})))
    assert tensors["categorical"].tolist() == [[3], [1], [2], [0]]


@pytest.mark.parametrize(
    "names", [["net income"], ["net income", "größe"], ["day"], ["moment"], ["job title"]]
)
@pytest.mark.parametrize("n_rows", [0, 1, 7])
def test_few_columns_and_few_rows(names: list[str], n_rows: int) -> None:
    encoder = encoder_of({name: COLUMNS[name] for name in names})
    rows = read_rows(pa.table(COLUMNS))[:n_rows, :]
    check_parity(encoder, rows)
    absent = "categorical" if names != ["job title"] else "numeric"
    assert encoder.encode(rows)[absent].shape == (n_rows, 0)
    assert absent not in encoder.build(GraphBuilder())


def test_inputs_are_rank_one_and_named_like_the_columns() -> None:
    session = session_of(encoder_of(COLUMNS, KINDS))
    types = {"string": "tensor(string)", "double": "tensor(double)", "float": "tensor(float)"}
    expected = dict.fromkeys(COLUMNS, types["float"])
    del expected["row id"]
    expected.update(dict.fromkeys(("job title", "code", "ratio", "flag"), types["string"]))
    expected.update(dict.fromkeys(("day", "moment", "zoned", "iso"), types["double"]))
    assert {one.name: one.type for one in session.get_inputs()} == expected
    assert all(one.shape == ["n"] for one in session.get_inputs())


@settings(deadline=None, max_examples=25)
@given(
    numbers=st.lists(st.none() | st.floats(width=64), min_size=1, max_size=20),
    words=st.lists(st.none() | st.text(max_size=4), min_size=1, max_size=20),
    moments=st.lists(st.none() | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)), min_size=1),
)
def test_any_values_agree(numbers: list[Any], words: list[Any], moments: list[Any]) -> None:
    n = max(map(len, (numbers, words, moments)))
    cells: dict[str, list[Any]] = {"x": numbers, "w": words, "t": moments}
    full = {name: (values * n)[:n] for name, values in cells.items()}
    schema = Schema(
        (
            Column("x", "numeric", low=0.0, high=1.0),
            Column("w", "categorical", levels=("a", "0", "ab")),
            Column("t", "date", low=10_000.0, high=19_999.5),
        )
    )
    types = {"x": pa.float64(), "w": pa.string(), "t": pa.timestamp("us")}
    table = pa.table({name: pa.array(values, types[name]) for name, values in full.items()})
    check_parity(TabularEncoder(schema), read_rows(table))


def test_columns_that_are_not_there_or_of_another_kind() -> None:
    encoder = encoder_of({"a": [1.0, 2.0], "b": [1.0, 3.0]})
    with pytest.raises(UserError) as caught:
        encoder.encode(read_rows(pa.table({"a": [1.0]})))
    assert str(caught.value) == (
        "Wanted a column called 'b', got rows with the columns 'a'.\n\n"
        "hint: rows must have every column the schema names."
    )
    with pytest.raises(UserError) as caught:
        encoder.encode(read_rows(pa.table({"a": [1.0], "b": ["x"]})))
    assert str(caught.value) == (
        "Wanted numbers in column 'b', got 'x' in row 0.\n\n"
        "hint: correct these values or make them empty (missing), or declare the column categorical."
    )


@pytest.mark.skipif("POTSTILL_DATA" not in os.environ, reason="POTSTILL_DATA names the folder of data sets")
@pytest.mark.parametrize("name", ["adult", "ames_housing", "sick", "covertype_15k", "nursery"])
def test_real_tables_agree(name: str) -> None:
    source = Path(os.environ["POTSTILL_DATA"]) / f"{name}.parquet"
    dataset = load_dataset(source, target="target", drop=["split"]).dataset
    check_parity(TabularEncoder.fit(dataset), dataset.take(np.arange(2_000)).rows)
