"""Tensors of the Open Inference Protocol to the columns a model takes, and its answers to tensors.

A model has one input for each column, of shape ``[n]`` or ``[n, 1]`` (pictures: ``[n, height, width,
channels]``, or ``[n]`` of BYTES, each a file), and says of every row its label and the
probabilities of the classes (``[n, K]``), or a value. Where all columns are numbers, one tensor of shape
``[n, F]``, whatever its name, may hold them side by side in the schema's order.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from potstill.artifact import Model
from potstill.artifact.columns import Feeds, convert_column
from potstill.artifact.pictures import is_picture_file
from potstill.errors import UserError
from potstill.server.errors import bad_request, refused
from potstill.types import Column, Floats, Label

DTYPES: Mapping[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
"""Datatypes of fixed width; ``BYTES`` beside them is text."""

COLUMN_DATATYPES: Mapping[str, str] = {
    "numeric": "FP32",
    "boolean": "BOOL",
    "categorical": "BYTES",
    "date": "BYTES",
    "text": "BYTES",
    "image": "UINT8",
}
"""Kind of column to the datatype its metadata names; others that can be converted are taken too."""


class Tensor(NamedTuple):
    """A named tensor.

    Parameters
    ----------
    name, datatype, shape
        As the protocol has them.
    values
        The values flat: a numpy array, or a list of Python values in which None is missing.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[Any] | list[Any]


def tensor_of_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> Tensor:
    """A tensor whose values came as JSON, flat or nested.

    Raises
    ------
    RequestError
        The datatype is unknown, or the values are not as many as the shape says.
    """
    known = _known(name, datatype, shape)
    if not isinstance(data, list):
        raise bad_request(f"Input {name!r} has no list of data, and no bytes behind the JSON.")
    values = list(_flat(data, len(known))) if list in set(map(type, data)) else data
    _check_count(name, known, len(values))
    return Tensor(name, datatype, known, values)


