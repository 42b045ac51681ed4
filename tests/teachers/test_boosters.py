"""LightGBM, XGBoost and CatBoost: live objects, files, scikit-learn classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import catboost
import lightgbm as lgb
import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xgboost as xgb
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from potstill.errors import UserError
from potstill.teachers import adopt
from potstill.testing import check_teacher
from potstill.types import Dataset, Task

Make = Callable[..., Dataset]
Convert = Callable[[Dataset], Dataset]

ESTIMATORS: dict[str, Callable[[], Any]] = {
    "lightgbm": lambda: lgb.LGBMClassifier(n_estimators=6, num_leaves=5, verbose=-1, n_jobs=1, subsample=0.8),
    "xgboost": lambda: xgb.XGBClassifier(n_estimators=6, max_depth=3, n_jobs=1, subsample=0.8),
    "catboost": lambda: catboost.CatBoostClassifier(iterations=6, depth=3, thread_count=1),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "lightgbm": lambda: lgb.LGBMRegressor(n_estimators=6, num_leaves=5, verbose=-1, n_jobs=1),
    "xgboost": lambda: xgb.XGBRegressor(n_estimators=6, max_depth=3, n_jobs=1),
    "catboost": lambda: catboost.CatBoostRegressor(iterations=6, depth=3, thread_count=1),
}


def frame_of(dataset: Dataset) -> Any:
    return nw.to_native(dataset.rows)


def named(dataset: Dataset) -> np.ndarray:
    return np.asarray(dataset.task.classes)[dataset.labels]


def lgb_train(dataset: Dataset, rows: Any = None, **params: Any) -> Any:
    data = lgb.Dataset(frame_of(dataset) if rows is None else rows, np.asarray(dataset.labels))
    return lgb.train({"verbose": -1, "num_leaves": 5, "num_threads": 1, **params}, data, 6)


def xgb_train(dataset: Dataset, rows: Any = None, obj: Any = None, **params: Any) -> Any:
    rows = frame_of(dataset) if rows is None else rows
    data = xgb.DMatrix(rows, np.asarray(dataset.labels), enable_categorical=True)
    return xgb.train({"max_depth": 3, "nthread": 1, **params}, data, 6, obj=obj)


def cb_train(dataset: Dataset, rows: Any = None, cat_features: Any = None, **params: Any) -> Any:
    model = catboost.CatBoost(
        {
            "iterations": 6,
            "depth": 3,
            "verbose": False,
            "allow_writing_files": False,
            "thread_count": 1,
            **params,
        }
    )
    labels = named(dataset) if dataset.task.is_classification else dataset.labels
    return model.fit(frame_of(dataset) if rows is None else rows, labels, cat_features=cat_features)


@pytest.mark.parametrize("library", ESTIMATORS)
@pytest.mark.parametrize("data", ["cancer", "wine"])
def test_fitted_classifiers_answer_as_themselves(
    library: str, data: str, request: pytest.FixtureRequest
) -> None:
    dataset = request.getfixturevalue(data)
    model = ESTIMATORS[library]()
    options = {"verbose": False} if library == "catboost" else {}
    if library == "catboost":
        model.set_params(allow_writing_files=False)
    target = dataset.labels if library == "xgboost" else named(dataset)
    model.fit(frame_of(dataset), target, **options)
    task = replace_classes(dataset.task) if library == "xgboost" else dataset.task
    dataset = replace(dataset, task=task)
    teacher = adopt(model, task=task)
    assert teacher.name == type(model).__name__
    assert np.allclose(teacher.predict(dataset), model.predict_proba(frame_of(dataset)), atol=1e-6)
    check_teacher(teacher, dataset)


def replace_classes(task: Task) -> Task:
    return Task(task.kind, task.target, tuple(range(len(task.classes))))


@pytest.mark.parametrize("library", ESTIMATORS)
@pytest.mark.parametrize("data", ["cancer", "wine"])
def test_unfitted_classifiers_are_trainable(library: str, data: str, request: pytest.FixtureRequest) -> None:
    dataset = request.getfixturevalue(data)
    trainable = adopt(ESTIMATORS[library](), task=dataset.task)
    check_teacher(trainable, dataset)
    teacher = trainable.fit(dataset, seed=3)
    accuracy = (teacher.predict(dataset).argmax(axis=1) == dataset.labels).mean()
    assert accuracy > 0.9
    assert teacher.fingerprint != trainable.fit(dataset, seed=4).fingerprint


@pytest.mark.parametrize("library", REGRESSORS)
def test_regressors(library: str, diabetes: Dataset) -> None:
    trainable = adopt(REGRESSORS[library](), task=diabetes.task)
    check_teacher(trainable, diabetes)
    teacher = trainable.fit(diabetes, seed=0)
    assert np.corrcoef(teacher.predict(diabetes)[:, 0], np.asarray(diabetes.labels))[0, 1] > 0.5


@pytest.mark.parametrize("library", ESTIMATORS)
def test_a_fold_without_a_class_leaves_its_column_empty(library: str, wine: Dataset) -> None:
    fold = wine.take(np.flatnonzero(np.asarray(wine.labels) != 1))
    answers = adopt(ESTIMATORS[library](), task=wine.task).fit(fold, seed=0).predict(wine)
    assert (answers[:, 1] == 0).all()
    assert answers[:, [0, 2]].min() > 0


@pytest.mark.parametrize("library", ESTIMATORS)
@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_text_columns_are_categories(library: str, backend: str, mixed: Make) -> None:
    dataset = mixed(backend)
    check_teacher(adopt(ESTIMATORS[library](), task=dataset.task), dataset)


@pytest.mark.parametrize("library", ESTIMATORS)
def test_arrays(library: str, wine: Dataset, as_array: Convert) -> None:
    check_teacher(adopt(ESTIMATORS[library](), task=wine.task), as_array(wine))


@pytest.mark.parametrize("library", ESTIMATORS)
def test_weights_count(library: str, wine: Dataset) -> None:
    weight = np.where(np.asarray(wine.labels) == 1, 100.0, 1.0)
    trainable = adopt(ESTIMATORS[library](), task=wine.task)
    plain = trainable.fit(wine, seed=0).predict(wine)
    weighted = trainable.fit(replace(wine, weight=weight), seed=0).predict(wine)
    assert weighted[:, 1].mean() > plain[:, 1].mean() + 0.01


def test_xgboost_inside_a_pipeline_gets_numbers_for_labels(wine: Dataset) -> None:
    pipeline = make_pipeline(StandardScaler(), ESTIMATORS["xgboost"]())
    check_teacher(adopt(pipeline, task=wine.task), wine)


@pytest.mark.parametrize("objective", ["binary", "cross_entropy"])
def test_lightgbm_binary_booster(cancer: Dataset, objective: str) -> None:
    booster = lgb_train(cancer, objective=objective)
    teacher = adopt(booster, task=cancer.task)
    assert np.allclose(teacher.predict(cancer)[:, 1], booster.predict(frame_of(cancer)), atol=1e-6)
    check_teacher(teacher, cancer)


@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_lightgbm_multiclass_booster(wine: Dataset, objective: str) -> None:
    check_teacher(adopt(lgb_train(wine, objective=objective, num_class=3), task=wine.task), wine)


def test_lightgbm_file(wine: Dataset, diabetes: Dataset, tmp_path: Path) -> None:
    booster = lgb_train(wine, objective="multiclass", num_class=3)
    booster.save_model(tmp_path / "wine.txt")
    teacher = adopt(str(tmp_path / "wine.txt"), task=wine.task)
    assert teacher.name == "wine"
    assert np.array_equal(teacher.predict(wine), adopt(booster, task=wine.task).predict(wine))
    lgb_train(diabetes, objective="regression_l1").save_model(tmp_path / "diabetes.lgb")
    check_teacher(adopt(tmp_path / "diabetes.lgb", task=diabetes.task), diabetes)


def test_a_text_file_that_is_no_model(tmp_path: Path, wine: Dataset) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("buy malt\n")
    with pytest.raises(UserError) as caught:
        adopt(path, task=wine.task)
    assert caught.value.message == (
        f"{str(path)!r} is no LightGBM model: wanted a text file that starts with the word 'tree'."
    )


def test_lightgbm_was_fitted_on_an_array(wine: Dataset, as_array: Convert) -> None:
    booster = lgb_train(wine, rows=frame_of(wine).to_numpy(), objective="multiclass", num_class=3)
    teacher = adopt(booster, task=wine.task)
    assert np.array_equal(teacher.predict(wine), teacher.predict(as_array(wine)))


def categories(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(tint=frame["tint"].astype("category"), grade=frame["grade"].astype("category"))


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_boosters_know_their_categories_in_any_frame(
    library: str, mixed: Make, mixed_frame: pd.DataFrame, make_dataset: Make, tmp_path: Path
) -> None:
    own = make_dataset(categories(mixed_frame), mixed().task, mixed().labels)
    if library == "lightgbm":
        booster = lgb_train(
            own, objective="multiclass", num_class=3, min_data_in_leaf=3, min_data_per_group=3
        )
        expected, path = booster.predict(frame_of(own)), tmp_path / "mixed.txt"
    else:
        booster = xgb_train(own, objective="multi:softprob", num_class=3)
        expected = booster.predict(xgb.DMatrix(frame_of(own), enable_categorical=True))
        path = tmp_path / "mixed.ubj"
    booster.save_model(path)
    for teacher in (adopt(booster, task=own.task), adopt(path, task=own.task)):
        check_teacher(teacher, own)
        for backend in ("pandas", "polars", "pyarrow"):
            assert np.allclose(teacher.predict(mixed(backend)), expected, atol=1e-6)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_an_unseen_category_is_a_missing_one(library: str, mixed: Make, mixed_frame: pd.DataFrame) -> None:
    teacher = adopt(ESTIMATORS[library](), task=mixed().task).fit(mixed(), seed=0)
    unseen = mixed_frame.assign(tint="green")
    missing = mixed_frame.assign(tint=pd.Series([None] * len(mixed_frame), dtype="str"))
    answers = [
        teacher.predict(replace(mixed(), rows=nw.from_native(f, eager_only=True))) for f in (unseen, missing)
    ]
    assert np.array_equal(*answers)


def softmax_gradient(scores: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray]:
    prob = 1 / (1 + np.exp(-scores))
    return prob - data.get_label(), prob * (1 - prob)


def test_raw_scores_of_an_objective_of_ones_own_are_refused(cancer: Dataset) -> None:
    booster = lgb_train(cancer, objective=softmax_gradient)
    with pytest.raises(UserError) as caught:
        adopt(booster, task=cancer.task)
    assert caught.value.message == (
        "Teacher 'Booster' was trained with an objective of its own, so LightGBM gives raw scores: wanted "
        "probabilities."
    )
    with pytest.raises(UserError) as caught:
        adopt(xgb_train(cancer, obj=softmax_gradient), task=cancer.task)
    assert caught.value.message == (
        "Teacher 'Booster' has the objective 'reg:squarederror': wanted one for the binary target "
        "'diagnosis', "
        "such as 'binary:logistic'."
    )


def test_boosters_of_another_task_are_refused(cancer: Dataset, wine: Dataset, diabetes: Dataset) -> None:
    booster = lgb_train(cancer, objective="binary")
    with pytest.raises(UserError) as caught:
        adopt(booster, task=wine.task)
    assert caught.value.message == (
        "Teacher 'Booster' was trained with the objective 'binary': wanted one for the multiclass target "
        "'cultivar', such as 'multiclass'."
    )
    with pytest.raises(UserError, match="the objective 'binary': wanted one for the regression target"):
        adopt(booster, task=diabetes.task)
    with pytest.raises(
        UserError, match="the objective 'binary:logistic': wanted one for the regression target"
    ):
        adopt(xgb_train(cancer, objective="binary:logistic"), task=diabetes.task)
    with pytest.raises(UserError, match="the loss 'RMSE': wanted one for the multiclass target"):
        adopt(cb_train(diabetes, loss_function="RMSE"), task=wine.task)
    with pytest.raises(UserError, match="is an unfitted CatBoostRegressor: wanted a CatBoostClassifier"):
        adopt(catboost.CatBoostRegressor(), task=wine.task)


@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw", "reg:logistic"])
def test_xgboost_binary_booster(cancer: Dataset, objective: str) -> None:
    teacher = adopt(xgb_train(cancer, objective=objective), task=cancer.task)
    check_teacher(teacher, cancer)
    assert ((teacher.predict(cancer)[:, 1] > 0.5) == cancer.labels).mean() > 0.9


def test_xgboost_softmax_booster_gives_the_same_as_softprob(wine: Dataset) -> None:
    soft, hard = (
        adopt(xgb_train(wine, objective=objective, num_class=3), task=wine.task)
        for objective in ("multi:softprob", "multi:softmax")
    )
    check_teacher(hard, wine)
    assert np.allclose(soft.predict(wine), hard.predict(wine), atol=1e-6)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboost_file(diabetes: Dataset, tmp_path: Path, suffix: str) -> None:
    booster = xgb_train(diabetes)
    booster.save_model(tmp_path / f"old.{suffix}")
    teacher = adopt(tmp_path / f"old.{suffix}", task=diabetes.task)
    check_teacher(teacher, diabetes)
    assert np.array_equal(teacher.predict(diabetes), adopt(booster, task=diabetes.task).predict(diabetes))


def test_a_json_file_that_is_no_model(tmp_path: Path, wine: Dataset) -> None:
    path = tmp_path / "notes.json"
    path.write_text('{"malt": 3}')
    with pytest.raises(UserError) as caught:
        adopt(path, task=wine.task)
    assert caught.value.message.startswith(
        f"Teacher 'notes' could not be read from {str(path)!r} as an XGBoost model: "
    )


def test_early_stopped_xgboost_answers_with_its_best_rounds(cancer: Dataset) -> None:
    task = replace_classes(cancer.task)
    dataset = replace(cancer, task=task)
    model = xgb.XGBClassifier(n_estimators=60, learning_rate=1.0, early_stopping_rounds=3, n_jobs=1)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2, 40)
    model.fit(frame_of(cancer), cancer.labels, eval_set=[(frame_of(cancer)[:40], noise)], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    teacher = adopt(model, task=task)
    assert np.allclose(teacher.predict(dataset), model.predict_proba(frame_of(cancer)), atol=1e-6)


@pytest.mark.parametrize(
    ("data", "loss"),
    [
        ("cancer", "Logloss"),
        ("wine", "MultiClass"),
        ("wine", "MultiClassOneVsAll"),
        ("diabetes", "RMSE"),
        ("diabetes", "MAE"),
    ],
)
def test_catboost_models_and_files(
    data: str, loss: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    dataset = request.getfixturevalue(data)
    model = cb_train(dataset, loss_function=loss)
    model.save_model(str(tmp_path / "old.cbm"))
    teacher = adopt(tmp_path / "old.cbm", task=dataset.task)
    check_teacher(teacher, dataset)
    assert np.array_equal(teacher.predict(dataset), adopt(model, task=dataset.task).predict(dataset))


def test_catboost_knows_its_categories_in_any_frame(mixed: Make, mixed_frame: pd.DataFrame) -> None:
    own = mixed_frame.assign(
        tint=mixed_frame["tint"].astype(object).where(mixed_frame["tint"].notna(), "nan")
    )
    model = cb_train(mixed(), rows=own, cat_features=["tint", "grade"], loss_function="MultiClass")
    teacher = adopt(model, task=mixed().task)
    expected = model.predict(own, prediction_type="Probability")
    for backend in ("pandas", "polars", "pyarrow"):
        assert np.allclose(teacher.predict(mixed(backend)), expected, atol=1e-6)


def test_fingerprints_follow_the_model(wine: Dataset, mixed: Make) -> None:
    params = {"objective": "multiclass", "num_class": 3}
    first, again, other = (
        adopt(lgb_train(wine, **params, learning_rate=rate), task=wine.task) for rate in (0.1, 0.1, 0.2)
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint
    for library, make in ESTIMATORS.items():
        trainable = adopt(make(), task=wine.task)
        assert trainable.fingerprint == adopt(make(), task=wine.task).fingerprint
        changed = make().set_params(learning_rate=0.123)
        assert trainable.fingerprint != adopt(changed, task=wine.task).fingerprint, library


def test_arrow_dictionaries_and_nulls(mixed_frame: pd.DataFrame, mixed: Make, make_dataset: Make) -> None:
    table = pa.Table.from_pandas(categories(mixed_frame), preserve_index=False)
    flags = [None, *mixed_frame["strong"].tolist()[1:]]
    table = table.set_column(table.column_names.index("strong"), "strong", pa.array(flags))
    dataset = make_dataset(table, mixed().task, mixed().labels)
    for make in ESTIMATORS.values():
        check_teacher(adopt(make(), task=dataset.task), dataset)


@pytest.mark.parametrize("library", ESTIMATORS)
def test_a_column_the_schema_drops_stays_out_of_the_fit(library: str, wine: Dataset) -> None:
    told = frame_of(wine).assign(told=np.asarray(wine.labels, dtype=float))
    dataset = replace(wine, rows=nw.from_native(told, eager_only=True))
    trainable = adopt(ESTIMATORS[library](), task=wine.task)
    answers = [trainable.fit(rows, seed=0).predict(rows) for rows in (dataset, wine)]
    assert np.array_equal(*answers)
