"""What the members of the default ensemble share: preparing a fold, aligning answers, fingerprints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.teachers.answers import softmax
from potstill.teachers.digests import digest
from potstill.teachers.zoo_encoding import Encoding, Table
from potstill.types import Bools, Dataset, Doubles, Floats, Ints, Labels, Task, Teacher

VERSION = "4"
"""Part of every fingerprint: raise it when the code of a member changes its answers."""

LEAST_TO_STOP_ON = 100
"""Rows to stop early on, given from outside: fewer would choose the moment by chance."""

Answer: TypeAlias = Callable[[Table], NDArray[Any]]
"""Encoded rows to ``(n, c)`` probabilities of a fold's own classes (``(n,)``: of the second of two), or to
``(n,)`` standardised values."""


class Shape(NamedTuple):
    """The size of one fit, as cost models take it.

    Parameters
    ----------
    n_rows
        Rows of the fold.
    n_numeric, n_categorical
        Encoded columns.
    n_outputs
        Numbers a model has to learn for each row: 1 for two classes and for regression, else K.
    """

    n_rows: int
    n_numeric: int
    n_categorical: int
    n_outputs: int

    @property
    def n_columns(self) -> int:
        return self.n_numeric + self.n_categorical


def pace_of(measured_s: float, reckoned_s: float) -> float:
    """How many times as long as reckoned something takes here, in steps of a tenth.

    No two measurements agree to the last digit, and a run that is begun again must plan the same members.
    """
    return float(1.1 ** np.round(np.log(measured_s / reckoned_s) / np.log(1.1)))


@dataclass(frozen=True, eq=False)
class Scale:
    """How a member's own answers become those of the task.

    Parameters
    ----------
    task
        What is predicted.
    classes
        ``(c,)`` int64 indices of the task's classes that occur in the fold; empty for regression.
    center, spread
        ``value = center + spread * standardised``, for regression.
    """

    task: Task
    classes: Ints
    center: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, labels: Labels, task: Task, *, whole: bool = False) -> Scale:
        """The classes among ``labels`` (all of the task where ``whole``), or the unit of their values."""
        if not task.is_classification:
            return cls(task, np.zeros(0, np.int64), float(np.mean(labels)), float(np.std(labels)) or 1.0)
        return cls(task, np.arange(task.n_outputs) if whole else np.unique(labels.astype(np.int64)))

    def own(self, labels: Labels | None) -> Labels:
        """The task's labels, of classes that occur, to positions in ``classes``; values, standardised."""
        assert labels is not None
        if self.task.is_classification:
            return np.searchsorted(self.classes, labels.astype(np.int64)).astype(np.int64)
        return ((labels - self.center) / self.spread).astype(np.float64)

    def of_logits(self, logits: Floats) -> Floats:
        """Logits over the fold's own classes (standardised values) to ``(n, K)`` of the task."""
        return self.align(softmax(logits.astype(np.float64)) if self.task.is_classification else logits)

    def align(self, answers: NDArray[Any]) -> Floats:
        """Answers over the fold's own classes (standardised values) to ``(n, K)`` of the task.

        A class the fold lacks gets a probability of 0.
        """
        if not self.task.is_classification:
            return (answers.reshape(-1, 1) * self.spread + self.center).astype(np.float32)
        if answers.ndim == 1:
            answers = np.column_stack([1 - answers, answers])
        aligned = np.zeros((len(answers), self.task.n_outputs), np.float32)
        aligned[:, self.classes] = answers
        return aligned


