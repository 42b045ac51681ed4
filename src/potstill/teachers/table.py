"""A table of probabilities: a teacher that has answered already and runs no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import narwhals as nw
import numpy as np

from potstill.data import read_rows
from potstill.errors import UserError
from potstill.teachers.adapter import packages, path_of
from potstill.teachers.answers import checked, speaking_for
from potstill.teachers.collected import collected_table
from potstill.teachers.digests import digest
from potstill.teachers.rows import listed
from potstill.types import Dataset, Floats, Ints, Task, Teacher, Trainable

_VERSION = "1"
_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".arrow", ".feather", ".ipc")


class SoftTargetTable(msgspec.Struct, frozen=True):
    """Where the answers are, and how their rows are told apart.

    Parameters
    ----------
    source
        A file or frame that `potstill.data.read_rows` reads, a 2-d array, or a folder that `potstill collect`
        wrote, whose teachers are averaged. It has a column for each class,
        named like the class or ``p_<class>`` (for two classes the second's alone will do); for regression a
        column ``prediction`` or one named like the target.
    key
        Name of the column, there and in the data, that says which row is which. None: the table's rows are
        those of the training data, in its order.
    out_of_fold
        No row was answered by a model that was fitted on it.
    """

    source: Any
    key: str | None = None
    out_of_fold: bool = False


@dataclass(frozen=True, eq=False)
class TableTeacher:
    """The answers of a table, looked up.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    answers
        ``(N, K)`` float32; NaN rows where the table is empty.
    key
        Name of the key column of the data; None: rows are found by their position in the training data.
    keys
        The N keys as text; empty without ``key``.
    """

    name: str
    fingerprint: str
    answers: Floats
    key: str | None = None
    keys: tuple[str, ...] = ()

    def covers(self, dataset: Dataset) -> bool:
        """Whether the table has an answer for every row; if not, `predict` raises."""
        if self.key is None and dataset.ids is None:
            return False
        if self.key is not None and self.key not in dataset.rows.columns:
            return False
        index = self.positions(dataset)
        return bool((index >= 0).all() and not np.isnan(self.answers[index]).any())

    def predict(self, dataset: Dataset) -> Floats:
        found = self._answers(dataset)
        return checked(found, task=dataset.task, n_rows=len(dataset), teacher=self.name)

    def _answers(self, dataset: Dataset) -> Floats:
        if self.key is None and dataset.ids is None:
            raise UserError(
                f"The table {self.name!r} is in the order of the training data: wanted rows of that "
                "data, got "
                f"{len(dataset)} other rows.",
                hint="Give the table a key column that these rows have too.",
            )
        if self.key is not None and self.key not in dataset.rows.columns:
            raise UserError(
                f"The table {self.name!r} is keyed by {self.key!r}: wanted a column of that name in "
                "the data, "
                f"got {listed(dataset.rows.columns)}.",
                hint="Name a key that both have, or none where the table is in the order of the data.",
            )
        index = self.positions(dataset)
        absent = index < 0
        if absent.any():
            row = int(absent.argmax())
            which = (
                f"position {dataset.ids[row]}"
                if self.key is None and dataset.ids is not None
                else (f"{self.key} = {_key_texts(dataset.rows[self.key or ''])[row]!r}")
            )
            raise UserError(
                f"The table {self.name!r} has {len(self.answers)} rows and none for "
                f"{int(absent.sum())} of the "
                f"{len(dataset)} rows asked about, the first of them {which}: wanted an answer for "
                "every row.",
                hint="Was the table made from these data, before rows were dropped or shuffled?",
            )
        return self.answers[index]

    def check_length(self, n_rows: int) -> None:
        """Raise a UserError when the table goes by the order of the training data and has not ``n_rows``."""
        if self.key is None and len(self.answers) != n_rows:
            raise UserError(
                f"The table {self.name!r} has {len(self.answers):,} rows and the training data {n_rows:,}: "
                "wanted one row for each, in the same order.",
                hint="Was the table made from these data, before rows were dropped or shuffled? "
                "Rows in another order need a key column (--soft-targets-key).",
            )

    def positions(self, dataset: Dataset) -> Ints:
        """``(n,)`` int64 row of the table for each row of the dataset, -1 where it has none."""
        if self.key is None:
            ids = np.asarray(dataset.ids)
            return np.where((ids >= 0) & (ids < len(self.answers)), ids, -1).astype(np.int64)
        found = [self._position.get(key, -1) for key in _key_texts(dataset.rows[self.key])]
        return np.asarray(found, dtype=np.int64)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {key: index for index, key in enumerate(self.keys)}


@dataclass(frozen=True, eq=False)
class OutOfFoldTableTeacher:
    """A table whose answers are all out of fold."""

    name: str
    fingerprint: str
    table: TableTeacher

    def covers(self, dataset: Dataset) -> bool:
        """Whether the table has an answer for every row."""
        return self.table.covers(dataset)

    def predict(self, dataset: Dataset) -> Floats:
        return self.table.predict(dataset)

    def check_length(self, n_rows: int) -> None:
        """See `TableTeacher.check_length`."""
        self.table.check_length(n_rows)

    def predict_out_of_fold(self, dataset: Dataset) -> Floats:
        """The same answers; NaN for rows the table does not have."""
        answers = np.full((len(dataset), dataset.task.n_outputs), np.nan, dtype=np.float32)
        keyless = self.table.key is None and dataset.ids is None
        if keyless or (self.table.key is not None and self.table.key not in dataset.rows.columns):
            return answers
        index = self.table.positions(dataset)
        answers[index >= 0] = self.table.answers[index[index >= 0]]
        return answers


class TableAdapter:
    """Adapter of `SoftTargetTable`, and of bare files, frames and arrays in the training data's order."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        is_frame = type(source).__name__ in {"DataFrame", "Table"} and bool(
            packages(source) & {"pandas", "polars", "pyarrow", "narwhals"}
        )
        is_array = type(source).__name__ == "ndarray"
        return isinstance(source, SoftTargetTable) or is_frame or is_array or _is_table_file(source)

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:  # noqa: ARG003
        table = source if isinstance(source, SoftTargetTable) else SoftTargetTable(source)
        path = path_of(table.source)
        name = name or ("table" if path is None else path.stem)
        frame = _frame(table.source, path, task=task, name=name)
        keys = _keys(frame, table.key, name)
        values, labels = _values(frame, task=task, name=name, key=table.key)
        answers = checked(
            values, task=task, n_rows=len(frame), teacher=name, labels=labels, allow_missing=True
        )
        fingerprint = digest("table", _VERSION, answers.tobytes(), "\n".join(keys), repr(table.key))
        teacher = TableTeacher(name, fingerprint, answers, table.key, keys)
        return OutOfFoldTableTeacher(name, fingerprint, teacher) if table.out_of_fold else teacher


