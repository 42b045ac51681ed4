"""What every family of students must hold to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from potstill.graph import GraphBuilder
from potstill.objectives import KD, MSE
from potstill.types import Examples, FeatureSpec, FittedStudent, Floats, Objective, Student, Task, Tensors

TOLERANCE = 1e-4
N_LEVELS = 4
BETTER_THAN_PRIOR = 0.75


@dataclass(frozen=True)
class StudentCase:
    """A real table, encoded, with missing values and categories; half of its training labels are withheld.

    Parameters
    ----------
    task, spec, objective
        What is learnt, from what shape of tensors, with what loss.
    train, valid
        Three quarters and one quarter of the rows.
    """

    task: Task
    spec: FeatureSpec
    objective: Objective
    train: Examples
    valid: Examples


def check_student(student: Student) -> None:
    """Check a family of students against the contract of `potstill.types.Student`.

    On a binary, a multiclass and a regression table: it learns; it fits again from an effort; it fits the
    twin without looking at the teacher; the same seed gives the same student; its ONNX nodes answer as it
    does, for missing values, infinities, unseen levels, one row and none; `resized` turns its capacity.

    Parameters
    ----------
    student
        The family, with any hyper-parameters; small ones are checked faster.

    Raises
    ------
    AssertionError
        The family breaks the contract; the message says where.
    """
    for case in student_cases():
        fitted, effort = _fit(student, case, case.train, case.valid)
        where = f"{student.name}, {case.task.kind}"
        assert effort >= 1, f"{where}: an effort of {effort} was reported"
        loss, prior = label_loss(fitted, case.valid), prior_loss(case)
        assert loss < BETTER_THAN_PRIOR * prior, (
            f"{where}: a loss of {loss:.3f} where the prior has {prior:.3f}"
        )
        check_onnx_parity(fitted, case)

        effort = min(effort, 10)
        refitted, spent = _fit(student, case, case.train, None, effort)
        assert spent == effort, f"{where}: an effort of {effort} was wanted, {spent} was spent"
        again, _ = _fit(student, case, case.train, None, effort)
        same = np.array_equal(refitted.logits(case.valid.tensors), again.logits(case.valid.tensors))
        assert same, f"{where}: the same seed gave another student"

        untaught = replace(_twin(case), teacher_probs=np.full_like(_twin(case).teacher_probs, np.nan))
        twin, _ = _fit(student, case, untaught, None, effort)
        assert np.isfinite(twin.logits(case.valid.tensors)).all(), f"{where}: the twin looked at the teacher"

    _check_resized(student, student_cases()[0])


def _check_resized(student: Student, case: StudentCase) -> None:
    sizes = [student.size * factor for factor in (0.25, 1.0, 4.0)]
    fitted = [_fit(student.resized(size), case, case.train, None)[0] for size in sizes]
    capacities = [small.n_parameters for small in fitted]
    grows = capacities[0] < capacities[1] < capacities[2]
    assert grows, f"{student.name}: sizes {sizes} gave {capacities} parameters"


def student_cases() -> list[StudentCase]:
    """One real table of each task."""
    return [
        _case(load_breast_cancer(return_X_y=True), "binary"),
        _case(load_wine(return_X_y=True), "multiclass"),
        _case(load_diabetes(return_X_y=True), "regression"),
    ]


def check_onnx_parity(fitted: FittedStudent, case: StudentCase) -> None:
    """Assert that the student's nodes answer as `logits` does, for hostile rows too."""
    rows = case.valid.tensors
    whole = np.concatenate([case.train.tensors["numeric"], rows["numeric"]])
    for value in (np.nan, np.inf, -np.inf, 0.0, 3e38):
        hostile = np.full((1, whole.shape[1]), value, dtype=np.float32)
        check_same_answers(fitted, case, {**_first(rows, 1), "numeric": hostile}, f"numbers all {value}")
    for level in range(N_LEVELS + 2):
        ids = np.full((3, rows["categorical"].shape[1]), level, dtype=np.int64)
        check_same_answers(fitted, case, {**_first(rows, 3), "categorical": ids}, f"level id {level}")
    scattered = rows["numeric"].copy()
    scattered[np.random.default_rng(1).random(scattered.shape) < 0.3] = np.nan
    check_same_answers(fitted, case, {**rows, "numeric": scattered}, "a third of the numbers missing")
    check_same_answers(fitted, case, rows, "all rows")
    check_same_answers(fitted, case, _first(rows, 1), "one row")
    check_same_answers(fitted, case, _first(rows, 0), "no rows")


def check_same_answers(fitted: FittedStudent, case: StudentCase, tensors: Tensors, where: str) -> None:
    """Assert that ONNX Runtime and `logits` agree on ``tensors``."""
    own = fitted.logits(tensors)
    n_rows = len(tensors["numeric"])
    wanted = (n_rows, case.task.n_outputs)
    assert own.dtype == np.float32, f"logits: float32 wanted, got {own.dtype} ({where})"
    assert own.shape == wanted, f"logits: shape {wanted} wanted, got {own.shape} ({where})"
    assert np.isfinite(own).all(), f"logits are not finite ({where})"
    exported = run_in_onnxruntime(fitted, case, tensors)
    assert exported.shape == own.shape, f"ONNX: shape {own.shape} wanted, got {exported.shape} ({where})"
    scale = 1 + np.abs(own).max(initial=0)
    difference = np.abs(exported - own).max(initial=0)
    assert difference <= TOLERANCE * scale, f"ONNX differs from logits by {difference:.2e} ({where})"