@dataclass(frozen=True, eq=False)
class Fold:
    """The rows a member is fitted on: encoded, labelled, with some set aside for early stopping.

    Parameters
    ----------
    table
        Encoded rows.
    labels
        ``(n,)`` int64 positions in ``scale.classes``, or float64 standardised values.
    weight
        ``(n,)`` float64 sample weights, mean 1.
    scale
        The classes that occur, or the unit of the standardised values.
    learn, check
        Indices of the rows to learn from and of those to stop early on; ``check`` is empty when there are
        too few rows to set any aside.
    n_own
        The first so many rows may be learnt from once all else is chosen; those after them never.
    """

    table: Table
    labels: Labels
    weight: Doubles
    scale: Scale
    learn: Ints
    check: Ints
    n_own: int

    @property
    def n_classes(self) -> int:
        """Classes that occur; 0 for regression."""
        return len(self.scale.classes)

    @classmethod
    def of(cls, dataset: Dataset, encoding: Encoding, *, seed: int, stop_on: Dataset | None = None) -> Fold:
        """Prepare the labelled rows of ``dataset``; stop early on those of ``stop_on`` if they suffice."""
        assert dataset.labels is not None
        task = dataset.task
        scale = Scale.of(dataset.labels, task)
        labels = scale.own(dataset.labels)
        weight = np.ones(len(labels)) if dataset.weight is None else dataset.weight / dataset.weight.mean()
        table, n_own = encoding.table(dataset), len(labels)
        known = None if stop_on is None else _of_known_classes(stop_on, scale)
        if known is None or len(known) < LEAST_TO_STOP_ON:
            held = set_aside(labels, dataset.groups, stratify=task.is_classification, seed=seed)
            return cls(table, labels, weight, scale, np.flatnonzero(~held), np.flatnonzero(held), n_own)
        extra = np.ones(len(known)) if known.weight is None else known.weight / known.weight.mean()
        labels = np.concatenate([labels, scale.own(known.labels)])
        learn, check = np.arange(n_own), np.arange(n_own, len(labels))
        table = table.followed_by(encoding.table(known))
        return cls(table, labels, np.concatenate([weight, extra]), scale, learn, check, n_own)

    def check_loss(self, answers: NDArray[Any]) -> float:
        """Weighted log-loss (squared error) of ``answers`` to the rows set aside."""
        labels, weight = self.labels[self.check], self.weight[self.check]
        if not self.n_classes:
            losses = (answers.reshape(-1) - labels) ** 2
        elif answers.ndim == 1:
            losses = -np.log(np.clip(np.where(labels == 1, answers, 1 - answers), 1e-4, 1))
        else:
            losses = -np.log(np.clip(answers[np.arange(len(labels)), labels.astype(np.int64)], 1e-4, 1))
        return float(np.average(losses, weights=weight))


@dataclass(frozen=True, eq=False)
class ZooTeacher:
    """A fitted member of the default ensemble."""

    name: str
    fingerprint: str
    encoding: Encoding
    scale: Scale
    answer: Answer

    def predict(self, dataset: Dataset) -> Floats:
        """Probabilities ``(n, K)`` in the order of the task's classes, or values ``(n, 1)``."""
        return self.scale.align(self.answer(self.encoding.table(dataset)))


@dataclass(frozen=True, eq=False)
class Bagged:
    """A teacher fitted on all rows, parts of which answer those that they have not seen.

    Parameters
    ----------
    teacher
        The whole of it.
    ids
        ``(n,)`` ids of the rows it was fitted on, ascending.
    own
        ``(n, K)`` what is answered to them by such parts; NaN where there is none.
    """

    teacher: Teacher
    ids: Ints
    own: Floats

    @classmethod
    def of(cls, teacher: Teacher, dataset: Dataset, own: Floats) -> Bagged:
        """``own`` in the order of the rows of ``dataset``, which have ids."""
        assert dataset.ids is not None
        order = np.argsort(dataset.ids)
        return cls(teacher, dataset.ids[order], own[order])

    @property
    def name(self) -> str:
        return self.teacher.name

    @property
    def fingerprint(self) -> str:
        return self.teacher.fingerprint

    def predict(self, dataset: Dataset) -> Floats:
        """What the whole of it answers."""
        return self.teacher.predict(dataset)

    def predict_out_of_fold(self, dataset: Dataset) -> Floats:
        """See `potstill.types.OutOfFoldTeacher`; rows are known by their ids."""
        assert dataset.ids is not None
        return self.own[np.searchsorted(self.ids, dataset.ids)]


