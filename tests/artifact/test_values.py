"""What a raw value means to a column of each kind."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.artifact.values import (
    COLUMN_CONVERTERS,
    CONVERTERS,
    Refused,
    days,
    days_to_iso,
    flags,
    numbers,
    texts,
    to_days,
    to_flag,
    to_number,
    to_text,
)

MISSING = [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, Decimal("NaN"), np.datetime64("NaT")]
NEWFOUNDLAND = timezone(timedelta(hours=-3, minutes=-30))


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_missing_of_every_library_is_missing_in_every_kind(value):
    assert math.isnan(to_number(value))
    assert math.isnan(to_flag(value))
    assert to_text(value) == ""
    assert math.isnan(to_days(value))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3),
        (2.5, 2.5),
        (True, 1),
        (np.int8(-4), -4),
        (np.float32(0.5), 0.5),
        (np.bool_(False), 0),
        (Decimal("1.25"), 1.25),
        (Fraction(1, 4), 0.25),
        (np.uint64(2**63), 2.0**63),
        (float("inf"), math.inf),
    ],
)
def test_numbers(value, number):
    assert to_number(value) == number
    assert numbers([value, None])[0] == np.float32(number)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Sales", "Sales"),
        ("", ""),
        (" 3", " 3"),
        (3, "3"),
        (3.0, "3"),
        (-0.0, "0"),
        (np.float32(3), "3"),
        (0.5, "0.5"),
        (1e300, "1e+300"),
        (2.0**62, "4611686018427387904"),
        (math.inf, "inf"),
        (True, "true"),
        (np.bool_(False), "false"),
        (b"caf\xc3\xa9", "café"),
        (np.str_("a"), "a"),
        (Decimal("3.00"), "3"),
        (Decimal("1.50"), "1.5"),
        (date(2024, 5, 31), "2024-05-31"),
        (np.datetime64("2024-05-31"), "2024-05-31"),
        (np.datetime64("2024-05-31T12:00:00.000000001"), "2024-05-31T12:00:00"),
        (2**70, str(2**70)),
        (pd.Interval(0, 1), "(0, 1]"),
    ],
)
def test_texts(value, text):
    assert to_text(value) == text
    assert texts([value, "x"]).tolist() == [text, "x"]


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (date(1970, 1, 2), 1.0),
        (datetime(1970, 1, 1, 6), 0.25),
        (datetime(1969, 12, 31, 18), -0.25),
        ("1970-01-03", 2.0),
        ("1970-01-01T12:00:00", 0.5),
        ("1970-01-01T00:00:00-03:30", 3.5 / 24),
        ("", math.nan),
        ("1970-01-01T12:00Z", 0.5),
        (datetime(1970, 1, 1, tzinfo=NEWFOUNDLAND), 3.5 / 24),
        (date(1, 1, 1), -719162),
        (np.datetime64("1970-01-01T06"), 0.25),
        (pd.Timestamp("1970-01-01 06:00", tz="UTC"), 0.25),
        (pd.Timestamp("1970-01-01 06:00", tz="Asia/Tokyo"), -0.125),
        (np.datetime64("9999-12-31"), 2932896),
    ],
)
def test_days(value, day):
    assert to_days(value) == pytest.approx(day, abs=0, nan_ok=True)
    assert days([value, None])[0] == pytest.approx(day, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("value", "flag"),
    [(True, 1), (np.bool_(False), 0), (1, 1), (0.0, 0), (np.int8(1), 1), ("True", 1), ("false", 0)],
)
def test_flags(value, flag):
    assert to_flag(value) == flag
    assert flags([value, None])[0] == flag


TEXT_HINT = "Text is not read as a number: pass 39 itself, and None where one is missing."


@pytest.mark.parametrize(
    ("kind", "value", "wanted", "hint"),
    [
        ("numeric", "39", "numbers", TEXT_HINT),
        ("numeric", "abc", "numbers", "Convert the column to numbers first; None means missing."),
        ("numeric", "", "numbers", "Convert the column to numbers first; None means missing."),
        (
            "numeric",
            date(2020, 1, 1),
            "numbers",
            "Convert dates to numbers first, or train with the column declared a date.",
        ),
        ("numeric", timedelta(1), "numbers", "Give numbers, and None where a value is missing."),
        ("numeric", np.timedelta64(1, "s"), "numbers", "Give numbers, and None where a value is missing."),
        ("numeric", 1j, "numbers", "Give numbers, and None where a value is missing."),
        (
            "numeric",
            10**400,
            "numbers that fit a 64-bit float",
            "Leave such values out, or declare the column categorical.",
        ),
        ("boolean", 2, "true, false, 0 or 1", "Map the values to booleans first; None means missing."),
        ("boolean", "yes", "true, false, 0 or 1", "Map the values to booleans first; None means missing."),
        (
            "categorical",
            ["a"],
            "one category a row",
            "Give one text, number or boolean a row; None means missing.",
        ),
        ("categorical", b"\xff", "text", "Decode the bytes first; they are not UTF-8."),
        ("date", 5, "dates", "A number does not say its unit or epoch: convert to datetime first."),
        ("date", "31.5.2024", "dates", "Write dates as ISO 8601, for instance 2024-05-31T12:00."),
        ("date", timedelta(1), "dates", "Give dates, datetimes or ISO 8601 text; None means missing."),
        (
            "date",
            datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
            "dates within the years 1 to 9999",
            "Leave out dates before year 1 or after year 9999.",
        ),
    ],
)
def test_wrong_values_are_refused_alone_and_in_columns(kind, value, wanted, hint):
    with pytest.raises(Refused) as alone:
        CONVERTERS[kind](value)
    assert (alone.value.wanted, alone.value.hint, alone.value.row) == (wanted, hint, None)
    with pytest.raises(Refused) as in_column:
        COLUMN_CONVERTERS[kind]([None, value])
    assert (in_column.value.wanted, in_column.value.row) == (wanted, 1)


def test_numbers_round_through_float64_whatever_carried_them():
    large = 2**53 + 1 + 2**30
    carried = [
        np.array([large]),
        np.array([large], dtype=np.uint64),
        [large],
        [Decimal(large)],
        [np.int64(large)],
    ]
    assert {numbers(values).tobytes() for values in carried} == {np.float32(float(large)).tobytes()}


def test_numbers_beyond_float32_become_infinite_without_a_warning():
    assert numbers([1e300, -1e300, None]).tolist()[:2] == [math.inf, -math.inf]
    assert numbers(np.array([1e300])).tolist() == [math.inf]


def test_nanosecond_dates_are_not_taken_for_integers():
    moments = np.array(["1970-01-02", "NaT"], dtype="datetime64[ns]")
    assert days(moments)[0] == 1.0
    with pytest.raises(Refused):
        numbers(moments)


@given(st.datetimes(datetime(1791, 1, 1), datetime(2148, 12, 31), timezones=st.none() | st.just(UTC)))
def test_days_come_back_as_the_same_moment(moment):
    as_utc = moment.replace(tzinfo=None)
    assert datetime.fromisoformat(days_to_iso(to_days(moment))) == as_utc


@given(
    st.lists(st.floats() | st.integers() | st.booleans() | st.none() | st.decimals(allow_nan=False)),
    st.sampled_from(["numeric", "categorical"]),
)
def test_a_column_converts_as_its_values_do(values, kind):
    try:
        one_by_one = [CONVERTERS[kind](value) for value in values]
    except Refused:
        with pytest.raises(Refused):
            COLUMN_CONVERTERS[kind](values)
        return
    with np.errstate(over="ignore"):
        expected = np.array(one_by_one, dtype=np.float64).astype("f4") if kind == "numeric" else one_by_one
    np.testing.assert_array_equal(COLUMN_CONVERTERS[kind](values), expected)
