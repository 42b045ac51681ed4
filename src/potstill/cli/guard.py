"""From exception to a sentence on stderr and an exit code: no traceback reaches someone who did not ask."""

from __future__ import annotations

import errno
import traceback
import warnings
from collections.abc import Sequence

import click

from potstill.errors import PotstillError

FAILED = 1
WRONG_INPUT = 2
INTERRUPTED = 130

TRAINING_MODULES = frozenset(
    {"torch", "onnx", "sklearn", "scipy", "lightgbm", "xgboost", "catboost", "narwhals", "pyarrow", "pandas"}
    | {"polars", "matplotlib", "jinja2", "httpx", "platformdirs", "threadpoolctl"}
)


def guarded(command: click.Command, arguments: Sequence[str]) -> int:
    """Run ``command``; return the exit code after saying on stderr what went wrong, if anything did."""
    debug = "--debug" in arguments
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")
            answer = command.main(args=list(arguments), prog_name="potstill", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        sentence, hint, code = told(error)
        say(sentence, hint)
        return code
    return int(answer) if answer else 0


def told(error: BaseException) -> tuple[str, str, int]:
    """What to say about an exception: a sentence, a hint or ``""``, and the exit code."""
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "Interrupted: files that were not finished were not written.", "", INTERRUPTED
    if isinstance(error, PotstillError):
        return error.message, error.hint, error.exit_code
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in TRAINING_MODULES:
        return (
            f"This needs {error.name}, which is not installed: it belongs to the training half.",
            "pip install 'potstill[train]'",
            WRONG_INPUT,
        )
    if isinstance(error, MemoryError):
        return "The memory of this machine was not enough.", "Try fewer rows.", WRONG_INPUT
    if isinstance(error, OSError) and error.strerror:
        return _told_os(error)
    return (
        f"Something unexpected went wrong: {type(error).__name__}: {error}",
        "Run the same command with --debug to see where, and report it.",
        FAILED,
    )


def _told_os(error: OSError) -> tuple[str, str, int]:
    name = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = name.strip() or "the output"
        return (
            f"The disk is full: {what} could not be written.",
            "Free some space and try again.",
            WRONG_INPUT,
        )
    where = name.strip() or "A file"
    return f"{where} cannot be used: {error.strerror}.", "Check the path and its permissions.", WRONG_INPUT


def say(sentence: str, hint: str = "") -> None:
    """One message on stderr, with the next step below it."""
    click.echo(click.style("error: ", fg="red", bold=True) + sentence, err=True)
    if hint:
        click.echo(f"\nhint: {hint}", err=True)
