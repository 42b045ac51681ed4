"""Monotone constraints: refused where they make no sense, kept by the artifact where they do."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

import potstill
from potstill import Budget, Recipe, Result, UserError
from potstill.distillation.monotone import describe_monotone, with_monotone
from potstill.students import GBDT, MLP, Additive
from potstill.types import Column, DroppedColumn, Schema, Student, Task

STUDENTS: dict[str, Student] = {
    "gbdt": GBDT(rounds=40, min_data_in_leaf=5),
    "additive": Additive(rounds=100, min_data_in_leaf=5),
}
WISHES = {
    # The first goes with the data, the second against it.
    "binary": {"worst area": -1, "worst texture": 1},
    "regression": {"bmi": 1, "s3": 1},
}
SCHEMA = Schema(
    columns=(
        Column("age", "numeric"),
        Column("job", "categorical", levels=("a",)),
        Column("born", "date"),
        Column("member", "boolean"),
    ),
    dropped=(DroppedColumn("id", "constant"),),
)
BINARY = Task("binary", "y", ("no", "yes"))


@cache
def distilled(kind: str, name: str, *, wished: bool) -> Result:
    forest = RandomForestClassifier if kind == "binary" else RandomForestRegressor
    return potstill.distill(
        data(kind),
        teachers=forest(30, random_state=0),
        student=STUDENTS[name],
        budget=Budget(size_kb=1024),
        recipe=Recipe(cache=False, synthetic=0, monotone=WISHES[kind] if wished else {}, folds=2),
    )


@cache
def data(kind: str) -> tuple[pd.DataFrame, pd.Series]:
    load: Any = load_breast_cancer if kind == "binary" else load_diabetes
    X, y = load(return_X_y=True, as_frame=True)
    return X.astype(np.float32), y


def largest_break(result: Result, kind: str, column: str, row: int, values: NDArray[np.float32]) -> float:
    """How far the answer goes the wrong way, at most, as ``column`` takes sorted ``values``."""
    X = data(kind)[0]
    rows = pd.concat([X.iloc[[row]]] * len(values), ignore_index=True)
    rows[column] = values
    answers = result.model.predict(rows) if kind == "regression" else result.model.predict_proba(rows)[:, 1]
    steps = np.diff(np.asarray(answers, dtype=np.float64)) * WISHES[kind][column]
    unit = float(data(kind)[1].std()) if kind == "regression" else 1.0
    return float(-steps.min() / unit)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("kind", WISHES)
@settings(max_examples=60, deadline=None)
@given(drawn=st.data())
def test_the_artifact_never_goes_the_wrong_way(kind: str, name: str, drawn: st.DataObject) -> None:
    X = data(kind)[0]
    column = drawn.draw(st.sampled_from(sorted(WISHES[kind])))
    low, high = float(X[column].min()), float(X[column].max())
    number = st.one_of(st.floats(low, high, width=32), st.floats(width=32, allow_nan=False))
    values = np.sort(np.array(drawn.draw(st.lists(number, min_size=2, max_size=40)), dtype=np.float32))
    row = drawn.draw(st.integers(0, len(X) - 1))
    assert largest_break(distilled(kind, name, wished=True), kind, column, row, values) <= 1e-6


@pytest.mark.parametrize("kind", WISHES)
def test_without_the_wish_it_would(kind: str) -> None:
    column = list(WISHES[kind])[1]
    values = np.sort(data(kind)[0][column].to_numpy())
    assert largest_break(distilled(kind, "gbdt", wished=False), kind, column, 0, values) > 1e-3


def test_card_and_notes_say_what_is_kept() -> None:
    result = distilled("binary", "gbdt", wished=True)
    kept = {column.name: column.monotone for column in result.card.schema.columns if column.monotone}
    assert kept == WISHES["binary"]
    assert (
        "The student keeps, all else equal: the probability of 1 never falls as 'worst texture' rises and "
        "never rises as 'worst area' rises."
    ) in result.notes


def test_words_for_a_value() -> None:
    schema = with_monotone(SCHEMA, {"age": 1, "member": -1}, Task("regression", "y"))
    assert describe_monotone(schema, Task("regression", "y")) == (
        "The student keeps, all else equal: the value never falls as 'age' rises and never rises as 'member' "
        "rises.",
    )


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("id", "Column 'id' is to be monotone, but the model does not use it (constant).\n\nhint: "
               "Leave its constraint out."),
        ("agee", "Column 'agee' is to be monotone, but there is no such column.\n\nhint: The columns are: "
                 "'age', 'job', 'born', 'member'."),
        ("job", "Column 'job' is to be monotone, but it is a categorical column.\n\nhint: Only numbers and "
                "booleans have an up and down; say so with its kind if it is a number."),
        ("born", "Column 'born' is to be monotone, but it is a date column.\n\nhint: Only numbers and "
                 "booleans have an up and down; say so with its kind if it is a number."),
    ],
)  # fmt: skip
def test_columns_that_have_no_direction(column: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        with_monotone(SCHEMA, {column: 1}, BINARY)
    assert str(raised.value) == message


def test_more_than_two_classes_have_no_direction() -> None:
    with pytest.raises(UserError) as raised:
        with_monotone(SCHEMA, {"age": 1}, Task("multiclass", "y", ("a", "b", "c")))
    assert str(raised.value) == (
        "Monotone constraints need two classes or a number to predict; 'y' has 3 classes.\n\n"
        "hint: Leave the constraints out, or predict one class against the rest."
    )


def test_only_up_and_down_are_directions() -> None:
    with pytest.raises(UserError) as raised:
        Recipe(monotone={"age": 2})
    assert str(raised.value) == (
        "Wanted the monotone direction of column 'age' to be +1 or -1, got 2.\n\n"
        "hint: +1: the answer never falls as the column rises; -1: it never rises."
    )


def test_a_student_that_cannot_keep_them_is_refused() -> None:
    with pytest.raises(UserError) as raised:
        potstill.distill(data("binary"), student=MLP(), recipe=Recipe(monotone={"worst area": -1}))
    assert str(raised.value) == (
        "The student mlp cannot keep monotone constraints.\n\n"
        "hint: Name no student, or one that can; `potstill parts students` lists them all."
    )