def tensor_of_bytes(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> Tensor:
    """A tensor whose values came as bytes: little-endian, text with its length before it.

    Raises
    ------
    RequestError
        The datatype is unknown, or the bytes are not as many as the shape says.
    """
    known = _known(name, datatype, shape)
    if datatype == "BYTES":
        texts = _texts_of_bytes(name, bytes(raw), math.prod(known))
        _check_count(name, known, len(texts))
        return Tensor(name, datatype, known, texts)
    dtype = np.dtype(DTYPES[datatype]).newbyteorder("<")
    if len(raw) != dtype.itemsize * math.prod(known):
        raise bad_request(
            f"Input {name!r} of shape {list(known)} and datatype {datatype} takes "
            f"{dtype.itemsize * math.prod(known)} bytes; got {len(raw)}."
        )
    return Tensor(name, datatype, known, np.frombuffer(raw, dtype))


def rows_of_tensors(tensors: Sequence[Tensor], model: Model) -> Feeds:
    """The graph's inputs for the rows that some tensors hold.

    Raises
    ------
    RequestError
        A column is absent, named twice, of another length than the others, or of a wrong type.
    """
    columns = model.schema.columns
    by_name = {tensor.name: tensor for tensor in tensors}
    if len(by_name) != len(tensors):
        raise bad_request("Every input may be there once; one is named twice.")
    table = _as_table(tensors, columns)
    if table is not None:
        return table
    absent = [column.name for column in columns if column.name not in by_name]
    if absent:
        raise bad_request(f"{_inputs(absent)} missing; the model takes one input for each of its columns.")
    unknown = sorted(by_name.keys() - {column.name for column in columns})
    if unknown:
        raise bad_request(f"{_inputs(unknown)} not known to the model.")
    lengths = {name: _rows(tensor) for name, tensor in by_name.items()}
    if len(set(lengths.values())) > 1:
        raise bad_request(f"The inputs have different numbers of rows: {sorted(set(lengths.values()))}.")
    try:
        return {
            column.name: convert_column(_column_values(by_name[column.name]), column) for column in columns
        }
    except UserError as error:
        raise refused(error) from None


def _column_values(tensor: Tensor) -> NDArray[Any] | list[Any]:
    """The values of a tensor, one for each row: those of a picture in its shape."""
    if len(tensor.shape) < 3:
        return tensor.values
    return np.asarray(tensor.values).reshape(tensor.shape)


def row_of_tensors(tensors: Sequence[Tensor], model: Model) -> dict[str, Any] | None:
    """The one row that some tensors hold, as `Model.predict_one` takes it.

    None where they hold another number of rows, or are not the model's columns; `rows_of_tensors` says then
    what is wrong.
    """
    row: dict[str, Any] = {}
    for tensor in tensors:
        if len(tensor.values) != 1 or len(tensor.shape) > 2:
            return None
        row[tensor.name] = tensor.values[0] if isinstance(tensor.values, list) else tensor.values.item()
    return row if len(row) == len(tensors) and row.keys() == set(model.schema.names) else None


def answer_tensors(model: Model, outputs: Floats) -> list[Tensor]:
    """What the model says of each row, for the ``(n, K)`` outputs of its graph."""
    n_rows = len(outputs)
    if not model.task.is_classification:
        return [Tensor("value", "FP32", (n_rows,), np.ascontiguousarray(outputs[:, 0]))]
    labels = [model.classes[position] for position in outputs.argmax(axis=1)] if n_rows else []
    told = Tensor("label", label_datatype(model.classes), (n_rows,), labels)
    probabilities = np.ascontiguousarray(outputs)
    return [told, Tensor("probabilities", "FP32", outputs.shape, probabilities.reshape(-1))]


def label_datatype(classes: Sequence[Label]) -> str:
    """The datatype of the labels: numbers and booleans as they are, all else as text."""
    if all(isinstance(label, bool) for label in classes):
        return "BOOL"
    if all(isinstance(label, int) and not isinstance(label, bool) for label in classes):
        return "INT64"
    return "BYTES"


def json_values(tensor: Tensor) -> list[Any]:
    """A tensor's values as JSON has them, flat."""
    values = tensor.values.tolist() if isinstance(tensor.values, np.ndarray) else tensor.values
    return [str(value) for value in values] if tensor.datatype == "BYTES" else values


def raw_values(tensor: Tensor) -> bytes:
    """A tensor's values as bytes; the inverse of `tensor_of_bytes`."""
    if tensor.datatype == "BYTES":
        encoded = [str(value).encode() for value in tensor.values]
        return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    dtype = np.dtype(DTYPES[tensor.datatype]).newbyteorder("<")
    return np.asarray(tensor.values, dtype=dtype).tobytes()


def input_metadata(model: Model) -> list[dict[str, Any]]:
    """Name, datatype and shape of every input."""
    return [
        {
            "name": column.name,
            "datatype": COLUMN_DATATYPES[column.kind],
            "shape": [-1, -1, -1, column.shape[2]] if column.shape else [-1],
        }
        for column in model.schema.columns
    ]


def output_metadata(model: Model) -> list[dict[str, Any]]:
    """Name, datatype and shape of every output."""
    if not model.task.is_classification:
        return [{"name": "value", "datatype": "FP32", "shape": [-1]}]
    return [
        {"name": "label", "datatype": label_datatype(model.classes), "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(model.classes)]},
    ]


def _known(name: str, datatype: str, shape: Sequence[int]) -> tuple[int, ...]:
    if datatype != "BYTES" and datatype not in DTYPES:
        raise bad_request(
            f"Input {name!r} has datatype {datatype!r}; known are {', '.join([*DTYPES, 'BYTES'])}."
        )
    if not 1 <= len(shape) <= 4 or min(shape) < 0:
        raise bad_request(
            f"Input {name!r} has shape {list(shape)}; wanted [rows], [rows, columns], or for "
            "pictures [rows, height, width, channels]."
        )
    return tuple(shape)


def _flat(data: list[Any], depth: int) -> Any:
    for value in data:
        if isinstance(value, list):
            if depth < 2:
                raise bad_request("The data of an input are nested deeper than its shape.")
            yield from _flat(value, depth - 1)
        else:
            yield value


def _check_count(name: str, shape: tuple[int, ...], got: int) -> None:
    if math.prod(shape) != got:
        raise bad_request(
            f"Input {name!r} of shape {list(shape)} takes {math.prod(shape)} values; got {got}."
        )


def text_or_file(name: str, value: bytes) -> str | bytes:
    """A value of BYTES: text, or the file of a picture, which stays the bytes it is.

    Raises
    ------
    RequestError
        It is neither.
    """
    try:
        return value if is_picture_file(value) else value.decode()
    except UnicodeDecodeError:
        raise bad_request(f"Input {name!r} holds text that is not UTF-8.") from None


def _texts_of_bytes(name: str, raw: bytes, wanted: int) -> list[str | bytes]:
    texts: list[str | bytes] = []
    at = 0
    while at < len(raw) and len(texts) <= wanted:
        (length,) = struct.unpack_from("<I", raw, at) if at + 4 <= len(raw) else (len(raw),)
        if at + 4 + length > len(raw):
            raise bad_request(f"The bytes of input {name!r} end in the middle of a text.")
        texts.append(text_or_file(name, raw[at + 4 : at + 4 + length]))
        at += 4 + length
    return texts


def _as_table(tensors: Sequence[Tensor], columns: Sequence[Column]) -> Feeds | None:
    """The columns of the one tensor that holds them all; None where the tensors are columns themselves."""
    if len(tensors) != 1 or len(tensors[0].shape) != 2:
        return None
    only = tensors[0]
    if only.shape[1] == 1 and only.name in {column.name for column in columns}:
        return None
    if any(column.kind not in ("numeric", "boolean") for column in columns):
        raise bad_request("The model has columns that are no numbers: give one input for each column.")
    if only.shape[1] != len(columns):
        raise bad_request(f"Input {only.name!r} has {only.shape[1]} columns; the model takes {len(columns)}.")
    n_rows, width = only.shape
    try:
        return {
            column.name: convert_column(only.values[at::width] if n_rows else [], column)
            for at, column in enumerate(columns)
        }
    except UserError as error:
        raise refused(error) from None


def _rows(tensor: Tensor) -> int:
    if len(tensor.shape) == 3 or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
        raise bad_request(f"Input {tensor.name!r} has shape {list(tensor.shape)}; wanted [rows].")
    return tensor.shape[0]


def _inputs(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5]) + (" and more" if len(names) > 5 else "")
    return f"Input {shown} is" if len(names) == 1 else f"Inputs {shown} are"
