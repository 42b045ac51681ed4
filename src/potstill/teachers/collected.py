"""The folder that `potstill collect` writes, as a table with a column for each class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from potstill.errors import UserError
from potstill.types import Floats, Task

_CLASSES = b"potstill.classes"
_ROW = "row"


def collected_table(folder: Path, task: Task) -> nw.DataFrame[Any]:
    """The answers in ``folder``, averaged over its teachers, row by row of the source that was asked about.

    Returns
    -------
    nw.DataFrame
        Columns ``p_<class>`` for each class, or ``prediction``.

    Raises
    ------
    UserError
        The folder holds no answers, only a part of them, or those to another question.
    """
    try:
        tables = [pq.ParquetFile(path).read() for path in _shards(folder)]
        asked = json.loads((tables[0].schema.metadata or {})[_CLASSES])
    except (OSError, pa.ArrowException, KeyError, IndexError) as error:
        raise UserError(
            f"The answers in {folder} cannot be read: {str(error).splitlines()[0]}.",
            hint="Delete the folder and collect them again.",
        ) from error
    if asked != list(task.classes):
        raise UserError(
            f"The answers in {folder} are for {_question(asked)}: wanted {_question(list(task.classes))}.",
            hint="Collect them with the same training data and target.",
        )
    rows = np.concatenate([table[_ROW].to_numpy() for table in tables])
    assert (rows == np.arange(len(rows))).all()
    members = [name for name in tables[0].column_names if name != _ROW]
    answers = np.concatenate(
        [np.mean([_matrix(table, name) for name in members], axis=0) for table in tables]
    )
    names = [f"p_{label}" for label in task.classes] or ["prediction"]
    return nw.from_dict({name: answers[:, at] for at, name in enumerate(names)}, backend="pyarrow")


def _shards(folder: Path) -> list[Path]:
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        raise UserError(
            f"The folder {folder} holds no collected answers.",
            hint="Name a file with a table, or a folder that `potstill collect` wrote.",
        ) from None
    if not manifest["complete"]:
        raise UserError(
            f"The answers in {folder} are not complete.", hint="Run `potstill collect` again: it goes on."
        )
    return [folder / shard["file"] for _, shard in sorted(manifest["shards"].items())]


def _matrix(table: pa.Table, name: str) -> Floats:
    column = table[name].combine_chunks()
    flat: Floats = column.flatten().to_numpy()
    return flat.reshape(len(column), -1)


def _question(classes: list[Any]) -> str:
    return f"the classes {', '.join(map(str, classes[:8]))}" if classes else "a quantity"
