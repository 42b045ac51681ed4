"""Settings that some parts have and others do not."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from potstill.types import Augmenter, Student

Part = TypeVar("Part", Student, Augmenter)


def adjusted(part: Part, **settings: Any) -> Part:
    """``part`` with those of ``settings`` that it has."""
    own = {name: value for name, value in settings.items() if name in part.__struct_fields__}
    changed: Part = msgspec.structs.replace(part, **own)  # type: ignore[type-var]
    return changed