def run_in_onnxruntime(fitted: FittedStudent, case: StudentCase, tensors: Tensors) -> NDArray[Any]:
    """The answers of the student's nodes alone, ``(n, K)``."""
    graph = GraphBuilder()
    names = {
        "numeric": graph.input("numeric", TensorProto.FLOAT, ["n", len(case.spec.numeric)]),
        "categorical": graph.input("categorical", TensorProto.INT64, ["n", len(case.spec.categorical)]),
    }
    result = fitted.build(graph, names)
    graph.output(result, "logits", TensorProto.FLOAT, ["n", case.task.n_outputs])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    answers: NDArray[Any] = session.run(None, dict(tensors))[0]
    return answers


def label_loss(fitted: FittedStudent, examples: Examples) -> float:
    """Mean log-loss, or squared error, of the labels."""
    return _loss(fitted.logits(examples.tensors), examples)


def prior_loss(case: StudentCase) -> float:
    """The loss of always answering what is most often right."""
    known = _is_labelled(case.train)
    labels = case.train.labels[known]
    if not case.task.is_classification:
        answer = np.array([labels.mean()])
    else:
        answer = np.log(np.bincount(labels.astype(np.int64)) / len(labels))
    return _loss(np.tile(answer, (len(case.valid), 1)), case.valid)


def _loss(logits: NDArray[Any], examples: Examples) -> float:
    labels = examples.labels
    if labels.dtype.kind == "f":
        return float(np.square(logits[:, 0] - labels).mean())
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_probs[np.arange(len(labels)), labels.astype(np.int64)].mean())


def _fit(
    student: Student, case: StudentCase, train: Examples, valid: Examples | None, effort: int | None = None
) -> tuple[FittedStudent, int]:
    return student.fit(
        train, valid, spec=case.spec, task=case.task, objective=case.objective, seed=3, effort=effort
    )


def _twin(case: StudentCase) -> Examples:
    """The labelled rows, labels alone."""
    known = _is_labelled(case.train)
    labelled = _take(case.train, np.flatnonzero(known))
    return replace(labelled, hard_weight=np.ones(len(labelled), dtype=np.float32))


def _case(data: tuple[NDArray[Any], NDArray[Any]], kind: Any) -> StudentCase:
    values, target = data
    rng = np.random.default_rng(0)
    order = rng.permutation(len(values))
    numeric, target = values[order].astype(np.float32), target[order]
    # The last two columns become categories: quartiles, some missing.
    quartiles = np.quantile(numeric[:, -2:], [0.25, 0.5, 0.75], axis=0)
    categorical = 2 + (numeric[:, None, -2:] > quartiles).sum(axis=1)
    categorical[rng.random(categorical.shape) < 0.05] = 1
    numeric = numeric[:, :-2].copy()
    numeric[rng.random(len(numeric)) < 0.1, 0] = np.nan
    labels, teacher = _labels_and_teacher(target, kind)
    spec = FeatureSpec(
        numeric=tuple(f"x{i}" for i in range(numeric.shape[1])),
        categorical=("a", "b"),
        cardinalities=(N_LEVELS + 2, N_LEVELS + 2),
    )
    classes = () if kind == "regression" else tuple(range(int(target.max()) + 1))
    whole = Examples(
        tensors={"numeric": numeric, "categorical": categorical.astype(np.int64)},
        teacher_probs=teacher,
        labels=labels,
        hard_weight=np.full(len(labels), 0.5, dtype=np.float32),
        weight=np.ones(len(labels), dtype=np.float32),
    )
    n_train = 3 * len(labels) // 4
    train = _take(whole, np.arange(n_train))
    return StudentCase(
        task=Task(kind=kind, target="y", classes=classes),
        spec=spec,
        objective=MSE() if kind == "regression" else KD(),
        train=_withhold_labels(train),
        valid=_take(whole, np.arange(n_train, len(labels))),
    )


def _labels_and_teacher(target: NDArray[Any], kind: str) -> tuple[NDArray[Any], Floats]:
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


def _is_labelled(examples: Examples) -> NDArray[np.bool_]:
    labels = examples.labels
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0


def _take(examples: Examples, rows: NDArray[Any]) -> Examples:
    return Examples(
        tensors={name: tensor[rows] for name, tensor in examples.tensors.items()},
        teacher_probs=examples.teacher_probs[rows],
        labels=examples.labels[rows],
        hard_weight=examples.hard_weight[rows],
        weight=examples.weight[rows],
    )


def _first(tensors: Tensors, n_rows: int) -> Mapping[str, NDArray[Any]]:
    return {name: tensor[:n_rows] for name, tensor in tensors.items()}
