"""Digests of rows and datasets: what stored answers are keyed by."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from potstill.types import Dataset

_SLICE_ROWS = 65_536


def digest(*parts: object) -> str:
    """Hex digest of the texts of ``parts``, in order."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()


def hash_dataset(dataset: Dataset) -> str:
    """Hex digest of all that a teacher may look at: rows, task, schema, labels, weights and ids.

    It depends on values and column types, not on how the frame lies in memory.
    """
    hasher = hashlib.sha256(msgspec.json.encode((dataset.task, dataset.schema, dataset.from_array)))
    for start in range(0, max(len(dataset), 1), _SLICE_ROWS):
        hasher.update(hash_table(_to_arrow(dataset.rows[start : start + _SLICE_ROWS, :])).encode())
    for values in (dataset.labels, dataset.weight, dataset.ids):
        hasher.update(b"none" if values is None else hash_array(values).encode())
    return hasher.hexdigest()


def hash_array(values: NDArray[Any]) -> str:
    """Hex digest of an array's dtype, shape and bytes."""
    hasher = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    hasher.update(np.ascontiguousarray(values).data)
    return hasher.hexdigest()


def hash_table(table: pa.Table) -> str:
    """Hex digest of an Arrow table's types and values, however it is cut into chunks."""
    sink = pa.BufferOutputStream()
    schema = table.schema.remove_metadata()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table.cast(schema).combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _to_arrow(rows: nw.DataFrame[Any]) -> pa.Table:
    try:
        return rows.to_arrow().select(rows.columns)  # without the index pandas adds
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # A pandas column of mixed objects has no Arrow type.
        columns = {name: [repr(value) for value in rows[name].to_list()] for name in rows.columns}
        return pa.table(columns)
