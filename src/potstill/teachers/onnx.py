"""ONNX models, asked through ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from potstill.artifact import Model, load
from potstill.artifact.envelope import CARD_KEY
from potstill.errors import UserError
from potstill.teachers.adapter import extension, packages, path_of
from potstill.teachers.answers import are_probabilities, checked, sigmoid, softmax, speaking_for
from potstill.teachers.artifact import artifact_teacher
from potstill.teachers.classes import translated
from potstill.teachers.digests import digest
from potstill.teachers.pixels import PICTURES_AT_ONCE, Pixels, answers_to_pictures, is_of_pictures
from potstill.teachers.rows import matrix, model_columns, select
from potstill.types import Dataset, Doubles, Floats, Task, Teacher, Trainable

_VERSION = "1"
_NUMBERS: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_PIXELS = ("tensor(uint8)", "tensor(float)", "tensor(double)")
_CHANNELS = (1, 3)


@dataclass(frozen=True, eq=False)
class OnnxTeacher:
    """An ONNX model that takes one matrix, one batch of pictures, or one input for each column by its name.

    The matrix has all columns of the rows or the schema's, whichever has its width; the schema's if it has
    none. Pictures are an input of four axes, ``(n, C, H, W)`` or ``(n, H, W, C)``, uint8 as they are or
    floats from 0 to 1; they are resized where it says how high and wide they must be. What it answers to them
    may be logits: K outputs are probabilities if they lie within [0, 1] and sum to 1 in every row.

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
        if is_of_pictures(dataset):
            values = self._of_pictures(dataset)
            if dataset.task.is_classification:
                values = _probabilities(values)
            return checked(
                values, task=dataset.task, n_rows=len(dataset), teacher=self.name, labels=self.labels
            )
        return self._of_columns(dataset)

    def _of_pictures(self, dataset: Dataset) -> NDArray[Any]:
        entry = self._entry_for_pictures()
        last = entry.shape[3] in _CHANNELS and entry.shape[1] not in _CHANNELS
        sizes = entry.shape[1:3] if last else entry.shape[2:]
        channels = entry.shape[3 if last else 1]

        def ask(pixels: Pixels) -> NDArray[Any]:
            given: NDArray[Any] = pixels if last else pixels.transpose(0, 3, 1, 2)
            if entry.type != "tensor(uint8)":
                given = given.astype(self._number_type(entry)) / 255
            (answers,) = self.session.run([self.output], {entry.name: np.ascontiguousarray(given)})
            return np.asarray(answers)

        with speaking_for(self.name, "answer the pictures"):
            return answers_to_pictures(
                dataset,
                ask,
                channels=channels if channels in _CHANNELS else None,
                size=(sizes[0], sizes[1]) if all(isinstance(size, int) for size in sizes) else None,
                at_once=1 if entry.shape[0] == 1 else PICTURES_AT_ONCE,
            )

    def _entry_for_pictures(self) -> Any:
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _PIXELS:
            described = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in inputs)
            raise UserError(
                f"Teacher {self.name!r} takes {described}: wanted, for pictures, one input of four axes, "
                "(n, C, H, W) or (n, H, W, C), of floats or uint8.",
                hint="Hand over a function of the rows that decodes the pictures and calls the model.",
            )
        return inputs[0]

    def _of_columns(self, dataset: Dataset) -> Floats:
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
        columns = model_columns(dataset)
        if len(inputs) == 1 and inputs[0].type == "tensor(string)" and len(columns.rows.columns) == 1:
            return {inputs[0].name: self._column(columns, inputs[0], columns.rows.columns[0])}
        chosen = select(dataset, [entry.name for entry in inputs], self.name)
        return {entry.name: self._column(chosen, entry, entry.name) for entry in inputs}

    def _column(self, dataset: Dataset, entry: Any, name: str) -> NDArray[Any]:
        column = dataset.rows[name]
        if entry.type == "tensor(string)":
            texts = ["" if value is None or value != value else str(value) for value in column.to_list()]  # noqa: PLR0124
            values: NDArray[Any] = np.asarray(texts, dtype=object)
        else:
            with speaking_for(self.name, f"take column {name!r} as {entry.type}"):
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
    """Adapter of ``.onnx`` files, of their bytes, of ``onnx.ModelProto``, and of artifacts, loaded or not."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        is_model = isinstance(source, bytes | Model) or type(source).__name__ == "ModelProto"
        return is_model or extension(source) == ".onnx"

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:  # noqa: ARG003
        import onnxruntime

        if isinstance(source, Model):
            return artifact_teacher(source, name)
        path = path_of(source)
        data = _bytes_of(source)
        parsed = _parsed(data)
        if any(entry.key == CARD_KEY for entry in parsed.metadata_props):
            return artifact_teacher(
                load(data if path is None else path), name or (path.stem if path else None)
            )
        name = name or ("onnx" if path is None else path.stem)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        with speaking_for(name, "be read as an ONNX model"):
            # A path lets the runtime find weights that are kept in files beside it.
            session = onnxruntime.InferenceSession(
                data if path is None else str(path), options, providers=["CPUExecutionProvider"]
            )
        output = _answers(session.get_outputs(), task, name)
        labels = (
            _class_labels(parsed) if task.is_classification and output.type.startswith("tensor") else None
        )
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


def _probabilities(values: Doubles) -> Doubles:
    """Probabilities as they are; of logits ``(n, K)``, or of the second class's, what they stand for."""
    if values.ndim == 1 or values.shape[1] == 1:
        return values if ((values >= 0) & (values <= 1)).all() else sigmoid(values)
    return values if are_probabilities(values) else softmax(values)


def _parsed(data: bytes) -> Any:
    """The model; an empty one of bytes that are none, which the runtime then refuses in its own words."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load_model_from_string(data)
    except DecodeError:
        return onnx.ModelProto()


def _class_labels(model: Any) -> tuple[Any, ...] | None:
    """The labels a classifier node of the ai.onnx.ml domain carries, in the order of its columns."""
    import onnx

    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in {"classlabels_strings", "classlabels_ints", "classlabels_int64s"}:
                labels = onnx.helper.get_attribute_value(attribute)
                return tuple(label.decode() if isinstance(label, bytes) else int(label) for label in labels)
    return None
