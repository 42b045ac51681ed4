from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from potstill.errors import UserError
from potstill.teachers import adopt
from potstill.teachers.fitting import seeded, weight_key
from potstill.testing import check_teacher
from potstill.types import Dataset, Task

Make = Callable[..., Dataset]


def named(dataset: Dataset) -> np.ndarray:
    return np.asarray(dataset.task.classes)[dataset.labels]


def frame_of(dataset: Dataset) -> Any:
    return nw.to_native(dataset.rows)


def test_fitted_classifier_answers_as_itself(wine: Dataset) -> None:
    model = RandomForestClassifier(8, random_state=0).fit(frame_of(wine), named(wine))
    teacher = adopt(model, task=wine.task)
    assert teacher.name == "RandomForestClassifier"
    assert np.allclose(teacher.predict(wine), model.predict_proba(frame_of(wine)), atol=1e-7)
    check_teacher(teacher, wine)


def test_columns_are_put_in_the_order_of_the_fit(wine: Dataset) -> None:
    columns = ["hue", "alcohol"] if "hue" in wine.rows.columns else list(wine.rows.columns[3:0:-1])
    model = LogisticRegression(max_iter=5000).fit(frame_of(wine)[columns], named(wine))
    teacher = adopt(model, task=wine.task)
    assert np.allclose(teacher.predict(wine), model.predict_proba(frame_of(wine)[columns]), atol=1e-7)


def test_missing_columns_are_named(wine: Dataset) -> None:
    model = GaussianNB().fit(frame_of(wine)[["ash", "alcohol"]], named(wine))
    without = replace(wine, rows=wine.rows.select("alcohol", "magnesium"))
    with pytest.raises(UserError) as caught:
        adopt(model, task=wine.task).predict(without)
    assert caught.value.message == (
        "Teacher 'GaussianNB' was fitted on 'ash', which the rows do not have: wanted all of its 2 columns, "
        "got 'alcohol', 'magnesium'."
    )


def test_a_model_fitted_on_an_array_gets_an_array_also_of_a_frame(wine: Dataset) -> None:
    model = GaussianNB().fit(frame_of(wine).to_numpy(), wine.labels)
    with pytest.warns(UserWarning, match="taken as the sorted classes"):
        teacher = adopt(model, task=wine.task)
    check_teacher(teacher, wine)
    narrow = replace(wine, rows=wine.rows.select("ash"), schema=replace_schema(wine, 1))
    with pytest.raises(UserError) as caught:
        teacher.predict(narrow)
    assert caught.value.message == (
        "Teacher 'GaussianNB' was fitted on 8 columns without names: wanted 8 columns, got 1: 'ash'."
    )


def replace_schema(dataset: Dataset, n_columns: int) -> Any:
    return type(dataset.schema)(dataset.schema.columns[:n_columns])


def test_a_model_fitted_on_a_frame_answers_arrays_by_position(
    wine: Dataset, as_array: Callable[[Dataset], Dataset]
) -> None:
    model = GaussianNB().fit(frame_of(wine), named(wine))
    teacher = adopt(model, task=wine.task)
    assert np.array_equal(teacher.predict(as_array(wine)), teacher.predict(wine))


def test_class_the_teacher_never_saw_gets_zero(wine: Dataset) -> None:
    seen = wine.take(np.flatnonzero(np.asarray(wine.labels) != 1))
    teacher = adopt(GaussianNB().fit(frame_of(seen), named(seen)), task=wine.task)
    answers = teacher.predict(wine)
    assert (answers[:, 1] == 0).all()
    assert answers[:, [0, 2]].max() > 0.9


def test_foreign_classes_are_refused_when_adopted(wine: Dataset, cancer: Dataset) -> None:
    model = GaussianNB().fit(frame_of(wine), named(wine))
    with pytest.raises(UserError) as caught:
        adopt(model, task=cancer.task)
    assert caught.value.message == (
        "Teacher 'GaussianNB' answers with 'barolo', 'dolcetto', 'grignolino', no class of 'diagnosis': "
        "wanted classes among 'benign', 'malignant'."
    )


