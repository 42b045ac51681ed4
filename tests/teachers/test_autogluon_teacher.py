"""Against a small predictor that keeps AutoGluon's documented contract, in a module of that name."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB

from potstill.errors import UserError
from potstill.teachers import adopt
from potstill.testing import check_teacher
from potstill.types import Dataset, OutOfFoldTeacher


class TabularPredictor:
    """Bagged or not; its labels are numbered inside, as AutoGluon's are."""

    def __init__(self, problem_type: str, path: str) -> None:
        self.problem_type, self.path, self.model_best = problem_type, path, "WeightedEnsemble_L2"

    def fit(self, frame: pd.DataFrame, label: str, *, bag: bool) -> TabularPredictor:
        rows, target = frame.drop(columns=label), frame[label]
        self.class_labels = sorted(target.unique()) if self.problem_type != "regression" else None
        self.model = (Ridge() if self.class_labels is None else GaussianNB()).fit(rows, target)
        self.index, self.target = frame.index, target.to_numpy()
        method = "predict" if self.class_labels is None else "predict_proba"
        self.kept = cross_val_predict(self.model, rows, target, cv=3, method=method) if bag else None
        Path(self.path).mkdir(exist_ok=True)
        (Path(self.path) / "predictor.pkl").write_bytes(pickle.dumps(self.__dict__))
        return self

    @classmethod
    def load(cls, path: str) -> TabularPredictor:
        fresh = cls("", path)
        fresh.__dict__.update(pickle.loads((Path(path) / "predictor.pkl").read_bytes()))
        return fresh

    def predict(self, data: pd.DataFrame) -> pd.Series:
        return pd.Series(self.model.predict(data), index=data.index)

    def predict_proba(self, data: pd.DataFrame, *, as_multiclass: bool) -> pd.DataFrame:
        return pd.DataFrame(self.model.predict_proba(data), index=data.index, columns=self.class_labels)

    def predict_proba_oof(self, *, as_multiclass: bool) -> pd.DataFrame:
        if self.kept is None:
            raise ValueError("Only bagged models can produce OOF predictions.")
        return pd.DataFrame(self.kept, index=self.index, columns=self.class_labels)

    def predict_oof(self) -> pd.Series:
        if self.kept is None:
            raise ValueError("Only bagged models can produce OOF predictions.")
        return pd.Series(self.kept, index=self.index)

    def load_data_internal(self, *, data: str, return_X: bool, return_y: bool) -> tuple[None, pd.Series]:
        codes = self.target if self.class_labels is None else np.searchsorted(self.class_labels, self.target)
        return None, pd.Series(codes, index=self.index)

    def transform_labels(self, labels: pd.Series, *, inverse: bool) -> pd.Series:
        if self.class_labels is None:
            return labels
        return pd.Series(np.asarray(self.class_labels)[labels], index=labels.index)


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    parent, module = ModuleType("autogluon"), ModuleType("autogluon.tabular")
    module.TabularPredictor = TabularPredictor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "autogluon", parent)
    monkeypatch.setitem(sys.modules, "autogluon.tabular", module)
    monkeypatch.setattr(TabularPredictor, "__module__", "autogluon.tabular.predictor")


def predictor(dataset: Dataset, path: Path, *, bag: bool = True, order: Any = None) -> TabularPredictor:
    task = dataset.task
    labels = np.asarray(task.classes)[dataset.labels] if task.is_classification else dataset.labels
    frame = dataset.rows.to_pandas().assign(**{task.target: labels})
    frame = frame if order is None else frame.iloc[order]
    return TabularPredictor(task.kind, str(path / "ag")).fit(frame, task.target, bag=bag)


@pytest.mark.parametrize("data", ["cancer", "wine", "diabetes"])
def test_answers_in_and_out_of_fold(data: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    dataset = request.getfixturevalue(data)
    fitted = predictor(dataset, tmp_path)
    teacher = adopt(fitted, task=dataset.task)
    check_teacher(teacher, dataset)
    assert isinstance(teacher, OutOfFoldTeacher)
    part = np.array([9, 4, 77])
    kept = np.asarray(fitted.kept).reshape(len(dataset), -1)
    assert np.allclose(teacher.predict_out_of_fold(dataset.take(part)), kept[part], atol=1e-4)
    assert not np.allclose(teacher.predict(dataset), kept, atol=1e-4)


def test_rows_are_found_when_the_predictor_had_them_in_another_order(wine: Dataset, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(wine))
    fitted = predictor(wine, tmp_path, order=order)
    teacher = adopt(fitted, task=wine.task)
    assert np.allclose(teacher.predict_out_of_fold(wine)[order], np.asarray(fitted.kept), atol=1e-4)


def test_rows_of_another_table_get_no_out_of_fold_answer(wine: Dataset, tmp_path: Path) -> None:
    teacher = adopt(predictor(wine, tmp_path), task=wine.task)
    shifted = replace(wine, ids=np.roll(np.arange(len(wine)), 60))
    unknown = replace(wine, ids=None)
    for other in (shifted, unknown, replace(wine, ids=np.arange(len(wine)) + 1)):
        assert np.isnan(teacher.predict_out_of_fold(other)).all()


def test_without_bagging_there_are_no_out_of_fold_answers(wine: Dataset, tmp_path: Path) -> None:
    teacher = adopt(predictor(wine, tmp_path, bag=False), task=wine.task)
    check_teacher(teacher, wine)
    assert not isinstance(teacher, OutOfFoldTeacher)


def test_duplicated_rows_have_no_positions(wine: Dataset, tmp_path: Path) -> None:
    order = np.concatenate([np.arange(len(wine)), [0, 1]])
    assert not isinstance(adopt(predictor(wine, tmp_path, order=order), task=wine.task), OutOfFoldTeacher)


def test_a_folder_needs_trust(wine: Dataset, tmp_path: Path) -> None:
    fitted = predictor(wine, tmp_path)
    path = tmp_path / "ag"
    with pytest.raises(UserError) as caught:
        adopt(str(path), task=wine.task)
    assert caught.value.message == (
        f"Opening {str(path)!r} runs whatever code is in it: wanted a file that holds only data, or "
        "your word that "
        "this one is trusted."
    )
    teacher = adopt(path, task=wine.task, trust=True)
    assert teacher.name == "ag"
    assert np.array_equal(teacher.predict(wine), adopt(fitted, task=wine.task).predict(wine))
    assert teacher.fingerprint == adopt(fitted, task=wine.task).fingerprint


def test_predictors_of_another_problem_are_refused(wine: Dataset, diabetes: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        adopt(predictor(diabetes, tmp_path), task=wine.task)
    assert caught.value.message == (
        "Teacher 'TabularPredictor' is a predictor for a regression problem: wanted one for the "
        "multiclass target "
        "'cultivar'."
    )


def test_frames_of_any_kind(wine: Dataset, tmp_path: Path) -> None:
    teacher = adopt(predictor(wine, tmp_path), task=wine.task)
    polars = replace(wine, rows=nw.from_native(wine.rows.to_polars(), eager_only=True))
    assert np.allclose(teacher.predict(polars), teacher.predict(wine))
