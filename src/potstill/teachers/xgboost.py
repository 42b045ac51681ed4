"""XGBoost: boosters, their files, and the library's scikit-learn classes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from potstill.errors import UserError
from potstill.teachers import fitting
from potstill.teachers.adapter import extension, library, packages, path_of
from potstill.teachers.answers import checked, sigmoid, softmax, speaking_for
from potstill.teachers.classes import translated
from potstill.teachers.digests import digest, library_version, object_digest
from potstill.teachers.rows import (
    array,
    as_categories,
    model_columns,
    native,
    pandas_frame,
    select,
    strings_as_categories,
)
from potstill.teachers.sklearn import check_kind, is_fitted
from potstill.types import Dataset, Floats, Task, Teacher, Trainable

_VERSION = "1"
_BINARY = frozenset({"binary:logistic", "binary:logitraw", "reg:logistic"})
_MULTICLASS = frozenset({"multi:softprob", "multi:softmax"})


@dataclass(frozen=True, eq=False)
class XGBoostTeacher:
    """A booster, asked for probabilities.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    booster
        The ``xgboost.Booster``.
    objective
        Name of the objective it was trained with.
    labels
        The classes behind its outputs 0…K-1; None: the task's classes in order.
    n_rounds
        Rounds that answer; 0 for all. A bare booster uses all, as its own ``predict`` does; a scikit-learn
        object those up to its best iteration.
    missing
        The number that stands for a missing value.
    """

    name: str
    fingerprint: str
    booster: Any
    objective: str
    labels: tuple[Any, ...] | None = None
    n_rounds: int = 0
    missing: float = float("nan")

    def predict(self, dataset: Dataset) -> Floats:
        import xgboost as xgb

        rows = self._rows(dataset)
        names = self.booster.feature_names
        with speaking_for(self.name, "answer the rows"):
            data = xgb.DMatrix(rows, feature_names=names, missing=self.missing, enable_categorical=True)
            values = self.booster.predict(
                data, output_margin=self.objective == "multi:softmax", iteration_range=(0, self.n_rounds)
            )
        if self.objective == "multi:softmax":
            values = softmax(np.asarray(values, dtype=np.float64))
        if self.objective == "binary:logitraw":
            values = sigmoid(np.asarray(values, dtype=np.float64))
        return checked(values, task=dataset.task, n_rows=len(dataset), teacher=self.name, labels=self.labels)

    def _rows(self, dataset: Dataset) -> Any:
        names, n_columns = self.booster.feature_names, int(self.booster.num_features())
        chosen = select(dataset, names, self.name, n_columns=n_columns)
        if names is None or chosen.from_array or chosen.rows.columns != list(names):
            return array(chosen)
        frame = pandas_frame(chosen)
        recoded = {name: as_categories(frame[name], values) for name, values in self._levels().items()}
        return frame.assign(**recoded) if recoded else frame

    def _levels(self) -> dict[str, list[Any]]:
        if "c" not in (self.booster.feature_types or ()):
            return {}
        stored = getattr(self.booster, "get_categories", None)
        pairs = stored(export_to_arrow=True).to_arrow() if stored is not None else ()
        # Older releases store no levels: then only the caller's own category columns carry the right codes.
        return {name: values.to_pylist() for name, values in pairs or () if values is not None}


@dataclass(frozen=True, eq=False)
class XGBoostTrainable:
    """An unfitted ``XGBClassifier`` or ``XGBRegressor``; text columns are fitted as categories."""

    name: str
    fingerprint: str
    estimator: Any

    def fit(self, dataset: Dataset, *, seed: int) -> XGBoostTeacher:
        estimator = fitting.seeded(self.estimator, seed)
        chosen = model_columns(dataset)
        rows = native(chosen) if chosen.from_array else strings_as_categories(pandas_frame(chosen))
        if not dataset.from_array and len(rows.select_dtypes("category").columns):
            estimator.set_params(enable_categorical=True)
        target, labels = fitting.target_of(dataset), None
        if dataset.task.is_classification:
            # XGBoost takes no other labels than 0…k-1, and none of those may be absent.
            target, labels = fitting.compact_target(dataset)
        fitting.fit(estimator, rows, target, weight=dataset.weight, teacher=self.name)
        return _teacher_of_estimator(estimator, dataset.task, self.name, labels)


class XGBoostAdapter:
    """Adapter of everything of the package xgboost, and of ``.json`` and ``.ubj`` model files."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        return "xgboost" in packages(source) or extension(source) in {".json", ".ubj"}

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:  # noqa: ARG003
        path = path_of(source)
        if path is not None:
            xgb = library("xgboost", wanted_for=f"Opening {str(path)!r}", install="potstill[train]")
            with speaking_for(path.stem, f"be read from {str(path)!r} as an XGBoost model"):
                booster = xgb.Booster(model_file=str(path))
            return _teacher_of(booster, task, name or path.stem)
        name = name or type(source).__name__
        if "sklearn" not in packages(source):
            return _teacher_of(source, task, name)
        check_kind(source, task, name)
        if not is_fitted(source):
            fingerprint = digest("xgboost", _VERSION, library_version(source), object_digest(source, name))
            return XGBoostTrainable(name, fingerprint, source)
        return _teacher_of_estimator(source, task, name, getattr(source, "classes_", None))


def _teacher_of_estimator(estimator: Any, task: Task, name: str, labels: Any) -> XGBoostTeacher:
    booster = estimator.get_booster()
    best = booster.attr("best_iteration")
    missing = estimator.get_params().get("missing")
    return _teacher_of(
        booster,
        task,
        name,
        labels=labels,
        n_rounds=0 if best is None else int(best) + 1,
        missing=float("nan") if missing is None else float(missing),
    )


def _teacher_of(
    booster: Any,
    task: Task,
    name: str,
    *,
    labels: Any = None,
    n_rounds: int = 0,
    missing: float = float("nan"),
) -> XGBoostTeacher:
    objective = str(json.loads(booster.save_config())["learner"]["objective"]["name"])
    known = task.is_classification and labels is not None
    own = translated(labels, task, name) if known else None
    _check_objective(objective, task, name, n_classes=len(own or task.classes))
    model = bytes(booster.save_raw("ubj"))
    fingerprint = digest("xgboost", _VERSION, model, repr(own), f"{n_rounds} {missing}")
    return XGBoostTeacher(name, fingerprint, booster, objective, own, n_rounds, missing)


def _check_objective(objective: str, task: Task, name: str, *, n_classes: int) -> None:
    classifying = _BINARY | _MULTICLASS if n_classes == 2 else _MULTICLASS
    wanted = classifying if task.is_classification else frozenset[str]()
    is_wrong = (
        objective not in wanted
        if task.is_classification
        else objective.startswith(("binary:", "multi:", "rank:", "survival:"))
    )
    if is_wrong:
        raise UserError(
            f"Teacher {name!r} has the objective {objective!r}: wanted one for the {task.kind} target "
            f"{task.target!r}{', such as ' + repr(min(wanted)) if wanted else ''}.",
            hint="A booster trained with an objective of its own gives raw scores and calls them "
            "'reg:squarederror'; "
            "hand over a function of the rows that calls it and turns its scores into answers.",
        )
