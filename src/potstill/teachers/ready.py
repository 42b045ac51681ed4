"""Objects that are a Teacher or a Trainable already, whoever wrote them."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import msgspec

from potstill.errors import UserError
from potstill.types import Task, Teacher, Trainable


class Ready:
    """Adapter of what needs none: the object is handed through."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        missing = object()
        wanted = ("name", "fingerprint")
        return all(inspect.getattr_static(source, member, missing) is not missing for member in wanted)

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:  # noqa: ARG003
        return source if name is None else renamed(source, name)  # type: ignore[no-any-return]


def renamed(teacher: Any, name: str) -> Any:
    """The same teacher under another name.

    Raises
    ------
    UserError
        If its class has no field ``name`` to replace.
    """
    if teacher.name == name:
        return teacher
    if dataclasses.is_dataclass(teacher) and "name" in {f.name for f in dataclasses.fields(teacher)}:
        return dataclasses.replace(teacher, name=name)  # type: ignore[type-var]
    if isinstance(teacher, msgspec.Struct) and "name" in teacher.__struct_fields__:
        return msgspec.structs.replace(teacher, name=name)
    raise UserError(
        f"Teacher {teacher.name!r} should be called {name!r}, but {type(teacher).__name__} has no "
        "field 'name'.",
        hint="Give the teachers different names yourself.",
    )