@pytest.mark.parametrize("classes", [(False, True), (0, 1)])
def test_boolean_and_number_labels(cancer: Dataset, classes: tuple[Any, ...]) -> None:
    task = Task("binary", "diagnosis", classes)
    dataset = replace(cancer, task=task)
    model = GaussianNB().fit(frame_of(cancer), np.asarray(cancer.labels).astype(bool))
    assert np.allclose(adopt(model, task=task).predict(dataset), model.predict_proba(frame_of(cancer)))


def test_regressor(diabetes: Dataset) -> None:
    model = Ridge().fit(frame_of(diabetes), diabetes.labels)
    check_teacher(adopt(model, task=diabetes.task), diabetes)
    check_teacher(adopt(RandomForestRegressor(5), task=diabetes.task), diabetes)


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        (
            LinearSVC(),
            "Teacher 'LinearSVC' gives no probabilities: wanted predict_proba, which LinearSVC does "
            "not have.",
            "Wrap it in sklearn.calibration.CalibratedClassifierCV, which turns scores into probabilities.",
        ),
        (
            VotingClassifier([("a", GaussianNB())], voting="hard"),
            "Teacher 'VotingClassifier' gives no probabilities: wanted predict_proba, which "
            "VotingClassifier does "
            "not have.",
            "Fit it with voting='soft'.",
        ),
        (
            Ridge(),
            "Teacher 'Ridge' is a regressor: wanted a classifier, since 'cultivar' has 3 classes.",
            "If the target is a quantity, pass the task: task='regression'.",
        ),
    ],
)
def test_models_without_probabilities_are_refused(wine: Dataset, model: Any, message: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        adopt(model, task=wine.task)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_classifier_for_a_quantity_is_refused(diabetes: Dataset) -> None:
    with pytest.raises(UserError) as caught:
        adopt(GaussianNB(), task=diabetes.task)
    assert caught.value.message == (
        "Teacher 'GaussianNB' is a classifier: wanted a regressor, since 'progression' is to be regressed."
    )


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_pipelines_get_the_callers_own_frame(mixed: Make, backend: str) -> None:
    dataset = mixed(backend)
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["tint", "grade"]), remainder="passthrough"
    )
    trainable = adopt(make_pipeline(encode, RandomForestClassifier(8)), task=dataset.task)
    assert trainable.name == "RandomForestClassifier"
    check_teacher(trainable, dataset)


def test_a_trainable_is_fitted_on_a_clone_with_the_callers_labels(wine: Dataset) -> None:
    model = RandomForestClassifier(8)
    trainable = adopt(model, task=wine.task)
    teacher = trainable.fit(wine, seed=1)
    assert teacher.estimator.classes_.tolist() == list(wine.task.classes)
    assert getattr(model, "classes_", None) is None
    other = trainable.fit(wine, seed=2)
    assert not np.array_equal(teacher.predict(wine), other.predict(wine))


def test_seeds_reach_every_part_and_differ() -> None:
    model = VotingClassifier(
        [("a", DecisionTreeClassifier()), ("b", make_pipeline(StandardScaler(), RandomForestClassifier()))]
    )
    keys = ["a__random_state", "b__randomforestclassifier__random_state"]
    first, again, other = (seeded(model, seed).get_params() for seed in (5, 5, 6))
    assert [first[key] for key in keys] == [again[key] for key in keys]
    assert len({first[key] for key in keys} | {other[key] for key in keys}) == 4


@pytest.mark.parametrize(
    ("model", "key"),
    [
        (GaussianNB(), "sample_weight"),
        (KNeighborsClassifier(), None),
        (make_pipeline(StandardScaler(), GaussianNB()), "gaussiannb__sample_weight"),
        (make_pipeline(StandardScaler(), KNeighborsClassifier()), None),
        (GridSearchCV(GaussianNB(), {}), "sample_weight"),
        (GridSearchCV(make_pipeline(StandardScaler(), GaussianNB()), {}), "gaussiannb__sample_weight"),
        (VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())]), "sample_weight"),
        (VotingClassifier([("a", GaussianNB()), ("b", KNeighborsClassifier())]), None),
        (StackingClassifier([("a", GaussianNB())]), "sample_weight"),
    ],
)
def test_where_weights_go(model: Any, key: str | None) -> None:
    assert weight_key(model) == key


