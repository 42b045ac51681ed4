"""Fingerprints: hex digests of whatever determines a teacher's answers."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from joblib.hashing import NumpyHasher

from potstill.errors import UserError


def digest(*parts: str | bytes) -> str:
    """SHA-256 over the parts, each with its length, so that no two lists of parts collide."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
    return sha.hexdigest()


def file_digest(path: Path) -> str:
    """Digest of a file's bytes, or of all files below a folder with their relative paths."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return digest(*(part for file in files for part in (str(file.relative_to(path)), file_digest(file))))
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def object_digest(value: object, teacher: str) -> str:
    """Digest of an object's class and state, the same in every process.

    Raises
    ------
    UserError
        If the object holds something that has no stable state (an open file, a lock).
    """
    try:
        return digest(type(value).__module__, type(value).__qualname__, str(_StateHasher("sha1").hash(value)))
    except Exception as error:
        raise UserError(
            f"Teacher {teacher!r} cannot be fingerprinted, so its answers could not be stored: {error}",
            hint="Hand over a plain function of the rows that calls it.",
        ) from error


def code_digest(function: object, teacher: str) -> str:
    """Digest of what a callable does: where it lives, its code, and the values it closes over.

    Partial functions are followed to the function and its arguments, bound methods to their object, other
    callables to their class and state. Global values a function reads are part of it; functions it calls
    count by name only.
    """
    if isinstance(function, functools.partial):
        bound = object_digest((function.args, sorted(function.keywords.items())), teacher)
        return digest("partial", code_digest(function.func, teacher), bound)
    if isinstance(function, MethodType):
        owner = object_digest(function.__self__, teacher)
        return digest("method", function.__func__.__qualname__, owner)
    if isinstance(function, FunctionType):
        held = {name: value for name, value in _held_values(function).items() if not _by_name_only(value)}
        state = object_digest(sorted(held.items(), key=lambda item: item[0]), teacher)
        return digest(str(function.__module__), function.__qualname__, _code_text(function.__code__), state)
    if isinstance(function, BuiltinFunctionType):
        return digest("builtin", str(function.__module__), function.__qualname__)
    return object_digest(function, teacher)


def library_version(source: object) -> str:
    """Version of the package that the type of ``source`` comes from, "" if it says none."""
    package = type(source).__module__.partition(".")[0]
    return f"{package} {getattr(sys.modules.get(package), '__version__', '')}"


def _held_values(function: FunctionType) -> dict[str, Any]:
    held: dict[str, Any] = {"defaults": (function.__defaults__, function.__kwdefaults__)}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        held[name] = cell.cell_contents
    for name in function.__code__.co_names:
        if name in function.__globals__:
            held[name] = function.__globals__[name]
    return held


def _by_name_only(value: object) -> bool:
    return isinstance(value, ModuleType | FunctionType | BuiltinFunctionType | type)


def _code_text(code: CodeType) -> str:
    constants = [
        _code_text(const) if isinstance(const, CodeType) else repr(const) for const in code.co_consts
    ]
    return "\n".join([code.co_code.hex(), " ".join(code.co_names), *constants])


def _stand_in(text: str) -> str:
    """What a function or class that cannot be imported is hashed as."""
    return text


class _StateHasher(NumpyHasher):  # type: ignore[misc]
    """joblib's hasher, which by itself refuses functions and classes that were defined inside another."""

    def save(self, obj: Any) -> None:
        # Between the fields of a tree's nodes is padding that nobody writes: it differs from load to load.
        is_record = type(obj) is np.ndarray and obj.dtype.names is not None
        super().save(
            [(name, np.ascontiguousarray(obj[name])) for name in obj.dtype.names] if is_record else obj
        )

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType) and "<" in value.__qualname__:
            return _stand_in, (f"{value.__module__} {value.__qualname__} {_code_text(value.__code__)}",)
        if isinstance(value, type) and "<" in value.__qualname__:
            return _stand_in, (f"{value.__module__} {value.__qualname__}",)
        return NotImplemented
