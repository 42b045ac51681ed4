"""Task inference and labels as numbers."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest

from potstill.data import encode_labels, infer_task
from potstill.errors import UserError
from potstill.types import Task


def series_of(values: Any) -> nw.Series[Any]:
    return nw.from_native(pl.Series("y", values, strict=False), series_only=True)


def task_error(values: Any, kind: Any = None) -> str:
    with pytest.raises(UserError) as caught:
        infer_task(series_of(values), "y", kind)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["b", "a", "b", "a"], "binary", ("a", "b")),
        ([True, False] * 3, "binary", (False, True)),
        ([1.0, 0.0, 1.0, 0.0], "binary", (0, 1)),
        ([3, 1, 2] * 2, "multiclass", (1, 2, 3)),
        (list(range(40)) * 5, "multiclass", tuple(range(40))),
        ([0.5, 1.5, 0.5], "regression", ()),
        ([float(i) for i in range(21)], "regression", ()),
        (list(range(18, 90)) * 9, "regression", ()),
        (list(range(21)) * 2, "regression", ()),
    ],
)
def test_task_is_inferred(values: list[Any], kind: Any, classes: tuple[Any, ...]) -> None:
    task = infer_task(series_of(values), "y")
    assert task == Task(kind=kind, target="y", classes=classes)
    assert [type(label) for label in task.classes] == [type(label) for label in classes]


def test_the_callers_kind_wins() -> None:
    assert infer_task(series_of([0, 1, 2, 1]), "y", "regression").kind == "regression"
    assert infer_task(series_of(list(range(18, 90)) * 2), "y", "multiclass").n_outputs == 72
    assert infer_task(series_of(["1", "2"]), "y", "regression").kind == "regression"


def test_labels_are_encoded_in_the_order_of_the_classes() -> None:
    task = Task(kind="multiclass", target="y", classes=("a", "b", "c"))
    np.testing.assert_array_equal(encode_labels(series_of(["c", None, "a", ""]), task), [2, -1, 0, -1])
    category = nw.from_native(pd.Series(["b", None, "c"], dtype="category"), series_only=True)
    codes = encode_labels(category, task)
    np.testing.assert_array_equal(codes, [1, -1, 2])
    assert codes.dtype == np.int64


def test_numbers_and_booleans_are_encoded() -> None:
    whole = Task(kind="binary", target="y", classes=(0, 1))
    np.testing.assert_array_equal(encode_labels(series_of([1.0, 0.0, None]), whole), [1, 0, -1])
    flags = Task(kind="binary", target="y", classes=(False, True))
    np.testing.assert_array_equal(encode_labels(series_of([True, None, False]), flags), [1, -1, 0])
    values = encode_labels(series_of([1, None]), Task(kind="regression", target="y"))
    np.testing.assert_array_equal(values, [1.0, np.nan])
    assert values.dtype == np.float64


def test_unseen_labels_are_named() -> None:
    task = Task(kind="binary", target="y", classes=("a", "b"))
    with pytest.raises(UserError) as caught:
        encode_labels(series_of(["a", "c", "d"]), task)
    assert str(caught.value) == (
        "The target column 'y' has labels that the training data does not have: 'c', 'd'.\n\n"
        "hint: the classes are 'a', 'b'; correct these labels or leave the rows out."
    )


def test_a_single_class() -> None:
    assert task_error(["a"] * 5) == (
        "Wanted at least two classes in the target column 'y', got one, 'a'.\n\n"
        "hint: there is nothing to tell apart; is it the right column?"
    )


def test_a_class_seen_once() -> None:
    assert task_error(["a", "a", "b", "b", "c"]) == (
        "Wanted at least two rows of every class in the target column 'y'; this class has one: 'c'.\n\n"
        "hint: leave the rows out, or merge the class with another."
    )
    assert task_error([1, 1, 2, 3]) == (
        "Wanted at least two rows of every class in the target column 'y'; "
        "these classes have one: '2', '3'.\n\n"
        "hint: leave the rows out, or merge the class with another; if the target is a quantity, "
        "say task=regression."
    )


def test_regression_wants_finite_numbers() -> None:
    assert task_error(["1", "x", "y"], "regression") == (
        "Wanted numbers in the target column 'y' for regression, got 'x' in row 1, 'y' in row 2.\n\n"
        "hint: leave the task out for classification, or correct these values."
    )
    assert task_error([1.5, float("inf"), 2.0]) == (
        "Wanted finite numbers in the target column 'y', got inf in row 1.\n\n"
        "hint: remove these rows or make them empty (missing): rows without a target are left out."
    )


def test_other_tasks_that_do_not_fit() -> None:
    assert task_error(["a", "b", "c"] * 2, "binary") == (
        "Wanted two classes in the target column 'y' for a binary task, got 3: 'a', 'b', 'c'.\n\n"
        "hint: leave the task out, or merge classes."
    )
    assert task_error([0.5, 1.5], "multiclass") == (
        "Wanted classes in the target column 'y', got the number 0.5.\n\n"
        "hint: say task=regression, or turn the numbers into texts."
    )
