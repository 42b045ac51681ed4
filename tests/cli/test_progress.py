"""What is drawn on stderr while the work goes on."""

from __future__ import annotations

import io

import pytest

from potstill.cli.progress import Lines, shortened, shown_progress, spoken
from potstill.types import Silent


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_say_when_a_stage_starts_ends_and_how_long_is_left() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, clock)
    lines.start("asking", total=10)
    for second, note in ((4.0, "a"), (12.0, "b"), (16.0, "c"), (31.0, "d")):
        clock.now = second
        lines.advance(2, note)
    lines.note("reused 3")
    lines.start("fitting")
    clock.now = 100.0
    lines.advance()
    lines.finish()
    assert stream.getvalue().splitlines() == [
        "asking …",
        "asking: 4 of 10 (b), about 18 s left",
        "asking: 8 of 10 (d), about 8 s left",
        "note: reused 3",
        "asking: done in 31 s",
        "fitting …",
        "fitting: done in 1 min 09 s",
    ]


def test_a_stage_that_failed_is_not_said_to_be_done() -> None:
    stream = io.StringIO()

    def fail() -> None:
        with shown_progress(stream=stream) as progress:
            progress.start("reading")
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail()
    assert stream.getvalue() == "reading …\n"


def test_quiet_is_silent() -> None:
    stream = io.StringIO()
    with shown_progress(quiet=True, stream=stream) as progress:
        assert isinstance(progress, Silent)
        progress.start("reading")
        progress.note("said")
    assert stream.getvalue() == ""


def test_bars_leave_a_line_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(stream=Terminal()) as progress:
        progress.advance()
        progress.start("asking", total=2)
        progress.advance(1, "forest")
        progress.note("reused [3]")
        progress.start("fitting")
        progress.advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line.strip() for line in captured.err.splitlines() if line.strip()]
    assert lines == ["reused [3]", "✓ asking, 0 s", "✓ fitting, 0 s"]


def test_durations_and_long_notes() -> None:
    assert [spoken(seconds) for seconds in (0.4, 59.4, 60, 125)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "2 min 05 s",
    ]
    assert shortened("a\nb") == "a\nb"
    cut = shortened("\n".join(str(line) for line in range(300))).splitlines()
    assert (len(cut), cut[0], cut[20], cut[-1]) == (41, "0", "  … 260 more lines …", "299")
