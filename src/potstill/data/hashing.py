"""A digest of what a dataset holds, the same whichever library holds it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from potstill.data.columns import arrow_column, is_day, is_number, is_text, to_numbers, to_texts
from potstill.data.pictures import is_binary
from potstill.errors import UserError
from potstill.types import Dataset

_CHUNK_ROWS = 65_536
_EXACT = 2**53
"""From here on a float64 does not hold every whole number."""


def content_hash(dataset: Dataset) -> str:
    """SHA-256 over column names, what they hold, the values, labels, weights, groups and the task.

    The order of rows and columns counts; the library, the width of a number and how a missing value is kept
    do not. One column is looked at at a time.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    digest.update(msgspec.json.encode([dataset.task, len(dataset), dataset.rows.columns]))
    for name in dataset.rows.columns:
        for block in _blocks(_column(dataset, name), name):
            digest.update(block)
    for role, values in (("labels", dataset.labels), ("weight", dataset.weight), ("groups", dataset.groups)):
        digest.update(f"{role}:{0 if values is None else len(values)}".encode())
        if values is not None:
            for block in _blocks(pa.array(values), role):
                digest.update(block)
    return digest.hexdigest()


def _column(dataset: Dataset, name: str) -> pa.Array:
    """The values of a column; as Python writes them where they are of several kinds and so left out."""
    try:
        return arrow_column(dataset.rows, name)
    except UserError:
        return pa.array([repr(value) for value in dataset.rows[name].to_list()], pa.large_string())


def _blocks(values: pa.Array, name: str) -> Iterator[bytes]:
    """What a column holds, in a word, then its values in blocks of bytes."""
    kind = values.type
    if pa.types.is_boolean(kind) or is_number(kind) or pa.types.is_null(kind):
        yield b"boolean" if pa.types.is_boolean(kind) else b"number"
        for chunk in _chunks(values):
            yield from _number_bytes(chunk, name)
    elif is_day(kind):
        yield b"date"
        zone = getattr(kind, "tz", None)
        for chunk in _chunks(values):
            moments = chunk.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
            yield np.asarray(moments.is_null()).tobytes()
            yield moments.fill_null(0).to_numpy(zero_copy_only=False).tobytes()
    elif is_text(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        yield b"text" if is_text(kind) else b"time"
        for chunk in _chunks(values if is_text(kind) else to_texts(values, name)):
            yield from _text_bytes(chunk)
    elif is_binary(kind):
        yield b"binary"
        for chunk in _chunks(values):
            yield from _text_bytes(chunk)
    else:
        yield f"other:{kind}".encode()
        for value in values:
            yield repr(value.as_py()).encode() + b"\0"


def _chunks(values: pa.Array) -> Iterator[pa.Array]:
    for start in range(0, len(values), _CHUNK_ROWS):
        yield values.slice(start, _CHUNK_ROWS)


def _number_bytes(chunk: pa.Array, name: str) -> Iterator[bytes]:
    numbers = to_numbers(chunk, name)
    numbers = np.where(np.isnan(numbers), np.nan, numbers)
    yield numbers.astype("<f8").tobytes()
    if pa.types.is_integer(chunk.type) and (np.abs(numbers) >= _EXACT).any():
        yield from _text_bytes(chunk.cast(pa.large_string()))


def _text_bytes(chunk: pa.Array) -> Iterator[bytes]:
    texts: Any = chunk.cast(pa.large_binary()).fill_null(b"")
    yield np.asarray(chunk.is_null()).tobytes()
    yield pc.binary_length(texts).to_numpy(zero_copy_only=False).astype("<i8").tobytes()
    offsets = np.frombuffer(texts.buffers()[1], dtype="<i8")[texts.offset : texts.offset + len(texts) + 1]
    data = texts.buffers()[2]
    yield memoryview(data)[offsets[0] : offsets[-1]].tobytes() if data is not None else b""
