"""One row from a dict to the graph's answer, with as little on the way as can be."""

from __future__ import annotations

import itertools
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from potstill.artifact.columns import Feeds, concat_feeds, feeds, wrong_value
from potstill.artifact.frames import missing_columns
from potstill.artifact.interned import InternedTexts
from potstill.artifact.refused import Refused
from potstill.artifact.values import CONVERTERS, to_free_text
from potstill.errors import UserError
from potstill.types import ColumnKind, Floats, Schema

if TYPE_CHECKING:
    import onnxruntime as ort

_PLAIN: dict[ColumnKind, frozenset[type]] = {
    "numeric": frozenset({float, int, bool}),
    "boolean": frozenset({bool}),
    "categorical": frozenset({str}),
    "date": frozenset(),
    "text": frozenset({str}),
    "image": frozenset(),
}
"""Kind of column to the types whose values need no conversion before they are stored."""


_KEPT_LEVELS = 1000
"""Levels of a column that are kept as tensors, the most frequent ones: bounds the memory."""

Read: TypeAlias = tuple["array[float]", Sequence[str], Sequence[float]]
"""A row's numbers (numeric columns, then boolean ones), texts and dates (days since 1970-01-01)."""

Noted: TypeAlias = Any
"""A row that was answered alone: its model knows what it is."""


class Asker(Protocol):
    """Answers single rows; see `OneRow`."""

    def __call__(self, row: Mapping[str, Any]) -> list[float]: ...

    def noted(self, row: Mapping[str, Any]) -> tuple[Noted, Floats]: ...

    def feeds(self, noted: Sequence[Noted]) -> Feeds: ...

    def noted_together(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Feeds, Floats]: ...


@final
class OneRow:
    """Asks a session about single rows; safe to share between threads.

    Each thread has arrays of its own, one element a column, bound to the graph's inputs: with dozens of
    columns that halves the time. Known categories are bound as tensors the runtime keeps; a row with an
    unknown one is fed to the graph anew.
    """

    __slots__ = ("_interned", "_mine", "_reader", "_session")

    def __init__(self, session: ort.InferenceSession, schema: Schema) -> None:
        self._session = session
        self._reader = RowReader(schema)
        levels = (column.levels[:_KEPT_LEVELS] for column in schema.columns)
        self._interned = InternedTexts({"", *itertools.chain.from_iterable(levels)})
        self._mine = threading.local()

    def __call__(self, row: Mapping[str, Any]) -> list[float]:
        """The first output of the graph for ``row``.

        Raises
        ------
        UserError
            When the row is no mapping, lacks a column, or a value is of a wrong type.
        """
        return self._bound().answer(*self._reader.read(row)).ravel().tolist()

    def noted(self, row: Mapping[str, Any]) -> tuple[Read, Floats]:
        """What was read of the row and the answer, in an array of its own; raises as the call does."""
        read = self._reader.read(row)
        return read, self._bound().answer(*read).copy()

    def feeds(self, noted: Sequence[Read]) -> Feeds:
        """The ``(n,)`` inputs of the graph for rows that were read."""
        return self._reader.feeds(noted)

    def noted_together(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Feeds, Floats]:
        """The ``(n,)`` inputs and the answers of a few rows that are asked about at once; raises likewise."""
        inputs = self._reader.feeds([self._reader.read(row) for row in rows])
        return inputs, self._session.run([self._session.get_outputs()[0].name], inputs)[0]

    def _bound(self) -> _Bound:
        try:
            return self._mine.bound  # type: ignore[no-any-return]
        except AttributeError:
            bound = self._mine.bound = _Bound(self._session, self._reader, self._interned)
            return bound


