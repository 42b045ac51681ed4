"""Settings that some families have and others do not."""

from __future__ import annotations

from typing import Any

import msgspec

from potstill.types import Student


def adjusted(student: Student, **settings: Any) -> Student:
    """``student`` with those of ``settings`` that its family has."""
    own = {name: value for name, value in settings.items() if name in student.__struct_fields__}
    changed: Student = msgspec.structs.replace(student, **own)  # type: ignore[type-var]
    return changed
