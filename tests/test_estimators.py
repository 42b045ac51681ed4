"""The scikit-learn shell: its own contract checks, and life inside pipelines and searches."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from potstill import Budget, DistilledClassifier, DistilledRegressor, Recipe, UserError, load
from potstill.students import GBDT, MLP

SMALL = GBDT(rounds=20, min_data_in_leaf=2)
FAST = Recipe(cache=False, folds=2, hard_label_weight=0.5, synthetic=0.0)

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a row of weight 2 and the same row twice are split, cross-fitted and bagged differently"
    ),
}


def expected_failures(estimator: Any) -> dict[str, str]:
    return EXPECTED_FAILURES


@parametrize_with_checks(
    [
        DistilledClassifier(ExtraTreesClassifier(5), student=SMALL, recipe=FAST),
        DistilledRegressor(ExtraTreesRegressor(5), student=SMALL, recipe=FAST),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_contract(estimator: Any, check: Any) -> None:
    check(estimator)


def classifier(**parameters: Any) -> DistilledClassifier:
    return DistilledClassifier(ExtraTreesClassifier(20), **{"student": SMALL, "recipe": FAST, **parameters})


def test_clone_carries_every_parameter() -> None:
    original = classifier(budget=Budget(size_kb=100), random_state=3)
    copied = clone(original)
    assert copied is not original
    assert (copied.student, copied.budget, copied.recipe) == (SMALL, Budget(size_kb=100), FAST)
    assert copied.random_state == 3


def test_nested_parameters_reach_into_the_parts() -> None:
    estimator = classifier().set_params(student__leaves=7, recipe__folds=3, teacher__n_estimators=9)
    assert estimator.student == GBDT(rounds=20, min_data_in_leaf=2, leaves=7)
    assert estimator.recipe.folds == 3
    assert estimator.teacher.n_estimators == 9
    assert estimator.get_params()["student__leaves"] == 7


def test_unknown_nested_parameter_is_refused() -> None:
    with pytest.raises(UserError) as raised:
        classifier().set_params(student__leafs=7)
    assert raised.value.message.startswith("Invalid parameter 'leafs' for student=GBDT(")


def test_in_a_pipeline_and_a_grid_search() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), classifier())
    search = GridSearchCV(pipeline, {"distilledclassifier__student__leaves": [4, 8]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.9
    assert search.best_params_["distilledclassifier__student__leaves"] in (4, 8)


def test_pickled_it_answers_the_same() -> None:
    X, y = load_wine(return_X_y=True)
    labels = np.array(["red", "rosé", "white"])[y]
    fitted = classifier().fit(X, labels)
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict_proba(X), fitted.predict_proba(X))
    assert set(restored.predict(X)) <= {"red", "rosé", "white"}
    assert fitted.score(X, labels) > 0.9


@pytest.mark.parametrize("names", [np.array(["yes", "no"]), np.array([2, 1]), np.array([1.0, 2.0])])
def test_a_teacher_fitted_on_the_same_labels_is_adopted(names: Any) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    labels = names[y]
    fitted = DistilledClassifier(ExtraTreesClassifier(20).fit(X, labels), student=SMALL, recipe=FAST)
    assert fitted.fit(X, labels).score(X, labels) > 0.9
    assert fitted.model_.task.classes == tuple(sorted(names.tolist()))
    assert set(fitted.predict(X)) == set(names.tolist())


def test_an_empty_text_is_no_class() -> None:
    X, y = load_wine(return_X_y=True)
    with pytest.raises(UserError) as raised:
        classifier().fit(X, np.array(["red", "", "white"])[y])
    assert str(raised.value) == (
        "An empty text is a missing label, not a class.\n\nhint: Give the class a name."
    )


def test_artifact_is_the_model() -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    fitted = DistilledRegressor(
        ExtraTreesRegressor(20), student=MLP(hidden=(16,), epochs=10), recipe=FAST
    ).fit(X, y)
    np.testing.assert_array_equal(load(fitted.artifact_).predict(X), fitted.predict(X))
    assert fitted.shipped_ in ("student", "twin")
    assert list(fitted.feature_names_in_) == list(X.columns)


def test_table_with_categories_keeps_them() -> None:
    X, y = load_wine(return_X_y=True, as_frame=True)
    X = X.assign(cellar=np.where(np.arange(len(X)) % 3 == 0, "north", "south"))

    def teacher(rows: Any) -> Any:
        certain = np.full((len(rows), 3), 0.1)
        certain[:, 0] += 0.7
        return certain

    fitted = DistilledClassifier(teacher, student=SMALL, recipe=FAST).fit(X, y)
    kinds = {column.name: column.kind for column in fitted.model_.schema.columns}
    assert kinds["cellar"] == "categorical"
