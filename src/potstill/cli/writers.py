"""Columns to a file or stdout, a chunk at a time: CSV, JSON Lines, Parquet."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.artifact.values import to_text
from potstill.errors import UserError

Columns: TypeAlias = Mapping[str, Sequence[Any] | NDArray[Any]]
Write: TypeAlias = Callable[[Columns], None]
Writer: TypeAlias = Callable[[Path | None, Sequence[str]], AbstractContextManager[Write]]
"""Opens a file (None: stdout) for columns of the given names; yields what appends rows to it."""


def writer_for(path: Path | None, *, as_json: bool) -> Writer:
    """What writes the format that the extension of ``path`` names; for stdout CSV, or JSON Lines.

    Raises
    ------
    UserError
        No format has that extension, or it needs a package that is not installed.
    """
    if path is None:
        return json_lines if as_json else csv_rows
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise UserError(
            f"{path} has an extension that cannot be written; these can: {', '.join(WRITERS)}.",
            hint="Choose one of them, or write CSV to stdout by leaving --out away.",
        )
    return writer


@contextmanager
def csv_rows(path: Path | None, names: Sequence[str]) -> Iterator[Write]:
    """CSV with a header."""
    with _text(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        yield lambda columns: writer.writerows(zip(*map(_texts, columns.values()), strict=True))


@contextmanager
def json_lines(path: Path | None, _names: Sequence[str]) -> Iterator[Write]:
    """One JSON object a row; NaN is null."""
    with _text(path) as stream:

        def write(columns: Columns) -> None:
            for row in zip(*map(_plain, columns.values()), strict=True):
                stream.write(msgspec.json.encode(dict(zip(columns, row, strict=True))).decode() + "\n")

        yield write


@contextmanager
def parquet(path: Path | None, names: Sequence[str]) -> Iterator[Write]:
    """A Parquet file; its types are those of the first rows."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise UserError(
            "Writing Parquet needs pyarrow, which is not installed.",
            hint="pip install pyarrow, or write CSV or JSON Lines.",
        ) from error
    writer: pq.ParquetWriter | None = None

    def write(columns: Columns) -> None:
        nonlocal writer
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)

    yield write
    if writer is None:
        pq.write_table(pa.table({name: pa.array([], pa.null()) for name in names}), path)
    else:
        writer.close()


WRITERS: dict[str, Writer] = {
    ".csv": csv_rows,
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".parquet": parquet,
}
"""Extension to writer."""


@contextmanager
def _text(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    with path.open("w", encoding="utf-8", newline="") as stream:
        yield stream


def _texts(values: Sequence[Any] | NDArray[Any]) -> list[str]:
    """As short as reads back to the same float32, booleans as ``true`` and ``false``."""
    if isinstance(values, np.ndarray):
        return [str(value) for value in values]
    return [to_text(value) for value in values]


def _plain(values: Sequence[Any] | NDArray[Any]) -> list[Any]:
    """Python values; a float32 as the shortest number that reads back to it."""
    if isinstance(values, np.ndarray) and values.dtype == np.float32:
        return [float(str(value)) for value in values]
    return values.tolist() if isinstance(values, np.ndarray) else list(values)
