"""Small datasets out of scikit-learn's embedded real sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from potstill.types import Column, Dataset, Label, Schema, Task

Make = Callable[..., Dataset]


def _schema(frame: nw.DataFrame[Any]) -> Schema:
    kinds = {
        name: "boolean" if dtype == nw.Boolean else "numeric" if dtype.is_numeric() else "categorical"
        for name, dtype in frame.schema.items()
    }
    return Schema(tuple(Column(name=name, kind=kind) for name, kind in kinds.items()))  # type: ignore[arg-type]


def _dataset(frame: Any, task: Task, labels: Any, *, weight: Any = None, from_array: bool = False) -> Dataset:
    rows = nw.from_native(frame, eager_only=True)
    return Dataset(
        rows=rows,
        task=task,
        schema=_schema(rows),
        labels=labels,
        weight=weight,
        ids=np.arange(len(rows)),
        from_array=from_array,
    )


@pytest.fixture
def make_dataset() -> Make:
    return _dataset


def _classification(bunch: Any, n_rows: int, names: tuple[Label, ...], target: str) -> Dataset:
    index = np.random.default_rng(0).choice(len(bunch.target), n_rows, replace=False)
    kind = "binary" if len(names) == 2 else "multiclass"
    frame = bunch.data.iloc[index, :8].reset_index(drop=True)
    labels = bunch.target.to_numpy()[index].astype(np.int64)
    return _dataset(frame, Task(kind, target, names), labels)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def cancer() -> Dataset:
    return _classification(load_breast_cancer(as_frame=True), 160, ("benign", "malignant"), "diagnosis")


@pytest.fixture(scope="session")
def wine() -> Dataset:
    return _classification(load_wine(as_frame=True), 150, ("barolo", "dolcetto", "grignolino"), "cultivar")


@pytest.fixture(scope="session")
def diabetes() -> Dataset:
    bunch = load_diabetes(as_frame=True)
    return _dataset(
        bunch.data.iloc[:160],
        Task("regression", "progression"),
        bunch.target.to_numpy(dtype=np.float64)[:160],
    )


@pytest.fixture(scope="session")
def mixed_frame() -> pd.DataFrame:
    """Wine with a text column (a value missing now and then), a whole-number category and a boolean."""
    bunch = load_wine(as_frame=True)
    frame = bunch.data.iloc[:, :3].reset_index(drop=True)
    hue = (
        pd.cut(bunch.data["hue"], 4, labels=["blue", "pink", "red", "ruby"])
        .astype(object)
        .to_numpy(copy=True)
    )
    hue[::17] = None
    frame["tint"] = pd.Series(hue, dtype="str")
    frame["grade"] = pd.cut(bunch.data["proline"], 3, labels=[2, 5, 9]).astype("int64").to_numpy()
    frame["strong"] = (bunch.data["alcohol"] > 13).to_numpy()
    return frame


@pytest.fixture(scope="session")
def mixed(mixed_frame: pd.DataFrame) -> Make:
    """The same rows as a pandas, polars or pyarrow frame."""
    labels = load_wine().target.astype(np.int64)
    task = Task("multiclass", "cultivar", ("barolo", "dolcetto", "grignolino"))
    backends: dict[str, Callable[[pd.DataFrame], Any]] = {
        "pandas": lambda frame: frame,
        "polars": pl.from_pandas,
        "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    }
    return lambda backend="pandas": _dataset(backends[backend](mixed_frame), task, labels)


@pytest.fixture
def as_array() -> Callable[[Dataset], Dataset]:
    """The same rows as they come from a bare array."""

    def convert(dataset: Dataset) -> Dataset:
        values = dataset.rows.to_numpy()
        frame = pl.DataFrame({f"x{i}": values[:, i] for i in range(values.shape[1])})
        return _dataset(frame, dataset.task, dataset.labels, weight=dataset.weight, from_array=True)

    return convert
