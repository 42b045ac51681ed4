"""Raw values to what the graph takes: one value at a time, and a column at a time with the same answers.

The rules, by kind of column:

=============  ====================================================================================
numeric        numbers, ``Decimal`` and booleans to float32, by way of float64; ±inf stays; text is refused,
               also when it looks like a number
boolean        ``True``/``False``, also as text in any case, and the numbers 0 and 1 to float32; else refused
categorical    text as it is; bytes as UTF-8; ``3`` and ``3.0`` to ``"3"``; ``True`` to ``"true"``; dates
               to ISO 8601; missing to ``""``
date           dates, datetimes (with a time zone: taken to UTC), ``numpy.datetime64`` and ISO 8601 text to
               float64 days since 1970-01-01; numbers are refused
text           text as it is, cut after 100,000 letters; bytes as UTF-8; other values as for categories
image          see `potstill.artifact.pictures`; a picture is never missing
=============  ====================================================================================

Missing is ``None``, NaN, NaT and ``pandas.NA``. Nothing here imports pandas, polars or pyarrow.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from types import NoneType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from potstill.artifact.pictures import picture_of, pictures_of
from potstill.artifact.refused import Refused, is_missing
from potstill.types import ColumnKind, Doubles, Floats

Values: TypeAlias = NDArray[Any] | list[Any]
"""One column as it came in: a rank-1 array of any dtype, or Python objects."""

_NAN = float("nan")
_DAY_TICKS = 86_400_000_000
_DAY_US = float(_DAY_TICKS)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_LARGEST_WHOLE = 2.0**63
_LARGEST = sys.float_info.max
MAX_LETTERS = 100_000
"""Letters of a text that are looked at: a bound for what strangers send, far beyond what a model reads."""

_FLAG_TEXTS = {"true": 1.0, "false": 0.0}
_PLAIN_NUMBERS = {float, int, bool, NoneType}
_NEVER_A_CATEGORY = (list, tuple, dict, set, frozenset, np.ndarray)


def to_number(value: Any) -> float:
    """The value of a numeric column as a float, NaN where it is missing.

    Raises
    ------
    Refused
        When the value is no number.
    """
    if type(value) is float or (type(value) is int and -_LARGEST < value < _LARGEST):
        return value
    if is_missing(value):
        return _NAN
    numeric = (int, float, np.bool_, np.integer, np.floating, Decimal, Fraction)
    if isinstance(value, numeric) and not isinstance(value, np.timedelta64):
        try:
            return float(value)
        except OverflowError:
            hint = "Leave such values out, or declare the column categorical."
            raise Refused("numbers that fit a 64-bit float", value, hint) from None
    raise Refused("numbers", value, _number_hint(value))


def to_flag(value: Any) -> float:
    """The value of a boolean column as 0.0 or 1.0, NaN where it is missing.

    Raises
    ------
    Refused
        When the value is neither true nor false.
    """
    if isinstance(value, (bool, np.bool_)):
        return 1.0 if value else 0.0
    if is_missing(value):
        return _NAN
    if isinstance(value, str) and value.lower() in _FLAG_TEXTS:
        return _FLAG_TEXTS[value.lower()]
    if isinstance(value, (int, float, np.integer, np.floating)) and value in (0, 1):
        return float(value)
    raise Refused("true, false, 0 or 1", value, "Map the values to booleans first; None means missing.")


def to_text(value: Any) -> str:
    """The value of a categorical column as text, ``""`` where it is missing.

    Raises
    ------
    Refused
        When the value is a container, or bytes that are not UTF-8.
    """
    if type(value) is str:
        return value
    if is_missing(value):
        return ""
    if isinstance(value, _NEVER_A_CATEGORY):
        hint = "Give one text, number or boolean a row; None means missing."
        raise Refused("one category a row", value, hint)
    if isinstance(value, np.generic):
        value = _python_value(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Refused("text", value, "Decode the bytes first; they are not UTF-8.") from None
    return _spelled(value)


def joined(columns: Iterable[Iterable[str]]) -> list[str]:
    """``n`` texts of the ``n`` of each column, a blank between them."""
    return [" ".join(texts) for texts in zip(*columns, strict=True)]


def to_free_text(value: Any) -> str:
    """The value of a text column, ``""`` where it is missing; what UTF-8 cannot say becomes a question mark.

    Raises
    ------
    Refused
        When the value is a container.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = to_text(value)[:MAX_LETTERS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def to_days(value: Any) -> float:
    """The value of a date column as days since 1970-01-01 (UTC), NaN where it is missing.

    Raises
    ------
    Refused
        When the value is no date, or text that is not ISO 8601.
    """
    if is_missing(value) or (isinstance(value, str) and value == ""):
        return _NAN
    if isinstance(value, np.datetime64):
        return float(_days_of_datetime64(np.array([value]))[0])
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise Refused("dates", value, "Write dates as ISO 8601, for instance 2024-05-31T12:00.") from None
    if isinstance(value, datetime):
        return _days_of_datetime(value)
    if isinstance(value, date):
        return float(value.toordinal() - _EPOCH_ORDINAL)
    hint = "A number does not say its unit or epoch: convert to datetime first." if _is_number(value) else ""
    raise Refused("dates", value, hint or "Give dates, datetimes or ISO 8601 text; None means missing.")


CONVERTERS: dict[ColumnKind, Callable[[Any], Any]] = {
    "numeric": to_number,
    "boolean": to_flag,
    "categorical": to_text,
    "date": to_days,
    "text": to_free_text,
    "image": picture_of,
}
"""Kind of column to the function that takes one of its values."""


def numbers(values: Values) -> Floats:
    """A numeric column as ``(n,)`` float32; `to_number` row by row."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return _narrow(values)
    objects = _objects(values)
    if set(map(type, objects)) <= _PLAIN_NUMBERS:
        try:
            return _narrow(np.array(objects, dtype=np.float64))
        except OverflowError:
            pass  # the slow way names the row
    return _narrow(np.array(_each(objects, to_number), dtype=np.float64))


def flags(values: Values) -> Floats:
    """A boolean column as ``(n,)`` float32; `to_flag` row by row."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "b":
        return values.astype(np.float32)
    return np.array(_each(_objects(values), to_flag), dtype=np.float32)


def texts(values: Values) -> NDArray[Any]:
    """A categorical column as ``(n,)`` object array of str; `to_text` row by row."""
    objects = _objects(values)
    if set(map(type, objects)) != {str}:
        objects = _each(objects, to_text)
    column = np.empty(len(objects), dtype=object)
    column[:] = objects
    return column


def free_texts(values: Values) -> NDArray[Any]:
    """A text column as ``(n,)`` object array of str; `to_free_text` row by row."""
    column = np.empty(len(values), dtype=object)
    column[:] = _each(_objects(values), to_free_text)
    return column


def days(values: Values) -> Doubles:
    """A date column as ``(n,)`` float64; `to_days` row by row."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return _days_of_datetime64(values)
    return np.array(_each(_objects(values), to_days), dtype=np.float64)


COLUMN_CONVERTERS: dict[ColumnKind, Callable[[Values], NDArray[Any]]] = {
    "numeric": numbers,
    "boolean": flags,
    "categorical": texts,
    "date": days,
    "text": free_texts,
    "image": pictures_of,
}
"""Kind of column to the function that takes all of its values."""


def days_to_iso(day: float) -> str | None:
    """The inverse of `to_days`: ISO 8601 text, exact for the years 1791 to 2148; None for NaN."""
    if math.isnan(day):
        return None
    return str(np.datetime64(round(Fraction(day) * _DAY_TICKS), "us"))


def _each(objects: Iterable[Any], convert: Callable[[Any], Any]) -> list[Any]:
    converted = []
    for row, value in enumerate(objects):
        try:
            converted.append(convert(value))
        except Refused as refusal:
            refusal.row = row
            raise
    return converted


def _objects(values: Values) -> list[Any]:
    # tolist would turn nanosecond dates and all time spans into bare integers
    if isinstance(values, list):
        return values
    return list(values) if values.dtype.kind in "mMV" else values.tolist()


def _narrow(values: NDArray[Any]) -> Floats:
    if values.dtype == np.float32:
        return np.ascontiguousarray(values)
    # by way of float64, so that a whole number rounds the same whatever carried it here
    with np.errstate(over="ignore"):
        return values.astype(np.float64).astype(np.float32)


def _days_of_datetime(moment: datetime) -> float:
    if moment.tzinfo is not None:
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:
            hint = "Leave out dates before year 1 or after year 9999."
            raise Refused("dates within the years 1 to 9999", moment, hint) from None
    seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
    whole_days = moment.toordinal() - _EPOCH_ORDINAL
    return (whole_days * _DAY_TICKS + seconds * 1_000_000 + moment.microsecond) / _DAY_US


def _days_of_datetime64(moments: NDArray[Any]) -> Doubles:
    microseconds = moments.astype("datetime64[us]")
    return np.where(np.isnat(microseconds), np.nan, microseconds.astype(np.int64) / _DAY_US)


def _python_value(value: np.generic) -> Any:
    if isinstance(value, np.datetime64) and np.datetime_data(value.dtype)[0] in ("ns", "ps", "fs", "as"):
        return value.astype("datetime64[us]").item()
    return value.item()


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _LARGEST_WHOLE else repr(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.bool_, np.number, Decimal))


def _number_hint(value: Any) -> str:
    if isinstance(value, str):
        try:
            return (
                f"Text is not read as a number: pass {float(value):g} itself, and None where one is missing."
            )
        except ValueError:
            return "Convert the column to numbers first; None means missing."
    if isinstance(value, (date, np.datetime64)):
        return "Convert dates to numbers first, or train with the column declared a date."
    return "Give numbers, and None where a value is missing."
