"""What commands leave behind: JSON and tables on stdout, files that are whole or absent."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from potstill.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

_PIPED_WIDTH = 120


def emit_json(value: Any) -> None:
    """Print ``value`` as one indented JSON document; NaN becomes null."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> Table:
    """A rich table whose first ``left`` columns are text and the rest are figures."""
    from rich import box
    from rich.table import Table as RichTable

    drawn = RichTable(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="left" if place < left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def emit_table(drawn: Table) -> None:
    """Print a rich table on stdout, wide enough when stdout is a pipe."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(drawn)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to, beside ``path``; when the block succeeds it becomes ``path``, else it goes.

    Raises
    ------
    UserError
        The folder of ``path`` does not exist.
    """
    check_folder(path)
    beside = path.with_name(f".{path.name}.part")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def check_folder(path: Path | None) -> None:
    """Refuse an output path whose folder is not there or not writable, before any work is done."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise UserError(
            f"{path} cannot be written: the folder {path.parent} does not exist.",
            hint=f"mkdir -p {path.parent}",
        )
    if not os.access(path.parent, os.W_OK):
        raise UserError(
            f"{path} cannot be written: the folder {path.parent} is read-only or belongs to someone else.",
            hint="Write to a folder of your own.",
        )
    if path.is_dir():
        raise UserError(f"{path} cannot be written: it is a folder.", hint="Name a file in it.")
