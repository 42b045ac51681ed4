"""One column at a time: from a frame of any kind to an Arrow array, and from there to numbers, days or texts.

The single place that says what a value means, so pandas, polars and Arrow rows give the same tensors, the
same levels and the same hash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from potstill.errors import UserError
from potstill.types import Bools, Doubles, Ints

DAY_MICROSECONDS = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)?(?:Z|[+-]\d\d:?\d\d)?")
_SHOWN = 3
_LOOKED_AT_FIRST = 100


def arrow_column(rows: nw.DataFrame[Any], name: str) -> pa.Array:
    """Column ``name`` as one Arrow array, dictionaries decoded, NaN and ``""`` left as they are.

    Raises
    ------
    UserError
        There is no such column, or it holds values of several kinds.
    """
    if name not in rows.columns:
        raise UserError(
            f"Wanted a column called {name!r}, got rows with the columns {listed(rows.columns)}.",
            hint="rows must have every column the schema names.",
        )
    return arrow_values(rows[name], name)


def arrow_values(series: nw.Series[Any], name: str) -> pa.Array:
    """``series`` as one Arrow array; ``name`` is what an error calls it."""
    try:
        values = series.to_arrow()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _unreadable(series, name, error) from error
    if pa.types.is_dictionary(values.type):
        values = values.cast(_wide(values.type.value_type))
    if values.type != _wide(values.type):
        values = values.cast(_wide(values.type))
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values if isinstance(values, pa.Array) else pa.concat_arrays(values.chunks)


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(_wide(kind)))


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_day(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def missing(values: pa.Array) -> Bools:
    """``(n,)`` where there is no value: null, NaN or the empty string."""
    if is_text(values.type):
        gaps = pc.fill_null(pc.equal(values, pa.scalar("", values.type)), True)
    else:
        gaps = pc.is_null(values, nan_is_null=True)
    return np.asarray(gaps.to_numpy(zero_copy_only=False), dtype=np.bool_)


def to_numbers(values: pa.Array, name: str) -> Doubles:
    """``(n,)`` float64; False and True are 0 and 1, missing values NaN, texts are read as numbers.

    Raises
    ------
    UserError
        A text is no number, or the values are dates or nested.
    """
    kind = values.type
    if pa.types.is_boolean(kind) or is_number(kind) or pa.types.is_null(kind):
        numbers = values.cast(pa.float64(), safe=False)
    elif is_text(kind):
        numbers = _parsed(values, name)
    else:
        raise UserError(
            f"Wanted numbers in column {name!r}, got {kind}.",
            hint=f"give the column as numbers, or leave it out: drop {name!r}.",
        )
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def to_booleans(values: pa.Array, name: str) -> Doubles:
    """``(n,)`` float64 of 0 and 1, NaN where missing; texts may be ``true`` and ``false`` in any case.

    Raises
    ------
    UserError
        A value is neither.
    """
    if is_text(values.type):
        lowered = pc.utf8_lower(values)
        texts = pc.if_else(
            pc.equal(lowered, "true"), "1", pc.if_else(pc.equal(lowered, "false"), "0", values)
        )
        values = texts.cast(pa.large_string())
    numbers = to_numbers(values, name)
    wrong = ~(np.isnan(numbers) | (numbers == 0) | (numbers == 1))
    if wrong.any():
        raise UserError(
            f"Wanted only true and false (or 1 and 0) in column {name!r}, got {offenders(values, wrong)}.",
            hint=f"declare {name!r} numeric or categorical instead.",
        )
    return numbers


def to_days(values: pa.Array, name: str) -> Doubles:
    """``(n,)`` float64 days since 1970-01-01 UTC with the time of day as fraction; NaN where missing.

    Dates and times without a zone are taken as UTC. Texts must be ISO 8601, such as ``2013-01-31`` or
    ``2013-01-31T12:30:00+01:00``.

    Raises
    ------
    UserError
        A value is no date.
    """
    if is_text(values.type):
        return _days_of_texts(values, name)
    if not is_day(values.type) and not pa.types.is_null(values.type):
        raise UserError(
            f"Wanted dates in column {name!r}, got {values.type}.",
            hint="give dates as dates or as ISO texts such as 2013-01-31.",
        )
    zone = getattr(values.type, "tz", None)
    moments = values.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    numbers = moments.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, dtype=np.float64) / DAY_MICROSECONDS


def to_texts(values: pa.Array, name: str) -> pa.Array:
    """The values as texts, null where missing: how a level is written, here and in the artifact.

    Whole numbers have no decimal point (3.0 is ``3``), other numbers are as short as they can be, booleans
    are ``true`` and ``false``, dates ISO 8601.

    Raises
    ------
    UserError
        The values are nested or binary and have no text form.
    """
    kind = values.type
    if is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        texts = values.cast(pa.large_string())
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.large_string()), texts)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise UserError(
            f"Wanted categories in column {name!r}, got {kind}.",
            hint=f"give the column as text, or leave it out: drop {name!r}.",
        )
    if is_number(kind):
        values = pa.array(to_numbers(values, name), from_pandas=True)
    elif getattr(kind, "unit", "") == "ns":
        values = values.cast(_in_microseconds(kind), safe=False)
    encoded = pc.dictionary_encode(values)
    levels = [_level_text(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(levels, pa.large_string()).take(encoded.indices)


def number_text(number: float) -> str:
    """``3`` for 3.0, the shortest text that reads back for other numbers."""
    whole = np.isfinite(number) and number == int(number) and abs(number) < 2**63
    return str(int(number)) if whole else repr(float(number))


def all_dates(texts: pa.Array) -> bool:
    """Whether every text is an ISO 8601 date (missing ones aside) and there is at least one."""
    first = texts.slice(0, _LOOKED_AT_FIRST).to_pylist()
    if any(text and _iso_days(text) is None for text in first):
        return False
    found = [text for text in pc.unique(texts).to_pylist() if text]
    return bool(found) and all(_iso_days(text) is not None for text in found)


def number_share(texts: pa.Array) -> tuple[float, Bools]:
    """Share of the given texts that read as numbers, and ``(n,)`` where one is given but does not."""
    encoded = pc.dictionary_encode(texts)
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    words = [not is_number_text(text) for text in encoded.dictionary.to_pylist()]
    wrong = np.array([*words, False])[codes] & ~missing(texts)
    given = len(texts) - int(missing(texts).sum())
    return 1.0 - wrong.sum() / max(given, 1), wrong


def is_number_text(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def offenders(values: pa.Array, wrong: Bools) -> str:
    """``'abc' in row 17, 'x' in row 40 and 3 more``: the first values at ``wrong``, rows counted from 0."""
    positions = np.flatnonzero(wrong)
    shown = [f"{values[int(position)].as_py()!r} in row {position}" for position in positions[:_SHOWN]]
    more = len(positions) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def listed(names: Sequence[object], most: int = 8) -> str:
    """``'a', 'b' and 3 more``."""
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def iso_day(day: float) -> str:
    """A day number as ISO date, for people."""
    return str(np.datetime64(int(np.floor(day)), "D"))


def _level_text(value: Any) -> str:
    if isinstance(value, float):
        return number_text(value)
    return str(value.isoformat()) if isinstance(value, date) else str(value)


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    """The same kind of time to the microsecond, which is what Python's own types hold."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")


