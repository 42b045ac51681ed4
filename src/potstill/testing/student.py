"""What every family of students must hold to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from potstill.graph import GraphBuilder
from potstill.testing.student_cases import CASES, StudentCase, cases_for, first_rows, take_examples
from potstill.types import Examples, FittedStudent, Student, Tensors

TOLERANCE = 1e-4
BETTER_THAN_PRIOR = 0.75


def check_student(student: Student) -> None:
    """Check a family of students against the contract of `potstill.types.Student`.

    On binary, multiclass and regression rows of the kinds it reads: it learns; it fits again from an effort;
    it fits the twin without looking at the teacher; the same seed gives the same student; its ONNX nodes
    answer as it does, for hostile rows (missing values, infinities, unseen levels, noise), one row and none;
    `resized` turns its capacity.

    Parameters
    ----------
    student
        The family, with any hyper-parameters; small ones are checked faster.

    Raises
    ------
    AssertionError
        The family breaks the contract; the message says where.
    """
    cases = cases_for(student)
    assert cases, (
        f"{student.name} reads none of the kinds {', '.join(CASES)}: there is nothing to check it on"
    )
    for case in cases:
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

    _check_resized(student, cases[0])


def _check_resized(student: Student, case: StudentCase) -> None:
    sizes = [student.size * factor for factor in (0.25, 1.0, 4.0)]
    fitted = [_fit(student.resized(size), case, case.train, None)[0] for size in sizes]
    capacities = [small.n_parameters for small in fitted]
    grows = capacities[0] < capacities[1] < capacities[2]
    assert grows, f"{student.name}: sizes {sizes} gave {capacities} parameters"


def check_onnx_parity(fitted: FittedStudent, case: StudentCase) -> None:
    """Assert that the student's nodes answer as `logits` does, for hostile rows too."""
    for where, tensors in case.hostile.items():
        check_same_answers(fitted, case, tensors, where)
    rows = case.valid.tensors
    check_same_answers(fitted, case, rows, "all rows")
    check_same_answers(fitted, case, first_rows(rows, 1), "one row")
    check_same_answers(fitted, case, first_rows(rows, 0), "no rows")


def check_same_answers(fitted: FittedStudent, case: StudentCase, tensors: Tensors, where: str) -> None:
    """Assert that ONNX Runtime and `logits` agree on ``tensors``."""
    own = fitted.logits(tensors)
    n_rows = len(next(iter(tensors.values())))
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
    feeds = {name: _spelled(tensor, case) if name == "words" else tensor for name, tensor in tensors.items()}
    names = {
        name: graph.input(name, onnx.helper.np_dtype_to_tensor_dtype(tensor.dtype), ["n", *tensor.shape[1:]])
        for name, tensor in feeds.items()
    }
    result = fitted.build(graph, names)
    graph.output(result, "logits", TensorProto.FLOAT, ["n", case.task.n_outputs])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    answers: NDArray[Any] = session.run(None, feeds)[0]
    return answers


def _spelled(ids: NDArray[Any], case: StudentCase) -> NDArray[Any]:
    """Words as graphs have them, ``(n, T)`` str."""
    words: NDArray[Any] = np.array(["", "never seen", *case.spec.words], dtype=object)[ids]
    return words


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
    labelled = take_examples(case.train, np.flatnonzero(known))
    return replace(labelled, hard_weight=np.ones(len(labelled), dtype=np.float32))


def _is_labelled(examples: Examples) -> NDArray[np.bool_]:
    labels = examples.labels
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0
