from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest

from potstill.errors import UserError
from potstill.teachers import SoftTargetTable, adopt
from potstill.testing import check_teacher
from potstill.types import Dataset, OutOfFoldTeacher

Make = Callable[..., Dataset]


def table_for(dataset: Dataset, prefix: str = "") -> pd.DataFrame:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(dataset.task.n_outputs), len(dataset))
    return pd.DataFrame(probs, columns=[f"{prefix}{label}" for label in dataset.task.classes])


def with_key(dataset: Dataset, keys: Any) -> Dataset:
    frame = dataset.rows.to_pandas().assign(sample=keys)
    return replace(dataset, rows=nw.from_native(frame, eager_only=True))


@pytest.mark.parametrize("prefix", ["", "p_"])
def test_rows_by_position(wine: Dataset, prefix: str) -> None:
    table = table_for(wine, prefix)
    teacher = adopt(table[table.columns[::-1]], task=wine.task)
    check_teacher(teacher, wine)
    assert np.allclose(teacher.predict(wine), table, atol=1e-6)
    part = wine.take(np.array([7, 3]))
    assert np.allclose(teacher.predict(part), table.iloc[[7, 3]], atol=1e-6)
    assert teacher.covers(part)
    assert not teacher.covers(replace(part, ids=None))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "feather", "arrow"])
def test_files(wine: Dataset, tmp_path: Path, suffix: str) -> None:
    table, path = table_for(wine), tmp_path / f"answers.{suffix}"
    if suffix in {"csv", "tsv"}:
        table.to_csv(path, index=False, sep="," if suffix == "csv" else "\t")
    elif suffix == "parquet":
        table.to_parquet(path)
    else:
        pa.feather.write_feather(pa.Table.from_pandas(table), path)
    teacher = adopt(str(path), task=wine.task)
    assert teacher.name == "answers"
    assert np.allclose(teacher.predict(wine), table, atol=1e-6)
    assert teacher.fingerprint == adopt(table, task=wine.task).fingerprint


@pytest.mark.parametrize("convert", [pl.from_pandas, pa.Table.from_pandas, lambda table: table.to_numpy()])
def test_frames_and_arrays(wine: Dataset, convert: Callable[[pd.DataFrame], Any]) -> None:
    table = table_for(wine)
    assert np.allclose(adopt(convert(table), task=wine.task).predict(wine), table, atol=1e-6)


def test_keys_find_their_rows_in_any_order(wine: Dataset) -> None:
    keys = np.random.default_rng(2).permutation(1000)[: len(wine)]
    table = table_for(wine).assign(sample=[str(key) for key in keys])
    dataset = with_key(wine, keys)
    teacher = adopt(SoftTargetTable(table.sample(frac=1, random_state=0), key="sample"), task=wine.task)
    check_teacher(teacher, replace(dataset, ids=None))
    assert np.allclose(teacher.predict(dataset), table[list(wine.task.classes)], atol=1e-6)


def test_two_classes_need_one_column_and_values_a_prediction(cancer: Dataset, diabetes: Dataset) -> None:
    table = table_for(cancer, "p_")
    assert np.allclose(adopt(table[["p_malignant"]], task=cancer.task).predict(cancer), table, atol=1e-6)
    assert np.allclose(
        adopt(table["p_malignant"].to_numpy(), task=cancer.task).predict(cancer), table, atol=1e-6
    )
    values = np.arange(float(len(diabetes)))
    for name in ("prediction", "progression"):
        teacher = adopt(pd.DataFrame({name: values}), task=diabetes.task)
        check_teacher(teacher, diabetes)
        assert teacher.predict(diabetes)[:, 0].tolist() == values.tolist()


def test_only_a_table_out_of_fold_says_so(wine: Dataset) -> None:
    table = table_for(wine)
    table.iloc[3] = np.nan
    plain = adopt(SoftTargetTable(table), task=wine.task)
    held_out = adopt(SoftTargetTable(table, out_of_fold=True), task=wine.task)
    assert not isinstance(plain, OutOfFoldTeacher)
    assert isinstance(held_out, OutOfFoldTeacher)
    answers = held_out.predict_out_of_fold(wine)
    assert np.isnan(answers[3]).all()
    assert np.allclose(np.delete(answers, 3, 0), table.drop(3), atol=1e-6)
    assert np.isnan(held_out.predict_out_of_fold(replace(wine, ids=None))).all()
    assert not held_out.covers(wine)
    check_teacher(held_out, wine.take(np.arange(4, 60)))


def refusal(make: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        make()
    return caught.value.message


def test_what_is_wrong_with_a_table_is_said(wine: Dataset, diabetes: Dataset) -> None:
    table, task = table_for(wine), wine.task
    assert refusal(lambda: adopt(table.drop(columns="barolo"), task=task)) == (
        "The table 'table' lacks 'barolo': wanted the columns 'barolo', 'dolcetto', 'grignolino', "
        "got 'dolcetto', "
        "'grignolino'."
    )
    assert refusal(lambda: adopt(table, task=diabetes.task)) == (
        "The table 'table' lacks 'prediction': wanted the columns 'prediction', got 'barolo', 'dolcetto', "
        "'grignolino'."
    )
    assert refusal(lambda: adopt(table.to_numpy()[:, :2], task=task)) == (
        "The table 'table' is an array of shape (150, 2): wanted 3 columns, one for each of "
        "['barolo', 'dolcetto', "
        "'grignolino']."
    )
    assert refusal(lambda: adopt(table * 1.5, task=task)).startswith("Teacher 'table': wanted probabilities ")
    assert refusal(lambda: adopt(SoftTargetTable(table, key="sample"), task=task)) == (
        "The table 'table' has no key column 'sample': wanted one of its columns 'barolo', 'dolcetto', "
        "'grignolino'."
    )
    twice = table.assign(sample=[5, 5, *range(100, 248)])
    assert refusal(lambda: adopt(SoftTargetTable(twice, key="sample"), task=task)) == (
        "The table 'table' has 1 keys more than once, for instance sample = '5': wanted one row for each key."
    )
    words = table.assign(barolo="much")
    assert refusal(lambda: adopt(words, task=task)).startswith(
        "Teacher 'table' could not be read as numbers: "
    )


def test_rows_the_table_does_not_have_are_named(wine: Dataset) -> None:
    table = table_for(wine)
    short = adopt(table.iloc[:100], task=wine.task)
    assert refusal(lambda: short.predict(wine)) == (
        "The table 'table' has 100 rows and none for 50 of the 150 rows asked about, the first of "
        "them position "
        "100: wanted an answer for every row."
    )
    assert refusal(lambda: short.predict(replace(wine, ids=None))) == (
        "The table 'table' is in the order of the training data: wanted rows of that data, got 150 "
        "other rows."
    )
    keyed = adopt(SoftTargetTable(table.assign(sample=range(150)), key="sample"), task=wine.task)
    assert refusal(lambda: keyed.predict(with_key(wine, range(10, 160)))) == (
        "The table 'table' has 150 rows and none for 10 of the 150 rows asked about, the first of "
        "them sample = "
        "'150': wanted an answer for every row."
    )
    assert refusal(lambda: keyed.predict(wine)).startswith(
        "The table 'table' is keyed by 'sample': wanted a column of that name in the data, got 'alcohol', "
    )
    assert not keyed.covers(wine)
    empty = table.copy()
    empty.iloc[1] = np.nan
    assert refusal(lambda: adopt(empty, task=wine.task).predict(wine)) == (
        "Teacher 'table': wanted finite answers, got [nan, nan, nan] in row 1 (1 of 150 rows are like that)."
    )
