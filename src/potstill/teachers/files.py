"""Model files that hold a Python object: skops, and pickles, which run code when they are opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from potstill.errors import UserError
from potstill.teachers.adapter import library
from potstill.teachers.answers import speaking_for


def require_trust(path: Path, trust: bool, *, instead: str) -> None:
    """Refuse a file (or folder) that runs code when it is opened, unless it is trusted.

    Parameters
    ----------
    path
        The file.
    trust
        Whether the caller trusts it.
    instead
        A format that needs no trust, completing "or save it as ...".
    """
    if not trust:
        raise UserError(
            f"Opening {str(path)!r} runs whatever code is in it: wanted a file that holds only data, "
            "or your word "
            f"that this one is trusted.",
            hint=f"If you know where it comes from, pass --trust (trust=True); or save it as {instead}.",
        )


def open_skops(path: Path, trust: bool) -> Any:
    """The object in a skops file; types skops does not know to be harmless need ``trust``."""
    skops = library("skops.io", wanted_for=f"Opening {str(path)!r}", install="potstill[trust]")
    with speaking_for(path.stem, f"be read from {str(path)!r}"):
        unknown = skops.get_untrusted_types(file=path)
    if unknown and not trust:
        raise UserError(
            f"{str(path)!r} holds types that skops does not know to be harmless: "
            f"{', '.join(sorted(unknown))}.",
            hint="If you know where it comes from, pass --trust (trust=True).",
        )
    with speaking_for(path.stem, f"be read from {str(path)!r}"):
        return skops.load(path, trusted=unknown)


def open_pickle(path: Path, trust: bool) -> Any:
    """The object in a pickle or joblib file; only with ``trust``."""
    require_trust(path, trust, instead="skops or ONNX, or in the library's own format")
    joblib = library("joblib", wanted_for=f"Opening {str(path)!r}", install="potstill[train]")
    with speaking_for(path.stem, f"be read from {str(path)!r}"):
        return joblib.load(path)


OPENERS: Mapping[str, Callable[[Path, bool], Any]] = {
    ".skops": open_skops,
    ".pkl": open_pickle,
    ".pickle": open_pickle,
    ".joblib": open_pickle,
}
"""Extension to the function that opens such a file."""
