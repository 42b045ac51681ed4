"""One row from a dict to the graph's answer, with as little on the way as can be."""

from __future__ import annotations

import itertools
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from potstill.artifact.columns import Feeds, feeds, wrong_value
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
        return self._bound().answer(row).ravel().tolist()

    def noted(self, row: Mapping[str, Any]) -> tuple[Feeds, Floats]:
        """The row's ``(1,)`` inputs and the answer, in arrays of their own; raises as the call does."""
        place = self._reader.place()
        place.texts[:] = texts = self._reader.read(row, place)
        return place.feeds, self._bound().answer_to(place, texts).copy()

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

    def answer(self, row: Mapping[str, Any]) -> Floats:
        """The first output for a row, in memory that the next answer overwrites."""
        return self._run(self._reader.read(row, self._place))

    def answer_to(self, place: Place, texts: Sequence[str]) -> Floats:
        """The same for a row that was read already."""
        self._place.numbers[:] = place.numbers
        self._place.dates[:] = place.dates
        return self._run(texts)

    def _run(self, texts: Sequence[str]) -> Floats:
        if self._bind(texts):
            self._session.run_with_iobinding(self._binding)
            return self._output
        self._place.texts[:] = texts
        outputs = [self._session.get_outputs()[0].name]
        return self._session.run(outputs, self._place.feeds)[0]  # type: ignore[no-any-return]

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
        if not isinstance(row, Mapping):
            raise not_a_row(row)
        try:
            inputs = {name: np.array([to_free_text(row[name])], dtype=object) for name in self._names}
        except (KeyError, Refused):
            inputs = feeds([row], self._schema)  # says what is wrong with it
        return inputs, self._session.run(self._output, inputs)[0]


class RowReader:
    """Reads one row into arrays: one array for all columns of a type, so numpy is called a few times."""

    __slots__ = ("_dates", "_flags", "_numbers", "_schema", "texts")

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._numbers = _Group.of(schema, "numeric")
        self._flags = _Group.of(schema, "boolean")
        self.texts = _Group.of(schema, "categorical")
        self._dates = _Group.of(schema, "date")

    def place(self) -> Place:
        """Fresh arrays for one row."""
        numbers = np.zeros(len(self._numbers.names) + len(self._flags.names), np.float32)
        texts = np.empty(len(self.texts.names), dtype=object)
        dates = np.zeros(len(self._dates.names), np.float64)
        feeds: Feeds = {}
        for names, values in (
            (self._numbers.names + self._flags.names, numbers),
            (self.texts.names, texts),
            (self._dates.names, dates),
        ):
            feeds.update((name, values[at : at + 1]) for at, name in enumerate(names))
        return Place(numbers, texts, dates, feeds)

    def read(self, row: Mapping[str, Any], place: Place) -> Sequence[str]:
        """Write the row's numbers and dates into ``place`` and return its texts.

        Raises
        ------
        UserError
            When the row is no mapping, lacks a column, or a value is of a wrong type; nothing is
            written then.
        """
        try:
            # array narrows to float32 without the overflow warning whose silencing in numpy costs 1 µs
            numbers = array("f", self._numbers.read(row))
            if self._flags.names:
                numbers.extend(self._flags.read(row))
            texts, dates = self.texts.read(row), self._dates.read(row)
        except (KeyError, IndexError, TypeError, OverflowError, Refused):
            raise self._error(row) from None
        if numbers:
            place.numbers[:] = numbers
        if dates:
            place.dates[:] = dates
        return texts

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
