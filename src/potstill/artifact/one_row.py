"""One row from a dict to the graph's answer, with as little on the way as can be."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from potstill.artifact.columns import Feeds, wrong_value
from potstill.artifact.frames import missing_columns
from potstill.artifact.values import CONVERTERS, Refused
from potstill.errors import UserError
from potstill.types import ColumnKind, Doubles, Floats, Schema

if TYPE_CHECKING:
    import onnxruntime as ort


@final
class OneRow:
    """Asks a session about single rows; safe to share between threads.

    Numbers and dates are written into memory that is bound to the graph's inputs, once a thread: with dozens
    of columns that halves the time. The runtime binds no text: rows with categories are fed anew each time.
    """

    __slots__ = ("_bound", "_output", "_reader", "_session")

    def __init__(self, session: ort.InferenceSession, schema: Schema) -> None:
        self._session = session
        self._output = [session.get_outputs()[0].name]
        self._reader = RowReader(schema)
        bindable = all(column.kind != "categorical" for column in schema.columns)
        self._bound = threading.local() if bindable else None

    def __call__(self, row: Mapping[str, Any]) -> list[float]:
        """The first output of the graph for ``row``.

        Raises
        ------
        UserError
            When the row is no mapping, lacks a column, or a value is of a wrong type.
        """
        if self._bound is None:
            answer = self._session.run(self._output, self._reader.feeds(row))[0]
            return answer.ravel().tolist()  # type: ignore[no-any-return]
        mine: _Bound | None = getattr(self._bound, "mine", None)
        if mine is None:
            mine = self._bound.mine = _Bound(self._session, self._reader)
        return mine.answer(row)

    def feeds(self, row: Mapping[str, Any]) -> Feeds:
        """The row's ``(1,)`` inputs; raises as the call does."""
        return self._reader.feeds(row)


class _Bound:
    """Buffers of one thread, bound to the inputs and the first output of a session."""

    __slots__ = ("_binding", "_dates", "_numbers", "_output", "_reader", "_session")

    def __init__(self, session: ort.InferenceSession, reader: RowReader) -> None:
        self._session, self._reader = session, reader
        self._numbers = np.zeros(len(reader.numbers.names), np.float32)
        self._dates = np.zeros(len(reader.dates.names), np.float64)
        self._binding = session.io_binding()
        for group, buffer in ((reader.numbers, self._numbers), (reader.dates, self._dates)):
            for at, name in enumerate(group.names):
                place = buffer[at : at + 1]
                self._binding.bind_input(name, "cpu", 0, place.dtype, place.shape, place.ctypes.data)
        first = session.get_outputs()[0]
        self._output = np.zeros([size if isinstance(size, int) else 1 for size in first.shape], np.float32)
        shape = list(self._output.shape)
        self._binding.bind_output(first.name, "cpu", 0, np.float32, shape, self._output.ctypes.data)

    def answer(self, row: Mapping[str, Any]) -> list[float]:
        self._reader.read_into(row, self._numbers, self._dates)
        self._session.run_with_iobinding(self._binding)
        return self._output.ravel().tolist()


class RowReader:
    """One row to feeds: one buffer for all columns of a type, so numpy is called a few times, not per column.

    The buffers are made anew for each row: threads share nothing.
    """

    __slots__ = ("_schema", "_texts", "dates", "numbers")

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.numbers = _Group.of(schema, "numeric", "boolean")
        self.dates = _Group.of(schema, "date")
        self._texts = _Group.of(schema, "categorical")

    def feeds(self, row: Mapping[str, Any]) -> Feeds:
        """The row's ``(1,)`` inputs.

        Raises
        ------
        UserError
            When the row is no mapping, lacks a column, or a value is of a wrong type.
        """
        inputs: Feeds = {}
        try:
            if self.numbers.names:
                # array narrows to float32 without the overflow warning whose silencing in numpy costs 1 µs
                numbers = array("f", [convert(row[name]) for name, convert in self.numbers.converters])
                inputs.update(
                    zip(self.numbers.names, np.frombuffer(numbers, np.float32).reshape(-1, 1), strict=True)
                )
            if self._texts.names:
                texts = [[convert(row[name])] for name, convert in self._texts.converters]
                inputs.update(zip(self._texts.names, np.array(texts, dtype=object), strict=True))
            if self.dates.names:
                dates = [[convert(row[name])] for name, convert in self.dates.converters]
                inputs.update(zip(self.dates.names, np.array(dates, dtype=np.float64), strict=True))
        except (KeyError, IndexError, TypeError, OverflowError, Refused):
            raise self._error(row) from None
        return inputs

    def read_into(self, row: Mapping[str, Any], numbers: Floats, dates: Doubles) -> None:
        """Write the row's values into ``(F,)`` and ``(D,)``; raises as `feeds` does."""
        try:
            # array narrows to float32 without the overflow warning whose silencing in numpy costs 1 µs
            numbers[:] = array("f", [convert(row[name]) for name, convert in self.numbers.converters])
            if self.dates.names:
                dates[:] = [convert(row[name]) for name, convert in self.dates.converters]
        except (KeyError, IndexError, TypeError, OverflowError, Refused):
            raise self._error(row) from None

    def _error(self, row: Any) -> UserError:
        if not isinstance(row, Mapping):
            return UserError(
                f"The row is a {type(row).__name__}; wanted a dict of column names to values.",
                hint="For several rows at once call predict or predict_proba.",
            )
        if absent := [name for name in self._schema.names if name not in row]:
            return missing_columns(absent, [str(name) for name in row])
        for column in self._schema.columns:
            try:
                CONVERTERS[column.kind](row[column.name])
            except Refused as refusal:
                return wrong_value(column.name, refusal)
        raise AssertionError("a row that every converter takes was refused")


@dataclass(frozen=True)
class _Group:
    names: tuple[str, ...]
    converters: tuple[tuple[str, Callable[[Any], Any]], ...]

    @classmethod
    def of(cls, schema: Schema, *kinds: ColumnKind) -> _Group:
        columns = [column for column in schema.columns if column.kind in kinds]
        return cls(
            tuple(column.name for column in columns),
            tuple((column.name, CONVERTERS[column.kind]) for column in columns),
        )
