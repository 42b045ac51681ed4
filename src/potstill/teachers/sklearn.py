"""Estimators and pipelines of the scikit-learn contract, fitted or not."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from potstill.errors import UserError
from potstill.teachers import fitting
from potstill.teachers.adapter import packages
from potstill.teachers.answers import checked, speaking_for
from potstill.teachers.classes import translated
from potstill.teachers.digests import digest, library_version, object_digest
from potstill.teachers.rows import array, model_columns, native, select
from potstill.types import Dataset, Floats, Task, Teacher, Trainable

_VERSION = "1"


@dataclass(frozen=True, eq=False)
class SklearnTeacher:
    """A fitted estimator.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    estimator
        Anything with ``predict_proba`` (classification) or ``predict`` (regression).
    labels
        What its probability columns stand for; None: its ``classes_``.
    columns
        The columns it was fitted on, for one that does not say so itself; None: all.
    """

    name: str
    fingerprint: str
    estimator: Any
    labels: tuple[Any, ...] | None = None
    columns: tuple[str, ...] | None = None

    def predict(self, dataset: Dataset) -> Floats:
        rows = self._rows(dataset)
        ask = self.estimator.predict_proba if dataset.task.is_classification else self.estimator.predict
        with speaking_for(self.name, "answer the rows"):
            values = ask(rows)
        labels = self.labels if self.labels is not None else getattr(self.estimator, "classes_", None)
        return checked(values, task=dataset.task, n_rows=len(dataset), teacher=self.name, labels=labels)

    def _rows(self, dataset: Dataset) -> Any:
        names = getattr(self.estimator, "feature_names_in_", None)
        n_columns = getattr(self.estimator, "n_features_in_", None)
        was_fitted_on_array = names is None and n_columns is not None
        chosen = select(dataset, self.columns if names is None else names, self.name, n_columns=n_columns)
        return array(chosen) if was_fitted_on_array else native(chosen)


@dataclass(frozen=True, eq=False)
class SklearnTrainable:
    """An estimator to be fitted: a clone each time, its random states drawn from the seed.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Trainable`.
    estimator
        The unfitted estimator; itself never fitted.
    """

    name: str
    fingerprint: str
    estimator: Any

    def fit(self, dataset: Dataset, *, seed: int) -> SklearnTeacher:
        estimator = fitting.seeded(self.estimator, seed)
        target, labels = fitting.target_of(dataset), None
        if dataset.task.is_classification and "xgboost" in packages(fitting.innermost(estimator)):
            target, labels = fitting.compact_target(dataset)
        chosen = model_columns(dataset)
        estimator = fitting.fit(estimator, native(chosen), target, weight=dataset.weight, teacher=self.name)
        fingerprint = digest(self.fingerprint, object_digest(estimator, self.name))
        columns = None if chosen.from_array else tuple(chosen.rows.columns)
        return SklearnTeacher(self.name, fingerprint, estimator, labels, columns)


class SklearnAdapter:
    """Adapter of objects with ``predict_proba``, or with ``fit`` and ``predict``."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        missing = object()
        has = {
            method: inspect.getattr_static(source, method, missing) is not missing
            for method in ("fit", "predict", "predict_proba")
        }
        return "sklearn" in packages(source) or has["predict_proba"] or (has["fit"] and has["predict"])

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:  # noqa: ARG003
        name = name or type(fitting.final_step(source)).__name__
        check_kind(source, task, name)
        fingerprint = digest("sklearn", _VERSION, library_version(source), object_digest(source, name))
        if not is_fitted(source):
            return SklearnTrainable(name, fingerprint, source)
        own = getattr(source, "classes_", None) if task.is_classification else None
        labels = None if own is None else translated(own, task, name)
        return SklearnTeacher(name, fingerprint, source, labels)


def is_fitted(estimator: Any) -> bool:
    """scikit-learn's own judgement; objects without ``fit`` are taken as fitted."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if getattr(estimator, "fit", None) is None:
        return True
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def check_kind(estimator: Any, task: Task, teacher: str) -> None:
    """Raise a UserError if the estimator cannot answer the task: no probabilities, or the other kind."""
    from sklearn.base import is_classifier, is_regressor

    is_sklearn = "sklearn" in packages(estimator)
    if not task.is_classification:
        if is_sklearn and is_classifier(estimator):
            raise UserError(
                f"Teacher {teacher!r} is a classifier: wanted a regressor, since {task.target!r} is "
                "to be regressed.",
                hint="If the target is a class, pass the task: task='multiclass'.",
            )
        return
    if is_sklearn and is_regressor(estimator):
        raise UserError(
            f"Teacher {teacher!r} is a regressor: wanted a classifier, since {task.target!r} has "
            f"{len(task.classes)} classes.",
            hint="If the target is a quantity, pass the task: task='regression'.",
        )
    if getattr(estimator, "predict_proba", None) is None:
        voting = getattr(estimator, "voting", None) == "hard"
        raise UserError(
            f"Teacher {teacher!r} gives no probabilities: wanted predict_proba, which "
            f"{type(estimator).__name__} "
            f"does not have.",
            hint="Fit it with voting='soft'."
            if voting
            else "Wrap it in sklearn.calibration.CalibratedClassifierCV, which turns scores into "
            "probabilities.",
        )
