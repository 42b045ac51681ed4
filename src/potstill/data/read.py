"""From files, frames and arrays to rows: one narwhals frame over pandas, polars or Arrow."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
from numpy.typing import NDArray

from potstill.data.columns import listed
from potstill.data.pictures import is_torch_dataset, picture_array, picture_dataset, picture_folder
from potstill.errors import UserError
from potstill.types import NULL_TEXTS

_BLOCK_BYTES = 16 << 20
_LONGER_THAN_A_BLOCK = "straddling object"
"""What Arrow says of a row that is."""

_DELIMITERS = (",", ";", "\t", "|")


def read_rows(source: Any) -> nw.DataFrame[Any]:
    """Rows with named columns, whatever they come in.

    Parameters
    ----------
    source
        A path (``.csv``, ``.csv.gz``, ``.tsv``, ``.parquet``, ``.arrow``, ``.feather``, ``.ipc``);
        a pandas, polars or Arrow table or anything else narwhals knows; a 2-d array, whose columns become
        ``x0``, ``x1``…; a folder with one folder of pictures a class; an array of pictures (``uint8``,
        ``(n, height, width)`` or with channels last), whose column is ``image``; a torch data set of such.

    Returns
    -------
    nw.DataFrame
        Over the caller's own frame, or over an Arrow table for files and arrays.

    Raises
    ------
    UserError
        There is no such file, it cannot be read, it has no rows, or two columns have one name.

    Examples
    --------
    >>> import numpy as np
    >>> read_rows(np.eye(2)).columns
    ['x0', 'x1']
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        where = f"the file {path}"
        native: Any = picture_folder(path)[0] if path.is_dir() else _read_file(path)
    else:
        where = "the rows"
        native = source
        if is_torch_dataset(source):
            native = picture_dataset(source)
        elif isinstance(source, np.ndarray):
            native = picture_array(source) if source.ndim in (3, 4) else _table_of_array(source)
    rows = _framed(native, where)
    if not rows.columns:
        raise UserError(f"Wanted rows with named columns, but there is no column in {where}.")
    if not len(rows):
        raise UserError(
            f"Wanted at least one row, but there is none in {where}.",
            hint="check that the file was written to the end and is the one you meant.",
        )
    return rows


def _framed(native: Any, where: str) -> nw.DataFrame[Any]:
    if isinstance(native, pa.RecordBatch):
        native = pa.Table.from_batches([native])
    if isinstance(native, pa.Table):
        native = _unwrapped(native)
    names = _names(native)
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise UserError(
            f"Wanted columns with different names, but {where} has more than one called {listed(doubles)}.",
            hint="rename or remove the duplicates.",
        )
    try:
        rows = nw.from_native(native)
    except TypeError as error:
        kind = f"{type(native).__module__}.{type(native).__qualname__}".removeprefix("builtins.")
        raise UserError(
            f"Wanted a path, a data frame or a 2-d array, got {kind}.",
            hint="pass a file, a pandas, polars or Arrow table, or (X, y) arrays.",
        ) from error
    if isinstance(rows, nw.LazyFrame):
        rows = rows.collect()
    return _with_text_names(rows)


def _unwrapped(table: pa.Table) -> pa.Table:
    """Files that come as ``{"bytes": …, "path": …}``, as some data sets have them, as their bytes alone."""
    for position, field in enumerate(table.schema):
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            files = pc.struct_field(table.column(position), "bytes")
            table = table.set_column(position, field.name, files)
    return table


def _names(native: Any) -> Sequence[str]:
    """Column names as texts, where narwhals itself would trip over duplicates."""
    if isinstance(native, pa.Table):
        return [str(name) for name in native.column_names]
    if nw.dependencies.is_pandas_like_dataframe(native):
        return [str(name) for name in native.columns]
    return []


def _with_text_names(rows: nw.DataFrame[Any]) -> nw.DataFrame[Any]:
    """Names that a graph can have as inputs: texts (pandas allows numbers), and none of them empty."""
    names: Sequence[Any] = rows.columns
    wanted = [str(name) if str(name) else _free_name(position, names) for position, name in enumerate(names)]
    if wanted == list(names):
        return rows
    native = rows.to_native()
    if nw.dependencies.is_pandas_like_dataframe(native):
        return nw.from_native(native.set_axis(wanted, axis=1), eager_only=True)
    return rows.rename(dict(zip(names, wanted, strict=True)))


