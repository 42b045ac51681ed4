"""How numbers are written."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.report import words


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.score(0.87341, "accuracy"), "0.8734"),
        (words.score(-0.2, "r2"), "−0.2000"),
        (words.score(51525.87, "rmse"), "51,530"),
        (words.score(None, "ece"), "–"),
        (words.digits(0.0), "0"),
        (words.digits(999.96), "1,000.0"),
        (words.digits(float("nan")), "–"),
        (words.digits(3.2e12, 3), "3.20e+12"),
        (words.digits(3.33e-5, 3), "0.0000333"),
        (words.micros(14.04), "14.0 µs"),
        (words.micros(3210.0), "3.21 ms"),
        (words.micros(1.1e6), "1.10 s"),
        (words.tick_micros(10.0), "10 µs"),
        (words.tick_micros(2000.0), "2 ms"),
        (words.size(412), "412 B"),
        (words.size(412_345), "412 kB"),
        (words.size(1_300_000), "1.30 MB"),
        (words.seconds(4.23), "4.2 s"),
        (words.seconds(200), "3 min 20 s"),
        (words.seconds(3900), "1 h 5 min"),
        (words.percent(0.756), "76\u00a0%"),
        (words.percent(-0.001), "0\u00a0%"),
        (words.percent(-1.43), "−143\u00a0%"),
        (words.times(3.42), "3.4×"),
        (words.times(310.4), "310×"),
        (words.listing([]), ""),
        (words.listing(["a"]), "a"),
        (words.listing(["a", "b", "c"]), "a, b and c"),
        (words.in_text("log_loss"), "log-loss"),
        (words.in_text("rmse"), "RMSE"),
    ],
)
def test_numbers_are_written(written, expected):
    assert written == expected


@given(st.text(max_size=80), st.integers(2, 60))
def test_one_line_fits_and_is_printable(text, width):
    line = words.one_line(text, width)
    assert len(line) <= width
    assert "\n" not in line
    line.encode("utf-8")


@given(st.floats(1e-5, 1e8), st.integers(2, 6))
def test_digits_say_the_number(value, n):
    assert float(words.digits(value, n).replace(",", "")) == pytest.approx(value, rel=10.0 ** (1 - n))


def test_the_room_imports_without_the_training_half():
    code = (
        "import sys; import potstill.report, potstill.evaluation; "
        "print(sorted({'torch','sklearn','pandas','matplotlib','jinja2','scipy','onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