def _is_table_file(source: object) -> bool:
    path = path_of(source)
    return path is not None and path.name.lower().removesuffix(".gz").endswith(_SUFFIXES)


def _frame(source: Any, path: Path | None, *, task: Task, name: str) -> nw.DataFrame[Any]:
    if type(source).__name__ != "ndarray":
        if path is not None and path.is_dir():
            return collected_table(path, task)
        return read_rows(source if path is None else path)
    values = source[:, None] if source.ndim == 1 else source
    columns = [f"p_{label}" for label in task.classes] if task.is_classification else ["prediction"]
    if values.shape[1] == 1 and task.kind == "binary":
        columns = columns[1:]
    if values.shape[1] != len(columns):
        raise UserError(
            f"The table {name!r} is an array of shape {source.shape}: wanted {len(columns)} columns, "
            f"one for each of {list(task.classes) or [task.target]}."
        )
    return nw.from_dict({c: values[:, i] for i, c in enumerate(columns)}, backend="pyarrow")


def _keys(frame: nw.DataFrame[Any], key: str | None, name: str) -> tuple[str, ...]:
    if key is None:
        return ()
    if key not in frame.columns:
        raise UserError(
            f"The table {name!r} has no key column {key!r}: wanted one of its columns "
            f"{listed(frame.columns)}.",
            hint="Name a column that the table and the data have in common.",
        )
    keys = _key_texts(frame[key])
    if len(set(keys)) == len(keys):
        return tuple(keys)
    seen: set[str] = set()
    twice = next(text for text in keys if text in seen or seen.add(text))  # type: ignore[func-returns-value]
    raise UserError(
        f"The table {name!r} has {len(keys) - len(set(keys))} keys more than once, for instance "
        f"{key} = {twice!r}: wanted one row for each key.",
        hint="Keep one row of each, or average them.",
    )


def _key_texts(column: nw.Series[Any]) -> list[str]:
    return [
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        for value in column.to_list()
    ]


def _values(
    frame: nw.DataFrame[Any], *, task: Task, name: str, key: str | None
) -> tuple[Any, Sequence[Any] | None]:
    present = [column for column in frame.columns if column != key]
    for columns in _namings(task):
        if set(columns) <= set(present):
            with speaking_for(name, "be read as numbers", hint="Correct the cells that hold text."):
                wanted = [frame[column].cast(nw.Float64).to_numpy() for column in columns]
            return np.column_stack(wanted), None
    wanted_names = list(_namings(task)[0])
    lacking = [column for column in wanted_names if column not in present]
    raise UserError(
        f"The table {name!r} lacks {listed(lacking)}: wanted the columns {listed(wanted_names)}, got "
        f"{listed(present)}.",
        hint="Name each column like its class, or p_<class>."
        if task.is_classification
        else "Name the column 'prediction', or like the target.",
    )


def _namings(task: Task) -> list[list[str]]:
    if not task.is_classification:
        return [["prediction"], [task.target]]
    texts = [str(label) for label in task.classes]
    namings = [texts, [f"p_{text}" for text in texts]]
    return namings + [naming[1:] for naming in namings] if task.kind == "binary" else namings