def _free_name(position: int, names: Sequence[Any]) -> str:
    name = f"unnamed_{position}"
    return name if name not in names else f"{name}_"


def _table_of_array(array: NDArray[Any]) -> pa.Table:
    if array.ndim != 2:
        raise UserError(
            f"Wanted a 2-d array (rows, columns), got one of shape {array.shape}.",
            hint="use array.reshape(-1, 1) for a single column, array.reshape(1, -1) for a single row.",
        )
    if np.iscomplexobj(array):
        raise UserError("Complex data not supported: wanted real numbers, got an array of complex ones.")
    columns = [_array_column(array[:, position], f"x{position}") for position in range(array.shape[1])]
    return pa.table({f"x{position}": column for position, column in enumerate(columns)})


def _array_column(values: NDArray[Any], name: str) -> pa.Array:
    try:
        return pa.array(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=")))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UserError(
            f"Wanted values of one kind in column {name!r} of the array, got a mixture ({error}).",
            hint="pass a data frame when columns differ in type.",
        ) from error


def _read_file(path: Path) -> pa.Table:
    if not path.exists():
        raise UserError(f"There is no file {path}.", hint=f"the working directory is {Path.cwd()}.")
    name = path.name.lower()
    suffix = (
        ".csv" if name.endswith(".csv.gz") else ".tsv" if name.endswith(".tsv.gz") else path.suffix.lower()
    )
    if suffix not in READERS:
        raise UserError(
            f"The extension of {path} is not one that can be read; these are: {', '.join(READERS)}.",
            hint="convert the file, or read it yourself and pass the data frame.",
        )
    if not path.stat().st_size:
        raise UserError(f"The file {path} is empty (0 bytes).", hint="was it written to the end?")
    try:
        return READERS[suffix](path)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        if _LONGER_THAN_A_BLOCK in str(error):
            raise UserError(
                f"A row of the file {path} is longer than {_BLOCK_BYTES >> 20} MB.",
                hint="look for a quotation mark that is never closed; rows meant to be that long can be read "
                "from Parquet.",
            ) from error
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"The file {path} cannot be read as {suffix[1:]}: {reason}.",
            hint="check that it is whole and has the extension of what it is.",
        ) from error


def _read_parquet(path: Path) -> pa.Table:
    return pyarrow.parquet.ParquetFile(path, memory_map=True).read()


def _read_feather(path: Path) -> pa.Table:
    return pyarrow.feather.read_table(path, memory_map=True)


def _read_csv(path: Path) -> pa.Table:
    return _read_text(path, _delimiter(path))


def _read_tsv(path: Path) -> pa.Table:
    return _read_text(path, "\t")


READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".arrow": _read_feather,
    ".feather": _read_feather,
    ".ipc": _read_feather,
}
"""Extension to reader; ``.csv.gz`` and ``.tsv.gz`` go with their first extension."""


def _delimiter(path: Path) -> str:
    """The one of ``, ; tab |`` that the header line has most of; a comma when it has none."""
    with pa.input_stream(str(path), compression="detect") as stream:
        header = stream.read(64 << 10).split(b"\n", 1)[0].decode("utf-8", "replace")
    bare = re.sub(r'"[^"]*"', "", header)
    return max(_DELIMITERS, key=bare.count)


def _read_text(path: Path, delimiter: str) -> pa.Table:
    table = pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            null_values=list(NULL_TEXTS), strings_can_be_null=True, quoted_strings_can_be_null=True
        ),
    )
    undecoded = [field.name for field in table.schema if pa.types.is_binary(field.type)]
    if undecoded:
        raise UserError(
            f"Wanted text in UTF-8, but column {undecoded[0]!r} of the file {path} has other bytes.",
            hint=f"convert it first: iconv -f latin1 -t utf-8 {path.name} > converted.csv",
        )
    return table
