"""C text: names, literals, tables, and loops over broadcast shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

INDENT = "    "
C_TYPES = {"f4": "float", "f8": "double", "i8": "int32_t", "i4": "int32_t", "b1": "uint8_t"}
C_TYPES |= {"u1": "uint8_t", "i1": "int8_t", "u2": "uint16_t", "i2": "int16_t"}
_WHOLE = (np.uint8, np.int8, np.uint16, np.int16, np.int32)
_PER_LINE = 8


def c_type(values: NDArray[Any]) -> str:
    """The C type that holds an array's numbers; whole numbers are ids, which fit in 32 bits."""
    return C_TYPES[values.dtype.str[1:]]


def narrow(values: NDArray[Any]) -> NDArray[Any]:
    """The same whole numbers in the smallest type that holds them; other numbers as they are."""
    if values.dtype.kind not in "iu":
        return values
    fitting = (kind for kind in _WHOLE if (values == values.astype(kind)).all())
    return values.astype(next(fitting))


def halves(values: NDArray[Any]) -> NDArray[np.uint16] | None:
    """Bits of the same numbers as float16; None where they are not all finite and the same there."""
    if values.dtype != np.float32:
        return None
    with np.errstate(over="ignore"):
        short = values.astype(np.float16)
    same = np.isfinite(short).all() and (short.astype(np.float32) == values).all()
    return short.view(np.uint16) if same else None


def literal(value: Any, kind: str) -> str:
    """A number as C reads it back to the last bit."""
    if kind not in ("float", "double"):
        return str(int(value))
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = str(np.float32(value)) if kind == "float" else repr(float(value))
    text = text if any(mark in text for mark in ".en") else f"{text}.0"
    return f"{text}f" if kind == "float" else text


def quoted(text: str) -> str:
    """A C string of the text's UTF-8 bytes."""
    shown = []
    for byte in text.encode():
        plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
        shown.append(chr(byte) if plain else f"\\{byte:03o}")
    return f'"{"".join(shown)}"'


def comment(text: str) -> str:
    """Text that cannot end the comment it stands in."""
    safe = "".join(letter if letter.isprintable() else "?" for letter in text)
    return safe.replace("*/", "* /").replace("/*", "/ *")


def table(name: str, values: NDArray[Any]) -> str:
    """A constant array."""
    kind = c_type(values)
    texts = [literal(value, kind) for value in values.ravel().tolist()]
    rows = [", ".join(texts[at : at + _PER_LINE]) for at in range(0, len(texts), _PER_LINE)]
    body = f",\n{INDENT}".join(rows)
    return f"static const {kind} {name}[{len(texts)}] = {{\n{INDENT}{body}\n}};"


def strides(shape: Sequence[int]) -> list[int]:
    """Of a dense array, in elements."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def broadcast(shape: Sequence[int], to: Sequence[int]) -> list[int]:
    """Strides of an array of ``shape`` as one walks over ``to``; 0 along what is repeated."""
    own = [0 if size == 1 else step for size, step in zip(shape, strides(shape), strict=True)]
    return [0] * (len(to) - len(shape)) + own


def loop(shape: Sequence[int], steps: Sequence[Sequence[int]], statement: str) -> list[str]:
    """Nested loops over ``shape`` around ``statement``, in which ``{0}``, ``{1}``, … are places in arrays.

    Parameters
    ----------
    shape
        Of what is walked over.
    steps
        For each array its strides along ``shape``.
    statement
        C, with one field for each array.
    """
    merged: list[tuple[int, list[int]]] = []
    for axis in (axis for axis, size in enumerate(shape) if size != 1):
        size, here = shape[axis], [each[axis] for each in steps]
        if merged and merged[-1][1] == [size * step for step in here]:
            merged[-1] = (merged[-1][0] * size, here)
        else:
            merged.append((size, here))
    lines = [
        f"{INDENT * depth}for (int i{depth} = 0; i{depth} < {size}; i{depth}++)"
        for depth, (size, _) in enumerate(merged)
    ]
    places = []
    for array in range(len(steps)):
        terms = [
            f"i{depth}" if each[array] == 1 else f"{each[array]} * i{depth}"
            for depth, (_, each) in enumerate(merged)
            if each[array]
        ]
        places.append(" + ".join(terms) or "0")
    return [*lines, INDENT * len(merged) + statement.format(*places)]
