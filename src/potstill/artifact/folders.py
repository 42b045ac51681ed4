"""Folders of pictures: which files below one are pictures, and how many others are passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from potstill.artifact.pictures import is_picture_file

IMAGE, LABEL = "image", "label"
"""The columns that a folder of pictures stands for."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm"})

_BEGINNING = 16
"""Bytes that tell a picture; more than any signature has."""


def picture_paths(folder: Path) -> tuple[list[Path], list[str]]:
    """The picture files anywhere below a folder, known by their names or beginnings.

    Hidden files, and those in hidden folders, are not looked at.

    Returns
    -------
    Their paths in the order of the names; and a note about the other files, where there are any.
    """
    paths: list[Path] = []
    others: Counter[str] = Counter()
    for path in _files(folder):
        if _is_picture(path):
            paths.append(path)
        else:
            others[path.suffix.lower() or "without a suffix"] += 1
    if not others:
        return paths, []
    listed = ", ".join(f"{count:,} {suffix}" for suffix, count in others.most_common())
    n_files = len(paths) + others.total()
    return paths, [
        f"Passed over {others.total():,} of {n_files:,} files in {folder}: they are of no kind of picture "
        f"that is read ({listed})."
    ]


def class_of(path: Path, folder: Path) -> str | None:
    """The name of the folder in ``folder`` that a picture belongs to; None where it is beside them."""
    first, *below = path.relative_to(folder).parts
    return first if below else None


def _files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        # A link to a folder is followed here, and no deeper.
        for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if path.is_file() and not hidden:
                yield path


def _is_picture(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as stream:
        return is_picture_file(stream.read(_BEGINNING))
