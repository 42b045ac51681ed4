"""The whole C file: a struct for one row, tables, and one function."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
from numpy.typing import NDArray

from potstill.artifact import Card
from potstill.errors import UserError
from potstill.export.c99.loops import INDENT, c_type, comment, halves, narrow, quoted, table
from potstill.export.c99.operators import OPERATORS
from potstill.export.c99.trace import Trace, trace
from potstill.types import TABLE_KINDS, Schema

_BYTES = {"float": 4, "double": 8, "int32_t": 4, "int16_t": 2, "uint16_t": 2, "uint8_t": 1, "int8_t": 1}
_POINTER_BYTES = 4
_FEW = 256
"""Numbers below which a table is kept as float: to read a float16 takes a few instructions."""

_KINDS = {"numeric": "float", "boolean": "float", "categorical": "const char *", "date": "double"}
_MEANING = {
    "numeric": "NAN is missing",
    "boolean": "0, 1, or NAN for missing",
    "categorical": "UTF-8; NULL or empty is missing, others than those learned are unseen",
    "date": "days since 1970-01-01 with fraction, NAN is missing",
}
_KEYWORDS = frozenset(
    {
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
    }
    | {"float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short"}
    | {"signed", "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile"}
    | {"while", "asm", "typeof", "nan", "infinity"}
    | {"bool", "true", "false", "nullptr", "constexpr", "alignas", "alignof", "static_assert", "thread_local"}
    | {"unix", "linux"}  # macros of gcc unless it is told -std=c99
)
_LEVEL_ID = """\
static int32_t level_id(const char *text, const char *const *keys, const uint16_t *ids, int n, int32_t unseen)
{
    int low = 0, high = n - 1;
    if (text == NULL) text = "";
    while (low <= high) {
        const int middle = (low + high) / 2, order = strcmp(text, keys[middle]);
        if (order == 0) return ids[middle];
        if (order < 0) high = middle - 1; else low = middle + 1;
    }
    return unseen;
}
"""
_HALF = """\
static float half(uint16_t bits)
{
    const uint32_t wide = (uint32_t)(bits & 0x8000u) << 16 | (uint32_t)(bits & 0x7fffu) << 13;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value * 0x1p112f;
}
"""


class Footprint(msgspec.Struct, frozen=True):
    """What the C file takes, its code of a few kilobytes aside.

    Parameters
    ----------
    flash_bytes
        Of the tables: thresholds, weights, texts with their pointers (of 4 bytes).
    ram_bytes
        Of the stack for intermediate values while a row is answered; nothing is kept between rows.
    """

    flash_bytes: int
    ram_bytes: int


def write_c(data: bytes, card: Card, *, name: str) -> tuple[str, Footprint]:
    """The C source of an artifact, and what it takes.

    Parameters
    ----------
    data
        The artifact.
    card
        Its Card.
    name
        What the function, the struct and the constants begin with; made an identifier.

    Raises
    ------
    UserError
        When the graph has an operator that is not written in C, or takes pictures or texts.
    """
    large = [column.kind for column in card.schema.columns if column.kind not in TABLE_KINDS]
    if large:
        raise UserError(
            f"The artifact takes a column of kind {large[0]}; only students of tables are written in C.",
            hint="ONNX Runtime has a C library that opens the artifact itself.",
        )
    prefix = identifier(name, set())
    traced = trace(data, card.schema)
    writer = _Writer(traced, card.schema)
    for node in traced.nodes:
        if node.op_type not in OPERATORS:
            raise UserError(
                f"The artifact's graph has the operator {node.op_type}, which is not written in C.",
                hint="Report this with potstill inspect --json.",
            )
        writer.begin(node)
        OPERATORS[node.op_type](writer, node)
    n_outputs = card.task.n_outputs
    writer.say(f"for (int k = 0; k < {n_outputs}; k++) output[k] = {writer.use(traced.output)}[k];")
    arenas = writer.arenas()
    parts = [
        _head(card, prefix, writer.fields),
        *([_LEVEL_ID] if writer.has_texts else []),
        *([_HALF] if writer.has_halves else []),
        *writer.tables,
        _function(prefix, writer.lines, arenas),
    ]
    ram = sum(_BYTES[kind] * size for kind, size in arenas.items())
    return "\n".join(parts), Footprint(flash_bytes=writer.flash_bytes, ram_bytes=ram)


def identifier(name: str, taken: set[str]) -> str:
    """A C identifier like ``name`` that is not yet taken; it is then."""
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "column"
    word = f"x{word}" if word[0].isdigit() else word
    while word in taken or word in _KEYWORDS:
        word += "_"
    taken.add(word)
    return word


class _Writer:
    """Collects statements and tables; memory is given by type, and again once a value is no longer read."""

    def __init__(self, traced: Trace, schema: Schema) -> None:
        self.tables: list[str] = []
        self.lines: list[str] = []
        self.flash_bytes = 0
        self.has_texts = False
        self.has_halves = False
        taken: set[str] = set()
        self.fields = {column.name: identifier(column.name, taken) for column in schema.columns}
        self._trace = traced
        self._owner: dict[str, str] = {}
        self._constants: dict[str, str] = {}
        self._wholes: dict[str, tuple[str, str]] = {}
        self._halves: set[str] = set()
        self._last = {name: at for at, node in enumerate(traced.nodes) for name in node.input}
        self._last[traced.output] = len(traced.nodes)
        self._at = -1
        self._live: dict[str, tuple[str, int, int]] = {}
        self._sizes: dict[str, int] = {}
        self._places: dict[str, str] = {}

    def begin(self, node: Any) -> None:
        self._at += 1
        ended = [name for name in self._live if self._ends(name) < self._at]
        for name in ended:
            del self._live[name]
        self.say(f"/* {node.op_type} */")

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._trace.values[name].shape)

    def array(self, name: str) -> NDArray[Any]:
        return self._trace.values[name]

    def is_constant(self, name: str) -> bool:
        return name in self._trace.constants

    def use(self, name: str) -> str:
        name = self._root(name)
        if name in self._trace.constants:
            if name not in self._constants:
                values = narrow(self.array(name))
                short = halves(values) if values.size >= _FEW else None
                if short is not None:
                    values = short
                    self._halves.add(name)
                self._constants[name] = self.constant(values)
            return self._constants[name]
        if name not in self._places:
            self._places[name] = self._placed(name)
            if name in self.fields:
                self.say(f"{self._places[name]}[0] = row->{self.fields[name]};")
        return self._places[name]

    def at(self, name: str, place: str) -> str:
        element = f"{self.use(name)}[{place}]"
        if self._root(name) not in self._halves:
            return element
        self.has_halves = True
        return f"half({element})"

    def whole(self, name: str) -> tuple[str, str] | None:
        if name not in self._trace.whole:
            return None
        if name not in self._wholes:
            numbers, scales = self._trace.whole[name]
            self._wholes[name] = (self.constant(numbers), self.constant(scales))
        return self._wholes[name]

    def text(self, name: str) -> str:
        return f"row->{self.fields[self._root(name)]}"

    def constant(self, values: NDArray[Any]) -> str:
        name = f"c{len(self.tables)}"
        self.tables.append(table(name, values))
        self.flash_bytes += _BYTES[c_type(values)] * values.size
        return name

    def texts(self, values: list[str]) -> str:
        name = f"c{len(self.tables)}"
        body = f",\n{INDENT}".join(map(quoted, values))
        self.tables.append(f"static const char *const {name}[{len(values)}] = {{\n{INDENT}{body}\n}};")
        self.flash_bytes += sum(_POINTER_BYTES + 1 + len(value.encode()) for value in values)
        self.has_texts = True
        return name

    def same(self, name: str, other: str) -> None:
        self._owner[name] = self._root(other)

    def say(self, *lines: str) -> None:
        self.lines.extend(lines)

    def arenas(self) -> dict[str, int]:
        return dict(self._sizes)

    def _root(self, name: str) -> str:
        return self._owner.get(name, name)

    def _ends(self, root: str) -> int:
        family = [root, *(name for name, owner in self._owner.items() if owner == root)]
        return max(self._last.get(name, -1) for name in family)

    def _placed(self, name: str) -> str:
        """First fit among what is live; the memory of a type is one array, so no pointer is ever cast."""
        values = self.array(name)
        kind, size = c_type(values), math.prod(values.shape)
        start = 0
        for _, low, high in sorted((k, a, b) for k, a, b in self._live.values() if k == kind):
            if low - start >= size:
                break
            start = max(start, high)
        self._live[name] = (kind, start, start + size)
        self._sizes[kind] = max(self._sizes.get(kind, 0), start + size)
        return f"({kind[0]}_ + {start})" if start else f"{kind[0]}_"


def _function(prefix: str, lines: list[str], arenas: dict[str, int]) -> str:
    memory = [f"{INDENT}{kind} {kind[0]}_[{size}];" for kind, size in sorted(arenas.items())]
    body = [INDENT + line for line in ("(void)row;", *lines)]
    signature = f"void {prefix}_predict(const {prefix}_row *row, float *output)"
    return "\n".join(["", signature, "{", *memory, *body, "}", ""])


def _head(card: Card, prefix: str, fields: dict[str, str]) -> str:
    task, upper = card.task, prefix.upper()
    if task.is_classification:
        answer = "the probabilities of " + ", ".join(str(label) for label in task.classes)
    else:
        answer = f"the value of {task.target}"
    columns = []
    for column in card.schema.columns:
        kind = _KINDS[column.kind]
        gap = "" if kind.endswith("*") else " "
        columns.append(
            f"{INDENT}{kind}{gap}{fields[column.name]}; /* {comment(column.name)}: {_MEANING[column.kind]} */"
        )
    return "\n".join(
        [
            f"/* {comment(card.name)}, written by potstill {card.potstill_version} from the artifact",
            f" * {card.content_hash} (content hash).",
            " *",
            f" * {prefix}_predict answers one row with {comment(answer)}.",
            " * C99 and its standard library, no heap, no state: several threads may call it. Link with -lm.",
            " * Never compile it with -ffast-math, which takes NAN, a missing value, for impossible. */",
            "#include <math.h>",
            "#include <stddef.h>",
            "#include <stdint.h>",
            "#include <string.h>",
            "",
            f"#define {upper}_OUTPUTS {task.n_outputs}",
            "",
            "typedef struct {",
            *columns,
            f"}} {prefix}_row;",
            "",
            f"void {prefix}_predict(const {prefix}_row *row, float *output);",
            "",
        ]
    )
