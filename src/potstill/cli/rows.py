"""Rows of a file, a chunk at a time, so that no file is too long for the memory.

CSV and JSON Lines need nothing beyond the runtime half; Parquet and Arrow files need pyarrow.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from potstill.artifact.folders import IMAGE, LABEL, class_of, picture_paths
from potstill.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 8_192
CHUNK_PICTURES, CHUNK_BYTES = 256, 16 << 20
"""Pictures of a folder, and bytes of their files, that are read at a time: decoded they are far larger."""

STDIN = "-"
_DELIMITERS = (",", ";", "\t", "|")
_LONGEST_CELL = 1 << 24


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    Parameters
    ----------
    columns
        Column name to the values of the chunk's rows: texts from CSV, typed values from the other formats.
    lines
        For each row the line of the file it began on, or its row number where there are no lines; from 1.
        For a picture of a folder its file's path in there.
    as_text
        The values are the texts of CSV cells.
    unit
        ``line``, ``row`` or ``file``: what ``lines`` names.
    """

    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int | str]
    as_text: bool = False
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.lines)


def read_chunks(source: str, *, chunk_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """The rows of a file, of a folder of pictures, or of stdin for ``-`` (CSV, or JSON Lines after a ``{``).

    Raises
    ------
    UserError
        There is no such file, it is empty, of an unknown kind, or not what its name says.
    """
    if source == STDIN:
        yield from _read_stdin(chunk_rows)
        return
    path = Path(source)
    if path.is_dir():
        yield from _read_pictures(path)
        return
    name = path.name.removesuffix(".gz")
    reader = READERS.get(Path(name).suffix.lower())
    if reader is None:
        raise UserError(
            f"The extension of {path} is not one that can be read; these are: {', '.join(READERS)}.",
            hint="Convert the file, or pipe CSV into `potstill predict MODEL -`.",
        )
    if not path.exists():
        raise UserError(f"There is no file {path}.", hint=f"The working directory is {Path.cwd()}.")
    if not path.stat().st_size:
        raise UserError(f"The file {path} is empty (0 bytes).", hint="Was it written to the end?")
    yield from reader(path, chunk_rows)


def passed_over(source: str) -> list[str]:
    """Notes about the files of a folder of pictures that are not read."""
    return picture_paths(Path(source))[1] if Path(source).is_dir() else []


def _read_pictures(folder: Path) -> Iterator[Chunk]:
    """Every picture of a folder, and the name of the folder in there that it belongs to."""
    paths, notes = picture_paths(folder)
    if not paths:
        raise UserError(
            " ".join(
                [f"Wanted a file of rows or a folder of pictures, got {folder}, which has none.", *notes]
            ),
            hint="Name one file in it.",
        )
    for some in _a_few(paths):
        columns: dict[str, Sequence[Any]] = {
            IMAGE: [path.read_bytes() for path in some],
            LABEL: [class_of(path, folder) for path in some],
        }
        yield Chunk(columns, [str(path.relative_to(folder)) for path in some], unit="file")


def _a_few(paths: Sequence[Path]) -> Iterator[list[Path]]:
    some: list[Path] = []
    n_bytes = 0
    for path in paths:
        some.append(path)
        n_bytes += path.stat().st_size
        if len(some) == CHUNK_PICTURES or n_bytes >= CHUNK_BYTES:
            yield some
            some, n_bytes = [], 0
    if some:
        yield some


def _read_stdin(chunk_rows: int) -> Iterator[Chunk]:
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
    try:
        first = stream.readline()
        if not first:
            raise UserError(
                "There is nothing on stdin.", hint="Pipe CSV with a header, or JSON Lines, into it."
            )
        parse = _json_chunks if first.lstrip().startswith("{") else _csv_chunks
        yield from parse(chain([first], stream), "stdin", chunk_rows)
    finally:
        stream.detach()


@contextmanager
def _text_of(path: Path) -> Iterator[IO[str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
        try:
            yield stream
        except UnicodeDecodeError as error:
            raise UserError(
                f"Wanted text in UTF-8, but the file {path} has other bytes.",
                hint=f"Convert it first: iconv -f latin1 -t utf-8 {path.name} > converted.csv",
            ) from error


def _read_csv(path: Path, chunk_rows: int) -> Iterator[Chunk]:
    with _text_of(path) as stream:
        yield from _csv_chunks(stream, str(path), chunk_rows)


def _read_tsv(path: Path, chunk_rows: int) -> Iterator[Chunk]:
    with _text_of(path) as stream:
        yield from _csv_chunks(stream, str(path), chunk_rows, delimiter="\t")


def _read_json_lines(path: Path, chunk_rows: int) -> Iterator[Chunk]:
    with _text_of(path) as stream:
        yield from _json_chunks(stream, str(path), chunk_rows)


def _csv_chunks(
    lines: Iterator[str], where: str, chunk_rows: int, *, delimiter: str | None = None
) -> Iterator[Chunk]:
    csv.field_size_limit(_LONGEST_CELL)
    first = next(lines, "")
    reader = csv.reader(chain([first], lines), delimiter=delimiter or _delimiter(first), strict=True)
    names = next(reader, [])
    _check_names(names, where)
    width = len(names)
    try:
        while True:
            cells, numbers = [], []
            began = reader.line_num + 1
            for row in islice(reader, chunk_rows):
                if row and len(row) != width:
                    raise UserError(
                        f"{where}, line {began}: wanted {width} cells as in the header, got {len(row)}.",
                        hint="Quote cells that hold the delimiter.",
                    )
                if row or width == 1:
                    cells.append(row or [""])
                    numbers.append(began)
                began = reader.line_num + 1
            if not cells:
                return
            yield Chunk(dict(zip(names, zip(*cells, strict=True), strict=True)), numbers, as_text=True)
    except csv.Error as error:
        raise UserError(
            f"{where}, line {reader.line_num}: this is not CSV: {error}.",
            hint="Check for a quotation mark that is never closed.",
        ) from error


def _delimiter(header: str) -> str:
    """The one of ``, ; tab |`` that the header has most of outside quotes; a comma when it has none."""
    bare = "".join(header.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)


def _check_names(names: Sequence[str], where: str) -> None:
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise UserError(
            f"Wanted columns with different names, but {where} has more than one called {doubles[0]!r}.",
            hint="Rename or remove the duplicates.",
        )


def _json_chunks(lines: Iterator[str], where: str, chunk_rows: int) -> Iterator[Chunk]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    names: list[str] = []
    while batch := list(islice(numbered, chunk_rows)):
        rows = []
        for number, line in batch:
            try:
                rows.append(decoder.decode(line))
            except msgspec.DecodeError as error:
                raise UserError(
                    f"{where}, line {number}: wanted one JSON object a line: {error}.",
                    hint='A line looks like {"age": 39, "workclass": "Private"}.',
                ) from error
        names = names or list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: [row.get(name) for row in rows] for name in names}
        yield Chunk(columns, [number for number, _ in batch])


def _read_parquet(path: Path, chunk_rows: int) -> Iterator[Chunk]:
    with _arrow(path) as arrow:
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
            _check_names(file.schema_arrow.names, str(path))
            yield from _batch_chunks(file.iter_batches(batch_size=chunk_rows), arrow)


def _read_arrow(path: Path, chunk_rows: int) -> Iterator[Chunk]:
    with _arrow(path) as arrow:
        import pyarrow.feather

        table = pyarrow.feather.read_table(path, memory_map=True)
        _check_names(table.column_names, str(path))
        yield from _batch_chunks(table.to_batches(max_chunksize=chunk_rows), arrow)


@contextmanager
def _arrow(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise UserError(
            f"Reading {path} needs pyarrow, which is not installed.",
            hint="pip install pyarrow, or give CSV or JSON Lines.",
        ) from error
    try:
        yield pyarrow
    except pyarrow.ArrowException as error:
        raise UserError(
            f"The file {path} cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0].rstrip('.')}.",
            hint="Check that it is whole and has the extension of what it is.",
        ) from error


def _batch_chunks(batches: Iterator[pa.RecordBatch], arrow: Any) -> Iterator[Chunk]:
    row = 1
    for batch in batches:
        columns = {name: _values(batch.column(name), arrow) for name in batch.schema.names}
        yield Chunk(columns, range(row, row + len(batch)), unit="row")
        row += len(batch)


def _values(column: pa.Array, arrow: Any) -> Sequence[Any]:
    """Numbers as a numpy array (null is NaN), everything else as Python values (null is None)."""
    kind = column.type
    if arrow.types.is_integer(kind) or arrow.types.is_floating(kind):
        numbers: Sequence[Any] = column.to_numpy(zero_copy_only=False)
        return numbers
    values: Sequence[Any] = column.to_pylist()
    return values


READERS: dict[str, Callable[[Path, int], Iterator[Chunk]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".ipc": _read_arrow,
}
"""Extension to reader; CSV and JSON Lines may be gzipped."""
