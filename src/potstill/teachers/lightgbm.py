"""LightGBM: boosters, their text files, and the library's scikit-learn classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from potstill.errors import UserError
from potstill.teachers import fitting
from potstill.teachers.adapter import extension, library, packages, path_of
from potstill.teachers.answers import checked, speaking_for
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
_BINARY = frozenset({"binary", "cross_entropy"})
_MULTICLASS = frozenset({"multiclass", "multiclassova"})


@dataclass(frozen=True, eq=False)
class LightGBMTeacher:
    """A booster, asked for probabilities.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    booster
        The ``lightgbm.Booster``.
    objective
        First word of the objective it was trained with; "" when it was a function.
    labels
        The classes behind its outputs 0…K-1; None: the task's classes in order.
    categorical
        Columns it was fitted on as categories, with the levels in the order of their codes.
    """

    name: str
    fingerprint: str
    booster: Any
    objective: str
    labels: tuple[Any, ...] | None = None
    categorical: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def predict(self, dataset: Dataset) -> Floats:
        rows = self._rows(dataset)
        with speaking_for(self.name, "answer the rows"):
            values = self.booster.predict(rows)
        if self.objective == "multiclassova":
            # One sigmoid for each class: the library itself leaves them unnormalised.
            values = values / values.sum(axis=1, keepdims=True)
        return checked(values, task=dataset.task, n_rows=len(dataset), teacher=self.name, labels=self.labels)

    def _rows(self, dataset: Dataset) -> Any:
        spaces = {name.replace(" ", "_"): name for name in dataset.rows.columns}
        names = [spaces.get(name, name) for name in self.booster.feature_name()]
        chosen = select(dataset, names, self.name)
        if chosen.from_array or chosen.rows.columns != names:
            return array(chosen)
        frame = pandas_frame(chosen)
        levels = {spaces.get(name, name): values for name, values in self.categorical}
        recoded = {name: as_categories(frame[name], values) for name, values in levels.items()}
        return frame.assign(**recoded) if recoded else frame


@dataclass(frozen=True, eq=False)
class LightGBMTrainable:
    """An unfitted ``LGBMClassifier`` or ``LGBMRegressor``; text columns are fitted as categories."""

    name: str
    fingerprint: str
    estimator: Any

    def fit(self, dataset: Dataset, *, seed: int) -> LightGBMTeacher:
        estimator = fitting.seeded(self.estimator, seed)
        chosen = model_columns(dataset)
        rows = native(chosen) if chosen.from_array else strings_as_categories(pandas_frame(chosen))
        target = fitting.target_of(dataset)
        fitting.fit(estimator, rows, target, weight=dataset.weight, teacher=self.name)
        return _teacher_of(estimator.booster_, dataset.task, self.name, getattr(estimator, "classes_", None))


class LightGBMAdapter:
    """Adapter of everything of the package lightgbm, and of ``.txt`` and ``.lgb`` model files."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        return "lightgbm" in packages(source) or extension(source) in {".txt", ".lgb"}

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:  # noqa: ARG003
        path = path_of(source)
        if path is not None:
            lgb = library("lightgbm", wanted_for=f"Opening {str(path)!r}", install="potstill[train]")
            with path.open("rb") as stream:
                start = stream.read(5)
            if start.split() != [b"tree"]:
                raise UserError(
                    f"{str(path)!r} is no LightGBM model: wanted a text file that starts with the "
                    "word 'tree'.",
                    hint="Write one with booster.save_model(path).",
                )
            with speaking_for(path.stem, f"be read from {str(path)!r}"):
                booster = lgb.Booster(model_file=str(path))
            return _teacher_of(booster, task, name or path.stem, None)
        name = name or type(source).__name__
        if "sklearn" not in packages(source):
            return _teacher_of(source, task, name, None)
        check_kind(source, task, name)
        if not is_fitted(source):
            fingerprint = digest("lightgbm", _VERSION, library_version(source), object_digest(source, name))
            return LightGBMTrainable(name, fingerprint, source)
        return _teacher_of(source.booster_, task, name, getattr(source, "classes_", None))


def _teacher_of(booster: Any, task: Task, name: str, labels: Any) -> LightGBMTeacher:
    text = booster.model_to_string()
    found = re.search(r"^objective=(\w+)", text, flags=re.MULTILINE)
    objective = found.group(1) if found else ""
    known = task.is_classification and labels is not None
    own = translated(labels, task, name) if known else None
    _check_objective(objective, task, name, n_classes=len(own or task.classes))
    fingerprint = digest("lightgbm", _VERSION, text, repr(own), str(booster.best_iteration))
    return LightGBMTeacher(name, fingerprint, booster, objective, own, _categorical(booster, text))


def _categorical(booster: Any, text: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    levels = booster.pandas_categorical or []
    found = re.search(r"^\[categorical_feature: ([\d,]+)\]", text, flags=re.MULTILINE)
    names = booster.feature_name()
    columns = [names[int(index)] for index in found.group(1).split(",")] if found else []
    # Whole numbers declared as categories have no levels of their own and go in as they are.
    if len(levels) != len(columns):
        return ()
    return tuple((column, tuple(values)) for column, values in zip(columns, levels, strict=True))


def _check_objective(objective: str, task: Task, name: str, *, n_classes: int) -> None:
    if not objective:
        raise UserError(
            f"Teacher {name!r} was trained with an objective of its own, so LightGBM gives raw "
            "scores: wanted "
            f"{'probabilities' if task.is_classification else 'values'}.",
            hint="Hand over a function of the rows that calls the booster and turns its scores into answers.",
        )
    wanted = (_BINARY if n_classes == 2 else _MULTICLASS) if task.is_classification else frozenset[str]()
    is_wrong = objective not in wanted if task.is_classification else objective in _BINARY | _MULTICLASS
    if is_wrong:
        raise UserError(
            f"Teacher {name!r} was trained with the objective {objective!r}: wanted one for the "
            f"{task.kind} target {task.target!r}{', such as ' + repr(min(wanted)) if wanted else ''}."
        )
