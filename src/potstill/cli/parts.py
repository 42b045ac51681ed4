"""``potstill parts``: what can be chosen, with its parameters and their defaults."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
import msgspec

from potstill.cli.command import command, examples, json_option
from potstill.cli.output import emit_json, emit_table, table
from potstill.errors import UserError

TABLES = {
    "students": ("potstill.students", "STUDENTS"),
    "objectives": ("potstill.objectives", "OBJECTIVES"),
    "augmenters": ("potstill.transfer.augment", "AUGMENTERS"),
    "teachers": ("potstill.teachers", "TEACHERS"),
}
"""Kind of part to the room and the name of its table."""


@command(epilog=examples("potstill parts", "potstill parts students", "potstill parts --json"))
@click.argument("kind", required=False)
@json_option()
def parts(kind: str | None, *, as_json: bool) -> None:
    """List what can be chosen, with its parameters.

    KIND is students, objectives, augmenters or teachers; without it, all are listed.
    """
    if kind is not None and kind not in TABLES:
        raise UserError(
            f"There are no parts called {kind!r}; there are: {', '.join(TABLES)}.",
            hint="Leave it out to see all of them.",
        )
    found = {name: described(*TABLES[name]) for name in ([kind] if kind else TABLES)}
    if as_json:
        emit_json(found)
        return
    for name, room in found.items():
        rows = [
            (
                part,
                facts["summary"],
                "\n".join(f"{key} = {value}" for key, value in facts["parameters"].items()),
            )
            for part, facts in room.items()
        ]
        emit_table(table(name, ("name", "what it is", "parameters"), rows, left=3))


def described(room: str, listed: str) -> dict[str, dict[str, Any]]:
    """Each part of a room's table: its docstring's first sentence, its parameters with their defaults."""
    found: Mapping[str, Any] = getattr(import_module(room), listed)
    return {
        name: {
            "summary": (inspect.getdoc(part) or "").split("\n\n")[0].replace("\n", " "),
            "parameters": parameters(part),
        }
        for name, part in found.items()
    }


def parameters(part: Any) -> dict[str, str]:
    """Parameter to the text of its default, ``required`` where it has none."""
    if not (isinstance(part, type) and issubclass(part, msgspec.Struct)):
        return {}
    return {field.name: _default(field) for field in msgspec.structs.fields(part)}


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not msgspec.NODEFAULT:
        return repr(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return repr(field.default_factory())
    return "required"
