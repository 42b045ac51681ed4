"""Real data, encoded, on which every family of students is checked: by the kind of column that it reads."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from potstill.objectives import KD, MSE
from potstill.types import (
    TABLE_KINDS,
    ColumnKind,
    Examples,
    FeatureSpec,
    Floats,
    Objective,
    Student,
    Task,
    TaskKind,
    Tensors,
)

N_LEVELS = 4
N_PICTURES = 400
N_WORDS = 10


@dataclass(frozen=True)
class StudentCase:
    """Real rows, encoded; half of the training labels are withheld.

    Parameters
    ----------
    task, spec, objective
        What is learnt, from what shape of tensors, with what loss.
    train, valid
        Three quarters and one quarter of the rows.
    hostile
        What it is to tensors that no training row is like.
    """

    task: Task
    spec: FeatureSpec
    objective: Objective
    train: Examples
    valid: Examples
    hostile: Mapping[str, Tensors] = field(default_factory=dict)


def cases_for(student: Student) -> list[StudentCase]:
    """The cases of the kind of column that ``student`` is made for: pictures, texts, or else tables."""
    wanted = student.reads - TABLE_KINDS or student.reads
    return [case for kind, cases in CASES.items() if kind in wanted for case in cases()]


def student_cases() -> list[StudentCase]:
    """One real table of each task, with missing values and categories."""
    return [
        _table(load_breast_cancer(return_X_y=True), "binary"),
        _table(load_wine(return_X_y=True), "multiclass"),
        _table(load_diabetes(return_X_y=True), "regression"),
    ]


def picture_cases() -> list[StudentCase]:
    """Written digits of 8 x 8 grey pixels, for each task."""
    images, digits = load_digits(return_X_y=True)
    pixels = (images * (255 / 16)).round().astype(np.uint8).reshape(-1, 8, 8, 1)[:N_PICTURES]
    digits = digits[:N_PICTURES]
    return [
        _pictures(pixels, (digits > 4).astype(np.int64), "binary"),
        _pictures(pixels, digits, "multiclass"),
        _pictures(pixels, digits.astype(np.float64), "regression"),
    ]


def text_cases() -> list[StudentCase]:
    """The rows of a table for each task, each told as a text of ten words."""
    return [
        _texts(load_breast_cancer(return_X_y=True), "binary"),
        _texts(load_wine(return_X_y=True), "multiclass"),
        _texts(load_diabetes(return_X_y=True), "regression"),
    ]


CASES: Mapping[ColumnKind, Callable[[], list[StudentCase]]] = {
    "numeric": student_cases,
    "image": picture_cases,
    "text": text_cases,
}
"""Cases by the kind of column that a family must read to be checked on them."""


def take_examples(examples: Examples, rows: NDArray[Any]) -> Examples:
    """The rows at ``rows``."""
    return Examples(
        tensors={name: tensor[rows] for name, tensor in examples.tensors.items()},
        teacher_probs=examples.teacher_probs[rows],
        labels=examples.labels[rows],
        hard_weight=examples.hard_weight[rows],
        weight=examples.weight[rows],
    )


def first_rows(tensors: Tensors, n_rows: int) -> Tensors:
    """The first ``n_rows`` rows."""
    return {name: tensor[:n_rows] for name, tensor in tensors.items()}


def make_case(
    tensors: Tensors, target: NDArray[Any], kind: TaskKind, spec: FeatureSpec, hostile: Mapping[str, Tensors]
) -> StudentCase:
    """A case of encoded rows and their targets, which a teacher is nearly sure of."""
    labels, teacher = _labels_and_teacher(target, kind)
    classes = () if kind == "regression" else tuple(range(int(target.max()) + 1))
    whole = Examples(
        tensors=tensors,
        teacher_probs=teacher,
        labels=labels,
        hard_weight=np.full(len(labels), 0.5, dtype=np.float32),
        weight=np.ones(len(labels), dtype=np.float32),
    )
    n_train = 3 * len(labels) // 4
    return StudentCase(
        task=Task(kind=kind, target="y", classes=classes),
        spec=spec,
        objective=MSE() if kind == "regression" else KD(),
        train=_withhold_labels(take_examples(whole, np.arange(n_train))),
        valid=take_examples(whole, np.arange(n_train, len(labels))),
        hostile=hostile,
    )


def no_columns(n_rows: int) -> dict[str, NDArray[Any]]:
    """The ``numeric`` and ``categorical`` tensors of rows that have neither."""
    return {
        "numeric": np.zeros((n_rows, 0), dtype=np.float32),
        "categorical": np.zeros((n_rows, 0), dtype=np.int64),
    }


def _pictures(pixels: NDArray[np.uint8], target: NDArray[Any], kind: TaskKind) -> StudentCase:
    shape = pixels.shape[1:]
    noise = np.random.default_rng(0).integers(0, 256, (5, *shape)).astype(np.uint8)
    hostile = {f"pixels all {value}": np.full((1, *shape), value, dtype=np.uint8) for value in (0, 255)}
    return make_case(
        {"pixels": pixels, **no_columns(len(pixels))},
        target,
        kind,
        FeatureSpec(image=shape),
        {
            name: {"pixels": picture, **no_columns(len(picture))}
            for name, picture in {**hostile, "noise": noise}.items()
        },
    )


def _texts(data: tuple[NDArray[Any], NDArray[Any]], kind: TaskKind) -> StudentCase:
    """Of each of ten columns the word says which it is and in which quartile; each fifth row is cut short."""
    values, target = data
    rng = np.random.default_rng(0)
    order = rng.permutation(len(values))
    values, target = values[order][:, -N_WORDS:], target[order]
    quartile = (values[:, :, None] > np.quantile(values, [0.25, 0.5, 0.75], axis=0).T).sum(axis=2)
    words = 2 + 4 * np.arange(N_WORDS) + quartile
    words[::5, -2:] = 0
    spec = FeatureSpec(
        words=_word_names(),
        pieces=("[PAD]", "[UNK]", *_word_names(), "[CLS]", "[SEP]"),
    )
    noise = rng.integers(0, 2 + 4 * N_WORDS, (5, N_WORDS))
    hostile = {"no words": np.zeros((1, N_WORDS)), "words never seen": np.ones((2, N_WORDS)), "noise": noise}
    return make_case(
        _text_tensors(words, spec),
        target,
        kind,
        spec,
        {name: _text_tensors(rows, spec) for name, rows in hostile.items()},
    )


def _word_names() -> tuple[str, ...]:
    return tuple(f"{column}{at}" for column in string.ascii_lowercase[:N_WORDS] for at in range(4))


def _text_tensors(words: NDArray[Any], spec: FeatureSpec) -> dict[str, NDArray[Any]]:
    """``words`` ``(n, T)``, and the same as ``pieces`` between the two that begin and end a text."""
    start, end = len(spec.pieces) - 2, len(spec.pieces) - 1
    pieces = np.pad(words, ((0, 0), (1, 1)))
    pieces[:, 0] = start
    pieces[np.arange(len(words)), 1 + (words != 0).sum(axis=1)] = end
    return {
        "words": words.astype(np.int32),
        "pieces": pieces.astype(np.int32),
        **no_columns(len(words)),
    }


def _table(data: tuple[NDArray[Any], NDArray[Any]], kind: TaskKind) -> StudentCase:
    values, target = data
    rng = np.random.default_rng(0)
    order = rng.permutation(len(values))
    numeric, target = values[order].astype(np.float32), target[order]
    # The last two columns become categories: quartiles, some missing.
    quartiles = np.quantile(numeric[:, -2:], [0.25, 0.5, 0.75], axis=0)
    categorical = 2 + (numeric[:, None, -2:] > quartiles).sum(axis=1).astype(np.int64)
    categorical[rng.random(categorical.shape) < 0.05] = 1
    numeric = numeric[:, :-2].copy()
    numeric[rng.random(len(numeric)) < 0.1, 0] = np.nan
    spec = FeatureSpec(
        numeric=tuple(f"x{i}" for i in range(numeric.shape[1])),
        categorical=("a", "b"),
        cardinalities=(N_LEVELS + 2, N_LEVELS + 2),
    )
    tensors = {"numeric": numeric, "categorical": categorical}
    n_train = 3 * len(target) // 4
    return make_case(
        tensors, target, kind, spec, _hostile_table({name: rows[n_train:] for name, rows in tensors.items()})
    )


def _hostile_table(rows: Tensors) -> dict[str, Tensors]:
    hostile: dict[str, Tensors] = {}
    for value in (np.nan, np.inf, -np.inf, 0.0, 3e38):
        numeric = np.full((1, rows["numeric"].shape[1]), value, dtype=np.float32)
        hostile[f"numbers all {value}"] = {**first_rows(rows, 1), "numeric": numeric}
    for level in range(N_LEVELS + 2):
        ids = np.full((3, rows["categorical"].shape[1]), level, dtype=np.int64)
        hostile[f"level id {level}"] = {**first_rows(rows, 3), "categorical": ids}
    scattered = rows["numeric"].copy()
    scattered[np.random.default_rng(1).random(scattered.shape) < 0.3] = np.nan
    hostile["a third of the numbers missing"] = {**rows, "numeric": scattered}
    return hostile


def _labels_and_teacher(target: NDArray[Any], kind: TaskKind) -> tuple[NDArray[Any], Floats]:
    """Labels, and a teacher that is nearly sure of them."""
    if kind == "regression":
        labels = (target - target.mean()) / target.std()
        return labels, 0.95 * labels[:, None].astype(np.float32)
    n_classes = int(target.max()) + 1
    certain = np.eye(n_classes, dtype=np.float32)[target]
    return target.astype(np.int64), 0.9 * certain + np.float32(0.1 / n_classes)


def _withhold_labels(train: Examples) -> Examples:
    """Every second row stands for an unlabelled one."""
    labels, hard_weight = train.labels.copy(), train.hard_weight.copy()
    labels[::2] = np.nan if labels.dtype.kind == "f" else -1
    hard_weight[::2] = 0
    return replace(train, labels=labels, hard_weight=hard_weight)
