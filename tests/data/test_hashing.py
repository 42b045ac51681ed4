"""Content hashes: the same content is the same digest in every library, anything else is another."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from potstill.data import content_hash, load_dataset
from potstill.types import Dataset

COLUMNS: dict[str, Any] = {
    "f": [1.5, None, -0.0, 4.0],
    "i": [1, 2, None, 4],
    "big": [2**60, 2**60 + 1, 3, 4],
    "b": [True, None, False, True],
    "s": ["a", None, "", "ß"],
    "d": [dt.date(2020, 1, 1), None, dt.date(1960, 5, 5), dt.date(2020, 1, 1)],
    "t": [dt.datetime(2020, 1, 1, 12, 30), None, dt.datetime(1960, 5, 5), dt.datetime(2020, 1, 1)],
    "y": ["u", "v", "u", "v"],
}
MAKERS: list[Callable[[Mapping[str, Any]], Any]] = [pd.DataFrame, pl.DataFrame, pa.table]


def dataset_of(columns: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Any] = pa.table) -> Dataset:
    return load_dataset(make(columns), target="y").dataset


@pytest.mark.parametrize("make", MAKERS)
def test_the_library_does_not_matter(make: Callable[[Mapping[str, Any]], Any]) -> None:
    assert content_hash(dataset_of(COLUMNS, make)) == content_hash(dataset_of(COLUMNS))


def test_chunks_slices_and_categories_do_not_matter() -> None:
    table = pa.table(COLUMNS)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    sliced = pa.concat_tables([table.slice(3), table]).combine_chunks().slice(1)
    category = table.to_pandas().astype({"s": "category"})
    expected = content_hash(dataset_of(COLUMNS))
    for other in (chunked, sliced, category):
        assert content_hash(load_dataset(other, target="y").dataset) == expected


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("f", [1.5, None, 0.5, 4.0]),
        ("i", [1, 2, 3, 4]),
        ("big", [2**60, 2**60 + 2, 3, 4]),
        ("b", [True, False, False, True]),
        ("s", ["", None, "a", "ß"]),
        ("s", ["a", "", "", "ß"]),
        ("d", [dt.date(2020, 1, 2), None, dt.date(1960, 5, 5), dt.date(2020, 1, 1)]),
        ("y", ["v", "v", "u", "u"]),
        ("y", ["u", "w", "u", "w"]),
    ],
)
def test_any_other_value_is_another_hash(column: str, values: list[Any]) -> None:
    assert content_hash(dataset_of({**COLUMNS, column: values})) != content_hash(dataset_of(COLUMNS))


def test_names_order_rows_weights_and_labels_count() -> None:
    dataset = dataset_of(COLUMNS)
    renamed = dataset_of({("f2" if name == "f" else name): values for name, values in COLUMNS.items()})
    reordered = dataset_of(dict(reversed(COLUMNS.items())))
    others = [
        renamed,
        reordered,
        dataset.take(np.array([1, 0, 2, 3])),
        dataset.take(np.array([0, 1, 2])),
        replace(dataset, weight=np.ones(4)),
        replace(dataset, weight=np.array([1.0, 1, 1, 2])),
        replace(dataset, groups=np.arange(4)),
        replace(dataset, labels=None),
    ]
    hashes = {content_hash(one) for one in (dataset, *others)}
    assert len(hashes) == len(others) + 1
    assert all(len(digest) == 64 for digest in hashes)


def test_texts_cannot_flow_into_each_other() -> None:
    first = dataset_of({"s": ["ab", "c", "ab", "c"], "y": [0, 1, 0, 1]})
    second = dataset_of({"s": ["a", "bc", "a", "bc"], "y": [0, 1, 0, 1]})
    assert content_hash(first) != content_hash(second)
