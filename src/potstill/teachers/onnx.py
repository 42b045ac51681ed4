"""ONNX models, asked through ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from potstill.errors import UserError
from potstill.teachers.adapter import extension, packages, path_of
from potstill.teachers.answers import checked, speaking_for
from potstill.teachers.classes import translated
from potstill.teachers.digests import digest
from potstill.teachers.rows import matrix, model_columns, select
from potstill.types import Dataset, Floats, Task, Teacher, Trainable

_VERSION = "1"
_NUMBERS: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True, eq=False)
class OnnxTeacher:
    """An ONNX model that takes one matrix, or one input for each column by its name.

    The matrix has all columns of the rows or the schema's, whichever has its width; the schema's if it has
    none.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    session
        The ``onnxruntime.InferenceSession``.
    output
        Name of the output with the answers.
    labels
        The classes behind the columns of that output; None: the task's classes in order.
    batch_rows
        Rows in one call.
    """

    name: str
    fingerprint: str
    session: Any
    output: str
    labels: tuple[Any, ...] | None = None
    batch_rows: int = 16384

    def predict(self, dataset: Dataset) -> Floats:
        feeds = self._feeds(dataset)
        values: list[Any] = []
        labels = self.labels
        for start in range(0, len(dataset), self.batch_rows):
            batch = {name: value[start : start + self.batch_rows] for name, value in feeds.items()}
            with speaking_for(self.name, "answer the rows"):
                (answers,) = self.session.run([self.output], batch)
            if isinstance(answers, list):
                # A ZipMap: one dictionary of class to probability for each row.
                labels = labels or tuple(answers[0])
                answers = [[row[label] for label in labels] for row in answers]
            values.append(np.asarray(answers))
        joined = np.concatenate(values) if values else np.empty((0, dataset.task.n_outputs))
        return checked(joined, task=dataset.task, n_rows=len(dataset), teacher=self.name, labels=labels)

    def _feeds(self, dataset: Dataset) -> dict[str, NDArray[Any]]:
        inputs = self.session.get_inputs()
        if len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].shape[1] != 1:
            width = inputs[0].shape[1]
            known = isinstance(width, int)
            chosen = select(dataset, None, self.name, n_columns=width) if known else model_columns(dataset)
            return {inputs[0].name: matrix(chosen, self.name).astype(self._number_type(inputs[0]))}
        chosen = select(dataset, [entry.name for entry in inputs], self.name)
        return {entry.name: self._column(chosen, entry) for entry in inputs}

    def _column(self, dataset: Dataset, entry: Any) -> NDArray[Any]:
        column = dataset.rows[entry.name]
        if entry.type == "tensor(string)":
            texts = ["" if value is None or value != value else str(value) for value in column.to_list()]  # noqa: PLR0124
            values: NDArray[Any] = np.asarray(texts, dtype=object)
        else:
            with speaking_for(self.name, f"take column {entry.name!r} as {entry.type}"):
                values = column.cast(nw.Float64).to_numpy().astype(self._number_type(entry))
        return values[:, None] if len(entry.shape) == 2 else values

    def _number_type(self, entry: Any) -> Any:
        if entry.type not in _NUMBERS:
            raise UserError(
                f"Teacher {self.name!r} has an input {entry.name!r} of type {entry.type}: wanted one of "
                f"{', '.join(_NUMBERS)} or tensor(string)."
            )
        return _NUMBERS[entry.type]


class OnnxAdapter:
    """Adapter of ``.onnx`` files, of their bytes, and of ``onnx.ModelProto``."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        return (
            extension(source) == ".onnx" or isinstance(source, bytes) or type(source).__name__ == "ModelProto"
        )

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:  # noqa: ARG003
        import onnxruntime

        path = path_of(source)
        name = name or ("onnx" if path is None else path.stem)
        data = _bytes_of(source)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        with speaking_for(name, "be read as an ONNX model"):
            # A path lets the runtime find weights that are kept in files beside it.
            session = onnxruntime.InferenceSession(
                data if path is None else str(path), options, providers=["CPUExecutionProvider"]
            )
        output = _answers(session.get_outputs(), task, name)
        labels = _class_labels(data) if task.is_classification and output.type.startswith("tensor") else None
        if labels is not None:
            labels = translated(labels, task, name)
        return OnnxTeacher(name, digest("onnx", _VERSION, data), session, output.name, labels)


def _bytes_of(source: Any) -> bytes:
    path = path_of(source)
    if path is not None:
        return path.read_bytes()
    return (
        source if "onnx" not in packages(source) and isinstance(source, bytes) else source.SerializeToString()
    )


def _answers(outputs: Sequence[Any], task: Task, name: str) -> Any:
    """The output that holds the answers: a ZipMap, or the floats that fit best by name and width."""
    zipmaps = [output for output in outputs if output.type.startswith("seq(map(")]
    if zipmaps and task.is_classification:
        return zipmaps[0]
    floats = [output for output in outputs if output.type in {"tensor(float)", "tensor(double)"}]
    if not floats:
        raise UserError(
            f"Teacher {name!r} has no output of probabilities: wanted a float tensor, got "
            f"{', '.join(f'{output.name} ({output.type})' for output in outputs)}."
        )
    return max(
        floats, key=lambda output: ("prob" in output.name.lower(), _fits(output.shape, task.n_outputs))
    )


def _fits(shape: Sequence[Any], n_outputs: int) -> bool:
    return len(shape) == 2 and shape[1] == n_outputs


def _class_labels(data: bytes) -> tuple[Any, ...] | None:
    """The labels a classifier node of the ai.onnx.ml domain carries, in the order of its columns."""
    import onnx

    for node in onnx.load_model_from_string(data).graph.node:
        for attribute in node.attribute:
            if attribute.name in {"classlabels_strings", "classlabels_ints", "classlabels_int64s"}:
                labels = onnx.helper.get_attribute_value(attribute)
                return tuple(label.decode() if isinstance(label, bytes) else int(label) for label in labels)
    return None
