"""Which columns the student sees: those it may, and of these the few that are worth most."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.pipeline import make_pipeline

import potstill
from potstill import Budget, Recipe, Result, UserError
from potstill.distillation.columns import Picked, pick_columns
from potstill.distillation.prepare import Prepared, prepare, student_schema
from potstill.distillation.teach import Taught, teach
from potstill.report.render import render
from potstill.students import GBDT
from potstill.types import Column, DroppedColumn, Floats, Schema, Silent

TREES = GBDT(rounds=20, leaves=7, min_data_in_leaf=5)
QUICK = Recipe(cache=False, synthetic=0, folds=2)
USED = (0, 1, 7, 20, 22, 23, 24, 27)
HIDDEN = ("worst area", "worst radius")
NOISE = ("noise 1", "noise 2", "noise 3", "noisy day", "noisy letter")
MOST = 3
SCHEMA = Schema(
    columns=(Column("age", "numeric"), Column("job", "categorical", levels=("a",)), Column("born", "date")),
    dropped=(DroppedColumn("id", "constant"),),
)


def cancer() -> tuple[pd.DataFrame, pd.Series]:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return X.iloc[:, list(USED)], y


def noisy(X: pd.DataFrame) -> pd.DataFrame:
    """The same with a few columns of every kind that say nothing."""
    rng = np.random.default_rng(0)
    drawn: dict[str, Any] = {name: rng.normal(size=len(X)) for name in NOISE[:3]}
    drawn["noisy day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, len(X)), unit="D")
    drawn["noisy letter"] = rng.choice(list("abc"), len(X))
    return X.assign(**drawn)


@cache
def hiding() -> Result:
    """A student that may not see two of the columns that its teacher learns from."""
    return potstill.distill(
        cancer(),
        teachers=ExtraTreesClassifier(20, random_state=0),
        student=TREES,
        budget=Budget(size_kb=1024),
        recipe=msgspec.structs.replace(QUICK, without=HIDDEN),
    )


@cache
def picking() -> Result:
    """A student of at most three columns out of eight real ones and five of noise."""
    X, y = cancer()
    real = ColumnTransformer([("real", "passthrough", list(X.columns))])
    return potstill.distill(
        (noisy(X), y),
        teachers=make_pipeline(real, ExtraTreesClassifier(20, random_state=0)),
        student=TREES,
        budget=Budget(size_kb=1024, max_columns=MOST),
        recipe=QUICK,
    )


def test_the_artifact_asks_only_for_what_the_student_may_see() -> None:
    result = hiding()
    X = cancer()[0]
    seen = tuple(name for name in X.columns if name not in HIDDEN)
    assert tuple(column.name for column in result.model.schema.columns) == seen
    row = {name: float(X[name].iloc[0]) for name in seen}
    answer = result.model.predict_one(row)
    assert answer == result.model.predict_one({**row, "worst area": 1e9})
    np.testing.assert_allclose(
        result.model.predict_proba(X[list(seen)]), result.model.predict_proba(X), atol=0
    )


def test_the_teacher_sees_what_the_student_does_not() -> None:
    def answers(**columns: tuple[str, ...]) -> Floats:
        recipe = msgspec.structs.replace(QUICK, **columns)
        return taught(recipe).answers["test"]

    everything = answers()
    np.testing.assert_array_equal(answers(without=HIDDEN), everything)
    np.testing.assert_array_equal(answers(student_columns=HIDDEN), everything)
    assert np.abs(answers(drop=HIDDEN) - everything).max() > 0.01


def prepared(recipe: Recipe = QUICK) -> Prepared:
    return prepare(
        cancer(),
        target=None,
        sample_weight=None,
        test=None,
        unlabeled=None,
        recipe=recipe,
        seed=0,
        progress=Silent(),
    )


def taught(recipe: Recipe) -> Taught:
    forest = ExtraTreesClassifier(20, random_state=0)
    return teach(forest, prepared(recipe), recipe=recipe, seed=0, limit_s=None, progress=Silent())[0]


def test_the_card_says_why_a_column_is_left_out() -> None:
    result = hiding()
    reasons = {gone.name: gone.reason for gone in result.card.schema.dropped}
    assert reasons == dict.fromkeys(HIDDEN, "the teacher's alone")
    assert result.facts is not None
    assert result.facts.card["left out"] == (
        "worst radius (the teacher's alone), worst area (the teacher's alone)"
    )


@pytest.mark.parametrize(
    ("recipe", "seen"),
    [
        (Recipe(), ("age", "job", "born")),
        (Recipe(student_columns=("born", "age")), ("age", "born")),
        (Recipe(without=("job",)), ("age", "born")),
        (Recipe(student_columns=("age", "job"), without=("age",)), ("job",)),
    ],
)
def test_named_and_hidden_columns(recipe: Recipe, seen: tuple[str, ...]) -> None:
    schema = student_schema(SCHEMA, recipe)
    assert schema.names == seen
    gone = [DroppedColumn(name, "the teacher's alone") for name in SCHEMA.names if name not in seen]
    assert schema.dropped == (*SCHEMA.dropped, *gone)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            Recipe(student_columns=("agee",)),
            "The recipe's student_columns name a column 'agee' that the model does not have; it has 'age', "
            "'job', 'born'.\n\nhint: Check the spelling; columns that were dropped cannot be named.",
        ),
        (
            Recipe(without=("id",)),
            "The recipe's without name a column 'id' that the model does not have; it has 'age', 'job', "
            "'born'.\n\nhint: Check the spelling; columns that were dropped cannot be named.",
        ),
        (
            Recipe(student_columns=("age",), without=("age",)),
            "The recipe leaves the student no column to see.\n\nhint: Name fewer columns in `without`, or "
            "others in `student_columns`.",
        ),
    ],
)
def test_columns_that_cannot_be_named(recipe: Recipe, message: str) -> None:
    with pytest.raises(UserError) as raised:
        student_schema(SCHEMA, recipe)
    assert str(raised.value) == message


def test_the_most_valuable_columns_are_picked_out_of_noise() -> None:
    result = picking()
    names = result.card.schema.names
    assert len(names) == MOST
    assert not set(names) & set(NOISE)
    row = cancer()[0].iloc[0].to_dict()
    assert result.model.predict_one({name: row[name] for name in names})
    gone = {each.name: each.reason for each in result.card.schema.dropped}
    assert gone == {
        name: "not among the 3 worth most" for name in (*cancer()[0].columns, *NOISE) if name not in names
    }
    assert f"The student sees 3 of 13 columns: {', '.join(names)}." in result.notes


def test_the_curve_falls_to_one_column_and_noise_goes_first() -> None:
    facts = picking().facts
    assert facts is not None
    counts = [each.n_columns for each in facts.columns]
    assert counts[0] == len(USED) + len(NOISE)
    assert counts[-1] == 1
    assert MOST in counts
    assert counts == sorted(set(counts), reverse=True)
    for more, fewer in zip(facts.columns, facts.columns[1:], strict=False):
        assert set(fewer.names) < set(more.names)
    assert [each.n_columns for each in facts.columns if each.chosen] == [MOST]
    for each in facts.columns:
        assert each.low is not None
        assert each.high is not None
        assert 0 <= each.low <= each.loss <= each.high


def test_the_report_draws_what_each_number_of_columns_is_worth() -> None:
    facts = picking().facts
    assert facts is not None
    page = render(facts)
    section = re.search(r'<section id="columns">.*?</section>', page, flags=re.DOTALL)
    assert section is not None
    assert "<svg" in section[0]
    for each in facts.columns:
        assert f"{each.n_columns}: " in section[0]
    assert "in the artifact" in section[0]
    other = hiding().facts
    assert other is not None
    assert 'id="columns"' not in render(other)


def test_a_date_and_a_category_are_kept_where_they_decide() -> None:
    """The answer follows the weekday and the letter, neither of which a number tells."""
    rng = np.random.default_rng(1)
    days = pd.Series(pd.Timestamp("2021-03-01") + pd.to_timedelta(rng.integers(0, 700, 500), unit="D"))
    letters = rng.choice(list("abcd"), 500)
    X = pd.DataFrame({f"n{at}": rng.normal(size=500) for at in range(4)} | {"day": days, "letter": letters})
    X["answer"] = (days.dt.day_of_week >= 3) & X["letter"].isin(["a", "b"])
    result = potstill.distill(
        X,
        target="answer",
        teachers=oracle,
        student=TREES,
        budget=Budget(size_kb=1024, max_columns=2),
        recipe=QUICK,
    )
    assert result.card.schema.names == ("day", "letter")
    assert result.facts is not None
    assert result.facts.columns[-1].loss > 10 * min(each.loss for each in result.facts.columns)


def oracle(rows: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    second = (rows["day"].dt.day_of_week >= 3) & rows["letter"].isin(["a", "b"])
    return np.column_stack([~second, second]) * 0.9 + 0.05


def test_columns_for_a_value_are_judged_in_its_unit() -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    result = potstill.distill(
        (X.assign(noise=np.random.default_rng(0).normal(size=len(X))), y),
        teachers=ExtraTreesRegressor(20, random_state=0),
        student=TREES,
        budget=Budget(size_kb=1024, max_columns=2),
        recipe=QUICK,
    )
    assert set(result.card.schema.names) == {"bmi", "s5"}
    assert result.facts is not None
    for each in result.facts.columns:
        assert 0.5 * y.std() < each.loss < 1.1 * y.std()


def test_a_model_of_arrays_still_takes_the_whole_array() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    result = potstill.distill(
        (X[:, USED], y),
        teachers=ExtraTreesClassifier(10, random_state=0),
        student=TREES,
        budget=Budget(size_kb=1024, max_columns=2),
        recipe=QUICK,
    )
    named = {f"x{at}": X[:, column] for at, column in enumerate(USED)}
    np.testing.assert_array_equal(result.model.predict_proba(X[:, USED]), result.model.predict_proba(named))


@pytest.mark.parametrize("most", [None, len(USED), 100])
def test_a_budget_for_all_columns_picks_none(most: int | None) -> None:
    given = prepared()
    picked = pick_columns(taught(QUICK), given, budget=Budget(max_columns=most), seed=0, progress=Silent())
    assert picked == Picked(given)


def test_where_time_is_up_the_rest_go_at_once() -> None:
    picked = pick_columns(
        taught(QUICK), prepared(), budget=Budget(max_columns=MOST), seed=0, limit_s=0.0, progress=Silent()
    )
    assert [len(point.names) for point in picked.curve] == [len(USED), MOST]
    assert len(picked.prepared.schema.names) == MOST


@pytest.mark.parametrize("most", [0, -1])
def test_no_column_at_all_is_refused_before_the_teacher_is_asked(most: int) -> None:
    def teacher(rows: pd.DataFrame) -> None:
        pytest.fail("the teacher was asked")

    with pytest.raises(UserError) as raised:
        potstill.distill(cancer(), teachers=teacher, budget=Budget(max_columns=most), recipe=QUICK)
    assert str(raised.value) == (
        f"The budget allows {most} columns; a student needs at least one.\n\n"
        "hint: Leave max_columns out to use all of them."
    )