def _wide(kind: pa.DataType) -> pa.DataType:
    """Texts of every kind as large_string, files as large_binary, so that many of them fit in one array."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary(kind) else kind


def _parsed(texts: pa.Array, name: str) -> pa.Array:
    given = pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
    try:
        return given.cast(pa.float64())
    except pa.ArrowInvalid:
        _, wrong = number_share(texts)
        if wrong.any():
            raise UserError(
                f"Wanted numbers in column {name!r}, got {offenders(texts, wrong)}.",
                hint="correct these values or make them empty (missing), or declare the column categorical.",
            ) from None
    return pa.array([float(text) if text else None for text in texts.to_pylist()], pa.float64())


def _days_of_texts(texts: pa.Array, name: str) -> Doubles:
    encoded = pc.dictionary_encode(texts)
    codes: Ints = encoded.indices.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False)
    found = [_iso_days(text) if text else np.nan for text in encoded.dictionary.to_pylist()]
    wrong = np.array([day is None for day in found] + [False])[codes]
    if wrong.any():
        raise UserError(
            f"Wanted dates in column {name!r}, got {offenders(texts, wrong)}.",
            hint="give dates as ISO texts such as 2013-01-31 or 2013-01-31T12:30:00.",
        )
    return np.array([*found, np.nan], dtype=np.float64)[codes]


def _iso_days(text: str) -> float | None:
    if not _ISO_DATE.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = aware - _EPOCH
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return microseconds / DAY_MICROSECONDS


def _unreadable(series: nw.Series[Any], name: str, error: Exception) -> UserError:
    """Say which kinds of value the column holds and where each is first seen."""
    first: dict[str, str] = {}
    for row, value in enumerate(series.to_list()):
        if value is None or (isinstance(value, float) and np.isnan(value)):
            continue
        kind = _kind_word(value)
        if kind not in first:
            first[kind] = f"{kind} ({value!r} in row {row})"
    if len(first) < 2:
        return UserError(
            f"Column {name!r} cannot be read: {str(error).rstrip('.')}.",
            hint=f"convert the column to a plain type first, or leave it out: drop {name!r}.",
        )
    return UserError(
        f"Wanted values of one kind in column {name!r}, got {' and '.join(first.values())}.",
        hint=f"convert the column to one type before handing it over, or leave it out: drop {name!r}.",
    )


def _kind_word(value: object) -> str:
    """The kind of one Python value in a word for people."""
    if isinstance(value, bool | np.bool_):
        return "booleans"
    if isinstance(value, int | float | np.number):
        return "numbers"
    return "text" if isinstance(value, str) else f"{type(value).__name__} objects"