@pytest.mark.parametrize("model", [GaussianNB(), make_pipeline(StandardScaler(), GaussianNB())])
def test_weights_count(wine: Dataset, model: Any) -> None:
    weight = np.where(np.asarray(wine.labels) == 1, 1000.0, 1.0)
    trainable = adopt(model, task=wine.task)
    plain = trainable.fit(wine, seed=0).predict(wine)
    weighted = trainable.fit(replace(wine, weight=weight), seed=0).predict(wine)
    assert weighted[:, 1].mean() > plain[:, 1].mean() + 0.02


def test_weights_nobody_takes_do_no_harm(wine: Dataset) -> None:
    weighted = replace(wine, weight=np.ones(len(wine)))
    check_teacher(adopt(KNeighborsClassifier(), task=wine.task), weighted)


def test_what_an_estimator_cannot_fit_is_said(mixed: Make) -> None:
    dataset = mixed()
    with pytest.raises(UserError) as caught:
        adopt(GaussianNB(), task=dataset.task).fit(dataset, seed=0)
    assert caught.value.message.startswith(
        "Teacher 'GaussianNB' could not be fitted on 178 rows: ValueError: "
    )
    assert caught.value.hint == (
        "Put what the columns need (encoding, imputing) before the estimator, in a Pipeline."
    )


class Plain:
    """An object of nobody's library."""

    def __init__(self, tilt: float) -> None:
        self.tilt = tilt

    def predict_proba(self, rows: Any) -> np.ndarray:
        high = np.clip(rows["alcohol"].to_numpy() - 12.0 + self.tilt, 0, 1)
        return np.column_stack([high, 1 - high, np.zeros(len(rows))])


def test_anything_with_predict_proba_is_a_teacher(wine: Dataset) -> None:
    teacher = adopt(Plain(0.0), task=wine.task)
    check_teacher(teacher, wine)
    assert teacher.name == "Plain"


def test_fingerprints_follow_what_determines_the_answers(wine: Dataset) -> None:
    rows, labels = frame_of(wine), named(wine)

    def fingerprint(model: Any) -> str:
        return adopt(model, task=wine.task).fingerprint

    fitted = [RandomForestClassifier(4, random_state=seed).fit(rows, labels) for seed in (0, 0, 1)]
    assert fingerprint(fitted[0]) == fingerprint(fitted[1]) != fingerprint(fitted[2])
    assert fingerprint(RandomForestClassifier(4)) == fingerprint(RandomForestClassifier(4))
    assert fingerprint(RandomForestClassifier(4)) != fingerprint(RandomForestClassifier(5))
    assert fingerprint(Plain(0.0)) == fingerprint(Plain(0.0)) != fingerprint(Plain(0.1))
    first = make_pipeline(FunctionTransformer(lambda rows: rows * 2), GaussianNB())
    second = make_pipeline(FunctionTransformer(lambda rows: rows * 3), GaussianNB())
    assert fingerprint(first) == fingerprint(first) != fingerprint(second)


def test_what_cannot_be_fingerprinted_is_refused(wine: Dataset) -> None:
    model = Plain(0.0)
    model.tilt = (number for number in ())  # type: ignore[assignment]
    with pytest.raises(UserError) as caught:
        adopt(model, task=wine.task)
    assert caught.value.message.startswith(
        "Teacher 'Plain' cannot be fingerprinted, so its answers could not be stored: "
    )


def forget_names(rows: Any) -> np.ndarray:
    return np.asarray(rows)


@pytest.mark.parametrize(
    "model", [GaussianNB(), make_pipeline(FunctionTransformer(forget_names), GaussianNB())]
)
def test_a_column_the_schema_drops_stays_out_of_the_fit(wine: Dataset, model: Any) -> None:
    told = frame_of(wine).assign(told=np.asarray(wine.labels, dtype=float))
    dataset = replace(wine, rows=nw.from_native(told, eager_only=True))
    teacher = adopt(model, task=wine.task).fit(dataset, seed=0)
    assert np.array_equal(
        teacher.predict(dataset), adopt(model, task=wine.task).fit(wine, seed=0).predict(wine)
    )
