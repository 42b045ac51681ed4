"""What is drawn on stderr while the work goes on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from potstill.cli.progress import Lines, shown_progress
from potstill.cli.search_view import SearchView
from potstill.cli.words import shortened, spoken
from potstill.types import Latency, Silent, Tried


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


def tried(loss: float, *, fits: bool = True, size: float = 1.0) -> Tried:
    return Tried("mlp", size, "labels alone", loss, 242_000, Latency(19.94, 1234.0), fits)


def test_a_line_for_each_candidate_only_where_it_is_asked_for() -> None:
    for verbose in (False, True):
        stream = io.StringIO()
        with shown_progress(stream=stream, verbose=verbose) as progress:
            progress.candidate(tried(0.29114, fits=False, size=0.5))
        said = "tried mlp ×0.5, labels alone: loss 0.2911, 242 kB, 19.9 µs (p99 1,234 µs), over the budget\n"
        assert stream.getvalue() == (said if verbose else "")


def test_leaders_that_fit_come_first_and_five_are_kept() -> None:
    clock = Clock()
    view = SearchView(180.0, clock)
    assert view.drawn() is None
    view.add(tried(0.01, fits=False))
    for loss in (0.5, 0.3, 0.4, 0.7, 0.6, 0.2):
        view.add(tried(loss))
    clock.now = 41.0
    assert view.headline() == "7 tried, 1 over the budget · 41 s of 3 min 00 s"
    assert view.best == tried(0.2)
    text = drawn(view, width=100)
    losses = [line.split()[5] for line in text.splitlines() if " mlp " in line]
    assert losses == ["0.2", "0.3", "0.4", "0.5", "0.6"]
    view.clear()
    assert (view.best, view.drawn()) == (None, None)


def test_where_nothing_fits_the_closest_is_shown() -> None:
    view = SearchView()
    view.add(tried(0.3, fits=False))
    assert drawn(view, width=100).split()[-1] == "no"


def drawn(view: SearchView, *, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(view.drawn())
    return captured.get()


def test_the_table_fits_a_narrow_terminal() -> None:
    view = SearchView()
    view.add(tried(0.3))
    assert max(len(line.rstrip()) for line in drawn(view, width=60).splitlines()) <= 60


def test_the_leaders_are_drawn_while_the_search_goes_on_and_leave_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What rich needs to take a pipe for a terminal that can be redrawn.
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with shown_progress(stream=Terminal(), time_limit_s=90.0) as progress:
        progress.start("searching", total=2)
        progress.candidate(tried(0.4))
        progress.candidate(tried(0.3))
        progress.advance(2)
    said = capsys.readouterr().err
    assert "✓ searching, 0 s: 2 tried, best mlp ×1, labels alone: loss 0.3, 242 kB" in said
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1  # the cursor is hidden, and shown again


def test_an_interrupted_search_gives_the_cursor_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")

    def interrupted() -> None:
        with shown_progress(stream=Terminal()) as progress:
            progress.start("searching", total=2)
            progress.candidate(tried(0.4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    said = capsys.readouterr().err
    assert said.rfind("\x1b[?25h") > said.rfind("\x1b[?25l") >= 0
    assert "✓" not in said


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
