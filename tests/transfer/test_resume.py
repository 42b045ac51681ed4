"""A run that is really killed, and the one after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import narwhals as nw
import numpy as np
import pyarrow as pa
import pytest

from potstill.errors import UserError
from potstill.transfer import Store, collect
from potstill.transfer.member import PIECE_ROWS
from potstill.types import Column, Dataset, Floats, Schema, Task

PROGRAM = Path(__file__).with_name("interruptible.py")


def run_whole(what: str, folder: Path) -> tuple[str, str]:
    """Run to the end; the answers' digest and the calls made."""
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), what, str(folder), "0"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()[-1], calls.read_text() if calls.exists() else ""


def run_killed(what: str, folder: Path, hang_at: int) -> str:
    """Run until the ``hang_at``-th call of a teacher, kill it there; the calls finished until then."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), what, str(folder), str(hang_at)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        process.kill()
        process.wait(timeout=10)
    return (folder / "calls").read_text()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    return whole, killed


def test_collect_after_kill_gives_the_same_bytes_and_fits_only_what_was_not_finished(
    folders: tuple[Path, Path],
) -> None:
    whole, killed = folders
    expected, calls = run_whole("collect", whole)
    # 2 members x 3 folds, each asked 90 + 50 rows by 30.
    assert calls == "fppppp" * 6

    # Killed in the fourth fit's second part, with the first chunk of it written.
    assert run_killed("collect", killed, hang_at=3 * 5 + 5) == "fppppp" * 3 + "fpppp"
    assert len(list(killed.rglob("*.tmp"))) == 1

    resumed, calls = run_whole("collect", killed)
    assert resumed == expected
    # The fourth model is fitted again, but its finished answers to train (3 chunks) are not asked again.
    assert calls == "fpp" + "fppppp" * 2
    assert not list(killed.rglob("*.tmp"))

    again, calls = run_whole("collect", killed)
    assert (again, calls) == (expected, "")


def test_collect_file_after_kill_gives_the_same_bytes_and_asks_only_what_was_not_finished(
    folders: tuple[Path, Path],
) -> None:
    whole, killed = folders
    expected, calls = run_whole("file", whole)
    assert calls == "pp" * 10

    # Killed in the second teacher's answer to the fifth batch.
    assert run_killed("file", killed, hang_at=10) == "p" * 9
    assert len(list((killed / "answers").glob("shard-*.parquet"))) == 4

    resumed, calls = run_whole("file", killed)
    assert resumed == expected
    assert calls == "pp" * 6

    again, calls = run_whole("file", killed)
    assert (again, calls) == (expected, "")


class Expensive:
    """A fitted teacher that counts the rows it is asked for and breaks down after some of them."""

    name = "expensive"
    fingerprint = "expensive"

    def __init__(self, breaks_after: float) -> None:
        self.asked: list[int] = []
        self.breaks_after = breaks_after

    def predict(self, dataset: Dataset) -> Floats:
        if sum(self.asked) >= self.breaks_after:
            raise ConnectionError("the line is dead")
        self.asked.append(len(dataset))
        share = dataset.rows["x"].to_numpy() / 1e6
        return np.column_stack([share, 1 - share]).astype(np.float32)


def test_a_teacher_that_breaks_down_is_not_asked_twice(tmp_path: Path) -> None:
    n = 3 * PIECE_ROWS + 10
    rows = nw.from_native(pa.table({"x": np.arange(n, dtype=np.float64)}), eager_only=True)
    schema = Schema((Column("x", "numeric"),))
    train = Dataset(rows, Task("binary", "y", (0, 1)), schema, labels=np.arange(n) % 2)
    arguments = {"folds": np.zeros(n, dtype=np.int64), "store": Store(tmp_path), "seed": 0}
    with pytest.raises(UserError, match="the line is dead"):
        collect([Expensive(2 * PIECE_ROWS)], {"train": train}, **arguments)
    again = Expensive(np.inf)
    collected = collect([again], {"train": train}, **arguments)
    assert [size for size in again.asked if size > 1] == [PIECE_ROWS, 10]
    np.testing.assert_allclose(collected.answers["train"][0, :, 0], np.arange(n) / 1e6, rtol=1e-6)