@final
class _Bound:
    """Arrays of one thread, bound to the inputs and the first output of a session."""

    __slots__ = ("_binding", "_interned", "_output", "_place", "_reader", "_session", "_texts")

    def __init__(self, session: ort.InferenceSession, reader: RowReader, interned: InternedTexts) -> None:
        self._session, self._reader, self._interned = session, reader, interned
        self._place = place = reader.place()
        self._binding = session.io_binding()
        for name, value in place.feeds.items():
            if value.dtype != object:
                self._binding.bind_input(name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        self._texts: list[str | None] = [None] * len(reader.texts.names)
        first = session.get_outputs()[0]
        shape = [size if isinstance(size, int) else 1 for size in first.shape]
        self._output = np.zeros(shape, np.float32)
        self._binding.bind_output(first.name, "cpu", 0, np.float32, shape, self._output.ctypes.data)

    def answer(self, numbers: array[float], texts: Sequence[str], dates: Sequence[float]) -> Floats:
        """The first output for a row, in memory that the next answer overwrites."""
        place = self._place
        if numbers:
            place.numbers[:] = numbers
        if dates:
            place.dates[:] = dates
        if self._bind(texts):
            self._session.run_with_iobinding(self._binding)
            return self._output
        place.texts[:] = texts
        outputs = [self._session.get_outputs()[0].name]
        return self._session.run(outputs, place.feeds)[0]  # type: ignore[no-any-return]

    def _bind(self, texts: Sequence[str]) -> bool:
        """Bind the categories that differ from those of the last row; False when one is unknown."""
        bound = self._texts
        for at, text in enumerate(texts):
            if text != bound[at]:
                tensor = self._interned.tensor(text)
                if tensor is None:
                    return False
                self._binding.bind_ortvalue_input(self._reader.texts.names[at], tensor)
                bound[at] = text
        return True


@final
class OneText:
    """Asks a session about single rows of texts alone; safe to share between threads."""

    __slots__ = ("_names", "_output", "_schema", "_session")

    def __init__(self, session: ort.InferenceSession, schema: Schema) -> None:
        self._session = session
        self._schema = schema
        self._names = schema.names
        self._output = [session.get_outputs()[0].name]

    def __call__(self, row: Mapping[str, Any]) -> list[float]:
        """The first output of the graph for ``row``; raises as `OneRow` does."""
        answer: list[float] = self.noted(row)[1].ravel().tolist()
        return answer

    def noted(self, row: Mapping[str, Any]) -> tuple[Feeds, Floats]:
        """The row's ``(1,)`` inputs and the answer; raises as the call does."""
        inputs = self._inputs(row)
        return inputs, self._session.run(self._output, inputs)[0]

    def feeds(self, noted: Sequence[Feeds]) -> Feeds:
        """The ``(n,)`` inputs of the graph for rows that were read."""
        return concat_feeds(list(noted))

    def noted_together(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Feeds, Floats]:
        """The ``(n,)`` inputs and the answers of a few rows that are asked about at once; raises likewise."""
        inputs = self.feeds([self._inputs(row) for row in rows])
        return inputs, self._session.run(self._output, inputs)[0]

    def _inputs(self, row: Mapping[str, Any]) -> Feeds:
        if not isinstance(row, Mapping):
            raise not_a_row(row)
        try:
            return {name: np.array([to_free_text(row[name])], dtype=object) for name in self._names}
        except (KeyError, Refused):
            return feeds([row], self._schema)  # says what is wrong with it


class RowReader:
    """Reads rows: one sequence for all columns of a type, so numpy is called a few times."""

    __slots__ = ("_dates", "_flags", "_n_numbers", "_names", "_numbers", "_schema", "texts")

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._numbers = _Group.of(schema, "numeric")
        self._flags = _Group.of(schema, "boolean")
        self.texts = _Group.of(schema, "categorical")
        self._dates = _Group.of(schema, "date")
        self._names = (self._numbers.names + self._flags.names, self.texts.names, self._dates.names)
        self._n_numbers = len(self._names[0])

    def place(self) -> Place:
        """Fresh arrays for one row."""
        numbers = np.zeros(self._n_numbers, np.float32)
        texts = np.empty(len(self.texts.names), dtype=object)
        dates = np.zeros(len(self._dates.names), np.float64)
        return Place(numbers, texts, dates, self._named(numbers, texts, dates))

    def read(self, row: Mapping[str, Any]) -> Read:
        """The row's values by their kind.

        Raises
        ------
        UserError
            When the row is no mapping, lacks a column, or a value is of a wrong type.
        """
        try:
            # array narrows to float32 without the overflow warning whose silencing in numpy costs 1 µs
            numbers = array("f", self._numbers.read(row))
            if self._flags.names:
                numbers.extend(self._flags.read(row))
            return numbers, self.texts.read(row), self._dates.read(row)
        except (KeyError, IndexError, TypeError, OverflowError, Refused):
            raise self._error(row) from None

    def feeds(self, reads: Sequence[Read]) -> Feeds:
        """The ``(n,)`` inputs of the graph for rows that were read."""
        n_rows = len(reads)
        numbers = np.frombuffer(b"".join([each[0] for each in reads]), np.float32).reshape(n_rows, -1)
        texts = np.empty((len(self.texts.names), n_rows), dtype=object)
        if self.texts.names:
            texts[:] = list(zip(*[each[1] for each in reads], strict=True))
        dates = np.array([each[2] for each in reads], np.float64).reshape(n_rows, -1)
        return self._named(np.ascontiguousarray(numbers.T), texts, np.ascontiguousarray(dates.T))

    def _named(self, *groups: NDArray[Any]) -> Feeds:
        """The columns of numbers, texts and dates by their names, each ``(n,)``."""
        named: Feeds = {}
        for names, values in zip(self._names, groups, strict=True):
            if names:
                named.update(zip(names, values.reshape(len(names), -1), strict=True))
        return named

    def _error(self, row: Any) -> UserError:
        if not isinstance(row, Mapping):
            return not_a_row(row)
        if absent := [name for name in self._schema.names if name not in row]:
            return missing_columns(absent, [str(name) for name in row])
        for column in self._schema.columns:
            try:
                CONVERTERS[column.kind](row[column.name])
            except Refused as refusal:
                return wrong_value(column.name, refusal)
        raise AssertionError("a row that every converter takes was refused")


def not_a_row(row: Any) -> UserError:
    """The error for what is no dict."""
    return UserError(
        f"The row is a {type(row).__name__}; wanted a dict of column names to values.",
        hint="For several rows at once call predict or predict_proba.",
    )


class Place(NamedTuple):
    """Arrays that hold one row.

    Parameters
    ----------
    numbers
        ``(F,)`` float32: numeric columns, then boolean ones.
    texts
        ``(C,)`` object array of str: categorical columns.
    dates
        ``(D,)`` float64: days since 1970-01-01.
    feeds
        Column name to its element of the arrays above, as a view of shape ``(1,)``.
    """

    numbers: np.ndarray[Any, Any]
    texts: np.ndarray[Any, Any]
    dates: np.ndarray[Any, Any]
    feeds: Feeds


class _Group(NamedTuple):
    """The columns of one kind, read at once."""

    names: tuple[str, ...]
    get: Callable[[Any], Sequence[Any]]
    plain: frozenset[type]
    plain_or_missing: frozenset[type]
    convert: Callable[[Any], Any]
    missing: Any

    @classmethod
    def of(cls, schema: Schema, kind: ColumnKind) -> _Group:
        names = tuple(column.name for column in schema.columns if column.kind == kind)
        convert, plain = CONVERTERS[kind], _PLAIN[kind]
        return cls(names, _getter(names), plain, plain | {NoneType}, convert, convert(None))

    def read(self, row: Mapping[str, Any]) -> Sequence[Any]:
        values = self.get(row)
        kinds = set(map(type, values))
        if kinds <= self.plain:
            return values
        if kinds <= self.plain_or_missing:
            missing = self.missing
            return [missing if value is None else value for value in values]
        return list(map(self.convert, values))


def _getter(names: tuple[str, ...]) -> Callable[[Any], Sequence[Any]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: [row[name] for name in names]
