from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.naive_bayes import GaussianNB

from potstill.errors import UserError
from potstill.teachers import adopt
from potstill.testing import check_teacher
from potstill.types import Dataset

Make = Callable[..., Dataset]
Convert = Callable[[Dataset], Dataset]


def high(alcohol: Any) -> np.ndarray:
    return np.clip(np.asarray(alcohol, dtype=float) - 12.0, 0, 1)


def as_array(rows: Any) -> np.ndarray:
    p = high(rows["alcohol"])
    return np.column_stack([p, 1 - p, 0 * p])


def as_list(rows: Any) -> list[list[float]]:
    return as_array(rows).tolist()


def as_pandas(rows: Any) -> pd.DataFrame:
    return pd.DataFrame(as_array(rows)[:, [1, 0, 2]], columns=["dolcetto", "barolo", "grignolino"])


def as_polars(rows: Any) -> pl.DataFrame:
    return pl.from_pandas(as_pandas(rows))


def as_arrow_without_the_last(rows: Any) -> pa.Table:
    return pa.Table.from_pandas(as_pandas(rows)).select(["dolcetto", "barolo"])


def as_unnamed_frame(rows: Any) -> pd.DataFrame:
    return pd.DataFrame(as_array(rows))


@pytest.mark.parametrize(
    "function", [as_array, as_list, as_pandas, as_polars, as_arrow_without_the_last, as_unnamed_frame]
)
def test_every_shape_of_answer_means_the_same(wine: Dataset, function: Callable[[Any], Any]) -> None:
    teacher = adopt(function, task=wine.task)
    assert teacher.name == function.__name__
    check_teacher(teacher, wine)
    assert np.allclose(teacher.predict(wine), as_array(wine.rows), atol=1e-6)


@pytest.mark.parametrize(
    ("backend", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame), ("pyarrow", pd.DataFrame)]
)
def test_rows_come_as_the_callers_own_frame(mixed: Make, backend: str, kind: type) -> None:
    dataset = mixed(backend)

    def function(rows: Any) -> Any:
        assert type(rows) is kind
        return as_array(rows)

    assert np.array_equal(adopt(function, task=dataset.task).predict(dataset)[:, 2], np.zeros(178))


def test_rows_of_an_array_come_as_an_array(wine: Dataset, as_array: Convert) -> None:
    def function(rows: Any) -> Any:
        assert type(rows) is np.ndarray
        return np.full((len(rows), 3), 1 / 3)

    check_teacher(adopt(function, task=wine.task), as_array(wine))


def test_one_number_is_enough_for_two_classes_and_for_values(cancer: Dataset, diabetes: Dataset) -> None:
    answers = adopt(lambda rows: np.full(len(rows), 0.25), task=cancer.task).predict(cancer)
    assert answers[0].tolist() == [0.75, 0.25]
    teacher = adopt(lambda rows: rows["bmi"].to_numpy(), task=diabetes.task)
    assert teacher.name == "function"
    check_teacher(teacher, diabetes)


def test_what_goes_wrong_inside_is_said(wine: Dataset) -> None:
    with pytest.raises(UserError) as caught:
        adopt(lambda rows: rows["colour"], task=wine.task).predict(wine)
    assert caught.value.message == "Teacher 'function' could not answer the rows: KeyError: 'colour'"
    with pytest.raises(UserError) as caught:
        adopt(lambda rows: as_array(rows)[:5], task=wine.task, name="short").predict(wine)
    assert caught.value.message == (
        "Teacher 'short': wanted probabilities of shape (150, 3): a row each and a column for each "
        "class, got an "
        "array of shape (5, 3)."
    )


def test_fingerprint_follows_code_and_what_it_holds(wine: Dataset) -> None:
    def made(factor: float) -> Callable[[Any], Any]:
        return lambda rows: as_array(rows) * factor

    def fingerprint(function: Callable[..., Any]) -> str:
        return adopt(function, task=wine.task).fingerprint

    assert fingerprint(as_array) == fingerprint(as_array) != fingerprint(as_list)
    assert fingerprint(made(1.0)) == fingerprint(made(1.0)) != fingerprint(made(2.0))
    low, top = (functools.partial(np.clip, a_min=0, a_max=limit) for limit in (1, 2))
    assert fingerprint(low) != fingerprint(top)
    models = [GaussianNB(var_smoothing=s).fit(wine.rows.to_numpy(), wine.labels) for s in (1e-9, 1e-9, 1e-2)]
    prints = [fingerprint(model.predict_proba) for model in models]
    assert prints[0] == prints[1] != prints[2]
