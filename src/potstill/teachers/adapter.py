"""What an adapter of an outside model is, and how a source is recognised without its library."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from potstill.errors import UserError
from potstill.types import Task, Teacher, Trainable


class Adapter(Protocol):
    """Turns one kind of source (an object, a path, an address) into a Teacher or a Trainable."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        """Whether ``source`` is of this kind. Cheap: imports no library, opens no file."""

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:
        """Make the Teacher, or the Trainable if ``source`` is not fitted.

        Parameters
        ----------
        source
            Something `recognises` said yes to.
        task
            What is predicted; the source is checked against it.
        trust
            Whether a file that runs code when it is opened may be opened.
        name
            Name of the teacher; None takes it from the source.

        Raises
        ------
        UserError
            If the source cannot answer the task.
        """


def packages(source: object) -> frozenset[str]:
    """Top-level packages that the type of ``source`` and its bases come from."""
    return frozenset(base.__module__.partition(".")[0] for base in type(source).__mro__)


def path_of(source: object) -> Path | None:
    """``source`` as a path; None when it is no path (an object, a web address)."""
    if isinstance(source, str):
        return None if "://" in source else Path(source)
    return source if isinstance(source, Path) else None


def extension(source: object) -> str:
    """The path's last extension in lower case, ``""`` when ``source`` is no path or has none."""
    path = path_of(source)
    return "" if path is None else path.suffix.lower()


def library(module: str, *, wanted_for: str, install: str) -> Any:
    """Import ``module``; a UserError says what it is wanted for when it is not installed.

    Parameters
    ----------
    module
        Dotted name of the module.
    wanted_for
        What needs it, completing "... needs the library".
    install
        The requirement to install, for the hint.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{wanted_for} needs the library {module.partition('.')[0]!r}, which is not installed.",
            hint=f"pip install {install!r}",
        ) from error
