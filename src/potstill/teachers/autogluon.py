"""AutoGluon's TabularPredictor, with the out-of-fold answers it kept from its own bagging."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from potstill.errors import UserError
from potstill.teachers.adapter import library, packages, path_of
from potstill.teachers.answers import checked, speaking_for
from potstill.teachers.classes import match
from potstill.teachers.digests import digest, file_digest, object_digest
from potstill.teachers.files import require_trust
from potstill.teachers.rows import pandas_frame
from potstill.types import Bools, Dataset, Floats, Labels, Task, Teacher, Trainable

_VERSION = "1"


@dataclass(frozen=True, eq=False)
class AutoGluonTeacher:
    """A fitted predictor, asked for its best model's answers.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    predictor
        The ``autogluon.tabular.TabularPredictor``.
    """

    name: str
    fingerprint: str
    predictor: Any

    def predict(self, dataset: Dataset) -> Floats:
        frame = pandas_frame(dataset)
        with speaking_for(self.name, "answer the rows"):
            if not dataset.task.is_classification:
                values, labels = self.predictor.predict(frame), None
            else:
                values = self.predictor.predict_proba(frame, as_multiclass=True)
                labels = list(values.columns)
        return checked(
            np.asarray(values), task=dataset.task, n_rows=len(dataset), teacher=self.name, labels=labels
        )


@dataclass(frozen=True, eq=False)
class BaggedAutoGluonTeacher:
    """A bagged predictor: rows it was fitted on are answered by the models that did not see them.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    plain
        The same predictor without its out-of-fold answers.
    out_of_fold
        ``(N, K)`` its answers for the N rows it was fitted on, in their order, columns as the task's classes.
    labels
        ``(N,)`` the labels it was fitted on, as the task counts them: a row whose label is another here is a
        row of another table.
    """

    name: str
    fingerprint: str
    plain: AutoGluonTeacher
    out_of_fold: Floats
    labels: Labels

    def predict(self, dataset: Dataset) -> Floats:
        return self.plain.predict(dataset)

    def predict_out_of_fold(self, dataset: Dataset) -> Floats:
        """``(n, K)``; NaN throughout when the rows are not those the predictor was fitted on."""
        answers = np.full((len(dataset), dataset.task.n_outputs), np.nan, dtype=np.float32)
        if dataset.ids is None or dataset.labels is None or not len(dataset):
            return answers
        if int(dataset.ids.max()) >= len(self.out_of_fold):
            return answers
        if not _equal(self.labels[dataset.ids], dataset.labels).all():
            return answers
        answers[:] = self.out_of_fold[dataset.ids]
        return answers


class AutoGluonAdapter:
    """Adapter of ``TabularPredictor`` and of the folder one was saved to, which needs trust."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        path = path_of(source)
        return "autogluon" in packages(source) or (path is not None and (path / "predictor.pkl").is_file())

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:
        path = path_of(source)
        predictor = source if path is None else _open(path, trust)
        name = name or (type(source).__name__ if path is None else path.name)
        _check_kind(predictor, task, name)
        plain = AutoGluonTeacher(name, _fingerprint(predictor, name), predictor)
        return _with_out_of_fold(plain, task) or plain


def _open(path: Path, trust: bool) -> Any:
    require_trust(path, trust, instead="a table of its answers")
    tabular = library("autogluon.tabular", wanted_for=f"Opening {str(path)!r}", install="autogluon.tabular")
    with speaking_for(path.name, f"be read from {str(path)!r}"):
        return tabular.TabularPredictor.load(str(path))


def _check_kind(predictor: Any, task: Task, name: str) -> None:
    problem = str(predictor.problem_type)
    if (problem in {"binary", "multiclass"}) != task.is_classification or problem == "quantile":
        raise UserError(
            f"Teacher {name!r} is a predictor for a {problem} problem: wanted one for the {task.kind} target "
            f"{task.target!r}."
        )
    if task.is_classification:
        match(list(predictor.class_labels), task, name)


def _fingerprint(predictor: Any, name: str) -> str:
    folder = Path(str(predictor.path))
    state = file_digest(folder) if folder.is_dir() else object_digest(predictor, name)
    return digest("autogluon", _VERSION, state, str(predictor.model_best))


def _with_out_of_fold(plain: AutoGluonTeacher, task: Task) -> BaggedAutoGluonTeacher | None:
    """The teacher with its out-of-fold answers, or None where the predictor was not bagged."""
    predictor = plain.predictor
    try:
        if task.is_classification:
            kept = predictor.predict_proba_oof(as_multiclass=True)
        else:
            kept = predictor.predict_oof()
        _, internal = predictor.load_data_internal(data="train", return_X=False, return_y=True)
        written = predictor.transform_labels(internal, inverse=True)
    except Exception:
        # It raises, by contract, for every model that was not bagged, each release with another exception.
        return None
    # Rows of rare classes may have been duplicated for the fit: then positions do not say which row is which.
    if len(kept) != len(written) or not _counts_up(kept.index) or not _counts_up(written.index):
        return None
    labels = list(kept.columns) if task.is_classification else None
    answers = checked(
        np.asarray(kept.sort_index()),
        task=task,
        n_rows=len(kept),
        teacher=plain.name,
        labels=labels,
        allow_missing=True,
    )
    codes = _row_labels(written.sort_index(), task, plain.name)
    return BaggedAutoGluonTeacher(plain.name, plain.fingerprint, plain, answers, codes)


def _row_labels(labels: Any, task: Task, name: str) -> Labels:
    """A pandas column of labels as `Dataset.labels` has them: ``(n,)`` class indices, or values."""
    if not task.is_classification:
        return np.asarray(labels, dtype=np.float64)
    distinct = list(labels.unique())
    position = dict(zip(distinct, match(distinct, task, name).tolist(), strict=True))
    return np.asarray([position[label] for label in labels], dtype=np.int64)


def _counts_up(index: Any) -> bool:
    """Whether the index holds each of 0…N-1 once, in any order: the rows of a file, as they were."""
    return bool(np.array_equal(np.sort(np.asarray(index)), np.arange(len(index))))


def _equal(own: Labels, asked: Labels) -> Bools:
    return np.isclose(np.asarray(own, dtype=np.float64), np.asarray(asked, dtype=np.float64), equal_nan=True)
