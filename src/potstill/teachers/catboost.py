"""CatBoost: its models, their ``.cbm`` files, fitted or not."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.errors import UserError
from potstill.teachers import fitting
from potstill.teachers.adapter import extension, library, packages, path_of
from potstill.teachers.answers import checked, speaking_for
from potstill.teachers.classes import translated
from potstill.teachers.digests import digest, library_version
from potstill.teachers.rows import array, model_columns, native, pandas_frame, select
from potstill.types import Dataset, Floats, Task, Teacher, Trainable

_VERSION = "1"
_PROBABILISTIC = frozenset({"Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll"})


@dataclass(frozen=True, eq=False)
class CatBoostTeacher:
    """A fitted CatBoost model.

    A category that is missing is handed over as the text ``nan`` (what ``astype(str)`` makes of it), since
    the library takes no other; whole numbers among the categories as their digits.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    model
        The ``catboost.CatBoost``.
    loss
        Name of the loss it was trained with.
    labels
        The classes behind its columns; None when it knows none.
    """

    name: str
    fingerprint: str
    model: Any
    loss: str
    labels: tuple[Any, ...] | None = None

    def predict(self, dataset: Dataset) -> Floats:
        rows = self._rows(dataset)
        kind = "Probability" if dataset.task.is_classification else "RawFormulaVal"
        with speaking_for(self.name, "answer the rows"):
            values = self.model.predict(rows, prediction_type=kind)
        if self.loss == "MultiClassOneVsAll":
            # One sigmoid for each class: the library itself leaves them unnormalised.
            values = values / values.sum(axis=1, keepdims=True)
        return checked(values, task=dataset.task, n_rows=len(dataset), teacher=self.name, labels=self.labels)

    def _rows(self, dataset: Dataset) -> Any:
        names = list(self.model.feature_names_)
        chosen = select(dataset, names, self.name)
        if chosen.from_array or chosen.rows.columns != names:
            return array(chosen)
        categorical = [names[index] for index in self.model.get_cat_feature_indices()]
        return _categories_as_text(pandas_frame(chosen), categorical)


@dataclass(frozen=True, eq=False)
class CatBoostTrainable:
    """An unfitted ``CatBoostClassifier`` or ``CatBoostRegressor``.

    Text columns are its ``cat_features`` unless it names some; files it would write beside the run are off.
    """

    name: str
    fingerprint: str
    model: Any

    def fit(self, dataset: Dataset, *, seed: int) -> CatBoostTeacher:
        own = self.model.get_params()
        settings: dict[str, Any] = {"random_seed": seed % 2**31, "allow_writing_files": False}
        if not {"verbose", "silent", "logging_level", "verbose_eval"} & own.keys():
            settings["verbose"] = False
        kept = {key: value for key, value in own.items() if key != "random_state"}
        chosen = model_columns(dataset)
        rows = native(chosen)
        if not chosen.from_array:
            frame = pandas_frame(chosen)
            text = list(frame.select_dtypes(include=["object", "string", "category"]).columns)
            declared = own.get("cat_features")
            named = text if declared is None else [_column(frame, entry) for entry in declared]
            rows, settings["cat_features"] = _categories_as_text(frame, named), named
        model = type(self.model)(**{**kept, **settings})
        target = fitting.target_of(dataset)
        fitting.fit(model, rows, target, weight=dataset.weight, teacher=self.name)
        return _teacher_of(model, dataset.task, self.name)


class CatBoostAdapter:
    """Adapter of everything of the package catboost, and of ``.cbm`` model files."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        return "catboost" in packages(source) or extension(source) == ".cbm"

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:  # noqa: ARG003
        path = path_of(source)
        if path is not None:
            catboost = library("catboost", wanted_for=f"Opening {str(path)!r}", install="potstill[train]")
            with speaking_for(path.stem, f"be read from {str(path)!r} as a CatBoost model"):
                model = catboost.CatBoost().load_model(str(path))
            return _teacher_of(model, task, name or path.stem)
        name = name or type(source).__name__
        if source.is_fitted():
            return _teacher_of(source, task, name)
        _check_class(source, task, name)
        parameters = repr(sorted(source.get_params().items()))
        recipe = (type(source).__qualname__, parameters)
        return CatBoostTrainable(name, digest("catboost", _VERSION, library_version(source), *recipe), source)


def _teacher_of(model: Any, task: Task, name: str) -> CatBoostTeacher:
    loss = str(model.get_all_params().get("loss_function", "")).partition(":")[0]
    if task.is_classification != (loss in _PROBABILISTIC):
        raise UserError(
            f"Teacher {name!r} was trained with the loss {loss!r}: wanted one for the {task.kind} target "
            f"{task.target!r}{', such as ' + repr('Logloss') if task.is_classification else ''}.",
            hint="A model trained with a loss of its own gives raw scores; hand over a function of "
            "the rows that "
            "calls it and turns its scores into answers.",
        )
    known = task.is_classification and len(model.classes_) > 0
    labels = translated(model.classes_, task, name) if known else None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.cbm"
        model.save_model(str(file))
        fingerprint = digest("catboost", _VERSION, file.read_bytes())
    return CatBoostTeacher(name, fingerprint, model, loss, labels)


def _check_class(model: Any, task: Task, name: str) -> None:
    wanted = "CatBoostClassifier" if task.is_classification else "CatBoostRegressor"
    if wanted not in {base.__name__ for base in type(model).__mro__}:
        raise UserError(
            f"Teacher {name!r} is an unfitted {type(model).__name__}: wanted a {wanted} for the {task.kind} "
            f"target {task.target!r}."
        )


def _column(frame: Any, entry: int | str) -> str:
    return entry if isinstance(entry, str) else str(frame.columns[entry])


def _categories_as_text(frame: Any, categorical: list[str]) -> Any:
    recoded = {name: frame[name].astype(object).map(_text) for name in categorical}
    return frame.assign(**recoded) if recoded else frame


def _text(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return "nan"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