class Recipe(Protocol):
    """What `fit_member` needs of a member."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def learn(self, fold: Fold, *, seed: int) -> Answer:
        """Fit on ``fold``, which has two classes or more, or values."""


def fit_member(recipe: Recipe, dataset: Dataset, *, seed: int, stop_on: Dataset | None = None) -> Teacher:
    """Fit ``recipe`` on the rows of ``dataset``; where all have one class, the teacher answers that class.

    Parameters
    ----------
    recipe
        The member.
    dataset
        Labelled rows.
    seed
        Of everything random; members of one seed still draw differently.
    stop_on
        Labelled rows to stop early on, which are not learnt from; None sets a part of the others aside.
    """
    seed, encoding, fold = fold_of(recipe, dataset, seed=seed, stop_on=stop_on)
    answer = certain if fold.n_classes == 1 else recipe.learn(fold, seed=seed)
    return teacher_of(recipe, encoding, fold, answer, seed=seed)


def fold_of(
    recipe: Recipe, dataset: Dataset, *, seed: int, stop_on: Dataset | None = None
) -> tuple[int, Encoding, Fold]:
    """The member's own seed, the encoding of the rows, and the rows themselves, prepared for it."""
    seed = int(digest(recipe.name, str(seed))[:7], 16)
    encoding = Encoding.fit(dataset)
    return seed, encoding, Fold.of(dataset, encoding, seed=seed, stop_on=stop_on)


def teacher_of(recipe: Recipe, encoding: Encoding, fold: Fold, answer: Answer, *, seed: int) -> ZooTeacher:
    """What has learned to ``answer`` on ``fold``, with a fingerprint of all that went into it."""
    fingerprint = digest(
        recipe.fingerprint,
        str(seed),
        *(np.ascontiguousarray(part).tobytes() for part in (fold.table.numeric, fold.table.categorical)),
        *(np.ascontiguousarray(part).tobytes() for part in (fold.labels, fold.weight, fold.scale.classes)),
        repr((fold.scale.center, fold.scale.spread)),
    )
    return ZooTeacher(recipe.name, fingerprint, encoding, fold.scale, answer)


def fingerprint(recipe: msgspec.Struct, library: ModuleType) -> str:
    """Digest of a member's parameters (all but ``threads``), the library's version and this room's."""
    fields = {name: value for name, value in msgspec.structs.asdict(recipe).items() if name != "threads"}
    text = msgspec.json.encode(fields, order="sorted")
    return digest("zoo", VERSION, type(recipe).__name__, text, library.__name__, library.__version__)


def _of_known_classes(dataset: Dataset, scale: Scale) -> Dataset:
    """The rows of ``dataset`` whose class occurs in the fold; all of them for regression."""
    assert dataset.labels is not None
    if not scale.task.is_classification:
        return dataset
    known = np.isin(dataset.labels, scale.classes)
    return dataset if known.all() else dataset.take(np.flatnonzero(known))


def certain(table: Table) -> NDArray[Any]:
    """Where a fold has one class only: that one."""
    return np.ones((len(table), 1), np.float32)


def set_aside(labels: Labels, groups: NDArray[np.generic] | None, *, stratify: bool, seed: int) -> Bools:
    """Which rows a fit does not learn from but stops early on: a tenth or more, at most 2,000.

    Parameters
    ----------
    labels
        ``(n,)`` class positions or values.
    groups
        ``(n,)``; rows of one group stay together. None when rows are independent.
    stratify
        Take the share from every class; a class too rare for it is only learnt from.
    seed
        Of the draw.

    Returns
    -------
    ``(n,)`` bool, nowhere true below 100 rows.
    """
    n = len(labels)
    held = np.zeros(n, bool)
    share = min(max(0.1, 200 / n), 0.2, 2000 / n)
    if n < 100:
        return held
    rng = np.random.default_rng([seed, 0x5E7])
    if groups is not None:
        _, code = np.unique(groups, return_inverse=True)
        order = rng.permutation(int(code.max()) + 1)
        filled = np.cumsum(np.bincount(code)[order]) <= share * n
        return np.isin(code, order[filled])
    order = rng.permutation(n)
    if stratify:
        order = order[np.argsort(labels[order], kind="stable")]
        counts = np.bincount(labels.astype(np.int64))
        place = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
        taken = place < np.repeat(np.floor(counts * share), counts)
        held[order[taken]] = True
    else:
        held[order[: int(share * n)]] = True
    return held
