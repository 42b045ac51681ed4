"""Whatever goes wrong: one sentence, the right exit code, no traceback unless asked."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import click
import pytest

from potstill.cli.guard import guarded
from potstill.errors import ArtifactError, GateFailed, UserError

CASES = [
    (UserError("No such column.", hint="Look."), 2, "error: No such column.\n\nhint: Look.\n"),
    (ArtifactError("Not one."), 2, "error: Not one.\n"),
    (GateFailed("Too slow."), 1, "error: Too slow.\n"),
    (KeyboardInterrupt(), 130, "error: Interrupted: files that were not finished were not written.\n"),
    (
        OSError(errno.ENOSPC, "No space left on device", "m.onnx"),
        2,
        "error: The disk is full: m.onnx could not be written.\n\nhint: Free some space and try again.\n",
    ),
    (
        OSError(errno.ENOSPC, "No space left on device"),
        2,
        "error: The disk is full: the output could not be written.\n\nhint: Free some space and try again.\n",
    ),
    (
        PermissionError(errno.EACCES, "Permission denied", "m.onnx"),
        2,
        "error: m.onnx cannot be used: Permission denied.\n\nhint: Check the path and its permissions.\n",
    ),
    (
        ModuleNotFoundError("No module named 'torch'", name="torch.nn"),
        2,
        "error: This needs torch.nn, which is not installed: it belongs to the training half.\n\n"
        "hint: pip install 'potstill[train]'\n",
    ),
    (MemoryError(), 2, "error: The memory of this machine was not enough.\n\nhint: Try fewer rows.\n"),
    (
        RuntimeError("odd"),
        1,
        "error: Something unexpected went wrong: RuntimeError: odd\n\n"
        "hint: Run the same command with --debug to see where, and report it.\n",
    ),
]


def raising(error: BaseException) -> click.Command:
    @click.command()
    @click.option("--debug", is_flag=True, expose_value=False)
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(("error", "code", "said"), CASES, ids=lambda case: type(case).__name__)
def test_an_exception_becomes_a_sentence(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raising(error), []) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err.lstrip("\n")) == ("", said)


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(RuntimeError("odd")), ["--debug"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_warnings_of_libraries_are_kept_from_the_user_and_restored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @click.command()
    def warn() -> None:
        warnings.warn("old", FutureWarning, stacklevel=1)

    before = list(warnings.filters)
    assert guarded(warn, []) == 0
    assert capsys.readouterr().err == ""
    assert list(warnings.filters) == before


def test_a_wrong_option_shows_the_usage(run: Any) -> None:
    done = run("predict", "--nope")
    assert done.code == 2
    assert "Usage: potstill predict [OPTIONS] MODEL ROWS" in done.err
    assert "No such option" in done.err


def test_a_reader_that_leaves_is_no_error(classifier: Any) -> None:
    command = [sys.executable, "-m", "potstill.cli", "predict", str(classifier.path), "-"]
    row = "30,true,Rome,1,2020-01-15,9\n"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        try:
            process.stdin.write("age,member,city,code,since,price\n" + row * 20_000)
            process.stdin.close()
        except BrokenPipeError:
            pass
        process.wait(timeout=30)
        assert "Traceback" not in process.stderr.read()


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_leaves_nothing_half_written(classifier: Any, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    command = [sys.executable, "-m", "potstill.cli", "predict", str(classifier.path), "-", "--out", str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write("age,member,city,code,since,price\n" + "30,true,Rome,1,2020-01-15,9\n" * 20_000)
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [path.name for path in tmp_path.iterdir()] == [".p.csv.part"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr.read().endswith(
            "error: Interrupted: files that were not finished were not written.\n"
        )
        process.stdin.close()
    assert list(tmp_path.iterdir()) == []
