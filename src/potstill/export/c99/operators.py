"""ONNX operators as C statements on one row: ``OPERATORS[op_type](code, node)``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from potstill.errors import UserError
from potstill.export.c99.loops import INDENT, broadcast, c_type, loop, narrow, strides
from potstill.export.c99.trees import read_trees

_MOST_LEVELS = 2**16 - 2


class Code(Protocol):
    """Where the statements go, and what is known of the values."""

    def shape(self, name: str) -> tuple[int, ...]: ...

    def array(self, name: str) -> NDArray[Any]: ...

    def is_constant(self, name: str) -> bool: ...

    def use(self, name: str) -> str:
        """The C name of an array."""

    def at(self, name: str, place: str) -> str:
        """The C expression of one element of an array."""

    def whole(self, name: str) -> tuple[str, str] | None:
        """The C names of an int8 weight's numbers and of its columns' scales; None for other values."""

    def text(self, name: str) -> str:
        """The C expression of a text column."""

    def constant(self, values: NDArray[Any]) -> str:
        """Add a table of the array's type; return its C name."""

    def texts(self, values: list[str]) -> str:
        """Add a table of texts; return its C name."""

    def same(self, name: str, other: str) -> None:
        """``name`` is the same memory as ``other``."""

    def say(self, *lines: str) -> None: ...


def _elementwise(expression: str) -> Callable[[Code, onnx.NodeProto], None]:
    """``a``, ``b``, ``c`` are the operands, broadcast to the result's shape."""

    def write(code: Code, node: onnx.NodeProto) -> None:
        out = code.shape(node.output[0])
        operands = [name for name in node.input if name]
        steps = [strides(out), *(broadcast(code.shape(name), out) for name in operands)]
        statement = expression
        for place, (letter, name) in enumerate(zip("abc", operands, strict=False), start=1):
            statement = statement.replace(f"<{letter}>", code.at(name, f"{{{place}}}"))
        code.say(*loop(out, steps, f"{code.use(node.output[0])}[{{0}}] = {statement};"))

    return write


def _math(function: str) -> Callable[[Code, onnx.NodeProto], None]:
    def write(code: Code, node: onnx.NodeProto) -> None:
        single = code.array(node.input[0]).dtype == np.float32
        _elementwise(f"{function}{'f' if single else ''}(<a>)")(code, node)

    return write


def _cast(code: Code, node: onnx.NodeProto) -> None:
    _elementwise(f"({c_type(code.array(node.output[0]))})<a>")(code, node)


def _same(code: Code, node: onnx.NodeProto) -> None:
    code.same(node.output[0], node.input[0])


def _transpose(code: Code, node: onnx.NodeProto) -> None:
    shape, out = code.shape(node.input[0]), code.shape(node.output[0])
    order = _attributes(node).get("perm", list(range(len(shape)))[::-1])
    moved = [axis for axis in order if shape[axis] != 1]
    if moved == sorted(moved):
        code.same(node.output[0], node.input[0])
        return
    steps = [strides(out), [strides(shape)[axis] for axis in order]]
    statement = f"{code.use(node.output[0])}[{{0}}] = {code.at(node.input[0], '{1}')};"
    code.say(*loop(out, steps, statement))


def _concat(code: Code, node: onnx.NodeProto) -> None:
    out = code.shape(node.output[0])
    axis = _attributes(node)["axis"] % len(out)
    start = 0
    for name in node.input:
        shape = code.shape(name)
        offset = start * strides(out)[axis]
        statement = f"{code.use(node.output[0])}[{offset} + {{0}}] = {code.at(name, '{1}')};"
        code.say(*loop(shape, [strides(out), strides(shape)], statement))
        start += shape[axis]


def _gather(code: Code, node: onnx.NodeProto) -> None:
    data, index = node.input
    shape = code.shape(data)
    axis = _attributes(node).get("axis", 0) % len(shape)
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    n_picked = math.prod(code.shape(index))
    at = code.array(index) % shape[axis]
    picked = code.constant(narrow(at)) if code.is_constant(index) else code.use(index)
    place = f"{{1}} + {inner} * {picked}[{{2}}]"
    steps = [[n_picked * inner, inner, 1], [shape[axis] * inner, 0, 1], [0, 1, 0], [0, 0, 1]]
    whole = code.whole(data) if len(shape) == 2 and axis == 0 else None
    value = f"{whole[0]}[{place}] * {whole[1]}[{{3}}]" if whole else code.at(data, place)
    code.say(*loop([outer, n_picked, inner], steps, f"{code.use(node.output[0])}[{{0}}] = {value};"))


def _product(
    code: Code, a: str, b: str, node: onnx.NodeProto, *, b_steps: list[int], bias: str | None = None
) -> None:
    """Matrix products; ``b_steps`` are the strides of ``b`` along its last two axes.

    The columns of an int8 weight are scaled once each, after their sum.
    """
    out, width = code.shape(node.output[0]), code.shape(a)[-1]
    batch, column = out[:-2], [0] * (len(out) - 1) + [1]
    a_steps = [step * math.prod(code.shape(a)[-2:]) for step in broadcast(code.shape(a)[:-2], batch)]
    repeated = broadcast(code.shape(b)[:-2], batch)
    of_b = [step * math.prod(code.shape(b)[-2:]) for step in repeated]
    steps = [strides(out), [*a_steps, width, 0], [*of_b, 0, b_steps[1]]]
    place = f"{{2}} + {b_steps[0]} * k"
    whole = code.whole(b) if b_steps[1] == 1 else None
    value, result = f"{whole[0]}[{place}]" if whole else code.at(b, place), "sum"
    if whole:
        steps.append([*(step * out[-1] for step in repeated), 0, 1])
        result += f" * {whole[1]}[{{3}}]"
    if bias is not None:
        result += " + " + code.at(bias, f"{{{len(steps)}}}" if math.prod(code.shape(bias)) > 1 else "0")
        steps.append(column)
    body = (
        f"{{{{ float sum = 0.0f; for (int k = 0; k < {width}; k++) "
        f"sum += {code.at(a, '{1} + k')} * {value}; {code.use(node.output[0])}[{{0}}] = {result}; }}}}"
    )
    code.say(*loop(out, steps, body))


def _matmul(code: Code, node: onnx.NodeProto) -> None:
    a, b = node.input
    if min(len(code.shape(a)), len(code.shape(b))) < 2:
        raise _unknown("MatMul of vectors")
    _product(code, a, b, node, b_steps=[code.shape(b)[-1], 1])


def _gemm(code: Code, node: onnx.NodeProto) -> None:
    found = _attributes(node)
    if found.get("transA") or found.get("alpha", 1.0) != 1.0 or found.get("beta", 1.0) != 1.0:
        raise _unknown("Gemm with factors")
    a, b, *c = node.input
    columns = code.shape(b)[1]
    steps = [1, columns] if found.get("transB") else [columns, 1]
    _product(code, a, b, node, b_steps=steps, bias=c[0] if c else None)


def _softmax(code: Code, node: onnx.NodeProto) -> None:
    shape = code.shape(node.input[0])
    if math.prod(shape[:-1]) != 1:
        raise _unknown("Softmax of several rows")
    a, out, n = code.use(node.input[0]), code.use(node.output[0]), shape[-1]
    code.say(
        "{",
        f"{INDENT}float top = {a}[0], sum = 0.0f;",
        f"{INDENT}for (int k = 1; k < {n}; k++) if ({a}[k] > top) top = {a}[k];",
        f"{INDENT}for (int k = 0; k < {n}; k++) {{ {out}[k] = expf({a}[k] - top); sum += {out}[k]; }}",
        f"{INDENT}for (int k = 0; k < {n}; k++) {out}[k] /= sum;",
        "}",
    )


def _reduce_sum(code: Code, node: onnx.NodeProto) -> None:
    shape, out = code.shape(node.input[0]), code.shape(node.output[0])
    axes = {int(axis) % len(shape) for axis in code.array(node.input[1]).ravel()}
    kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
    result = code.use(node.output[0])
    code.say(*loop(out, [strides(out)], f"{result}[{{0}}] = 0;"))
    steps = [strides(shape), broadcast(kept, shape)]
    code.say(*loop(shape, steps, f"{result}[{{1}}] += {code.at(node.input[0], '{0}')};"))


def _label_encoder(code: Code, node: onnx.NodeProto) -> None:
    found = _attributes(node)
    if "keys_strings" not in found or "values_int64s" not in found:
        raise _unknown("LabelEncoder of other than text")
    pairs = sorted(zip(found["keys_strings"], found["values_int64s"], strict=True))
    if len(pairs) > _MOST_LEVELS:
        raise _unknown(f"category of {len(pairs):,} levels, more than {_MOST_LEVELS:,}")
    keys = code.texts([key.decode() for key, _ in pairs])
    values = code.constant(np.array([value for _, value in pairs], dtype=np.uint16))
    code.say(
        f"{code.use(node.output[0])}[0] = level_id({code.text(node.input[0])}, {keys}, {values}, "
        f"{len(pairs)}, {found.get('default_int64', -1)});"
    )


def _trees(code: Code, node: onnx.NodeProto) -> None:
    trees = read_trees(node)
    out = code.use(node.output[0])
    if math.prod(code.shape(node.output[0])) != len(trees.base):
        raise _unknown("trees of another shape")
    both = trees.feature * 2 + trees.tracks  # the lowest bit: missing goes the yes way
    roots, yes, no = (code.constant(narrow(each)) for each in (trees.roots, trees.yes, trees.no))
    threshold, weight, base = map(code.constant, (trees.threshold, trees.weight, trees.base))
    feature, target = code.constant(narrow(both)), code.constant(narrow(trees.target))
    code.say(
        f"for (int k = 0; k < {len(trees.base)}; k++) {out}[k] = {base}[k];",
        f"for (int t = 0; t < {len(trees.roots)}; t++) {{",
        f"{INDENT}int at = {roots}[t];",
        f"{INDENT}while (at >= 0) {{",
        f"{INDENT * 2}const float x = {code.use(node.input[0])}[{feature}[at] >> 1];",
        f"{INDENT * 2}at = (x <= {threshold}[at] || (x != x && ({feature}[at] & 1))) ? {yes}[at] : {no}[at];",
        f"{INDENT}}}",
        f"{INDENT}{out}[{target}[t]] += {weight}[-1 - at];",
        "}",
    )


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _unknown(what: str) -> UserError:
    return UserError(f"The artifact's graph has a {what}, which is not written in C.", hint="Report this.")


OPERATORS: dict[str, Callable[[Any, onnx.NodeProto], None]] = {
    "Add": _elementwise("<a> + <b>"),
    "Sub": _elementwise("<a> - <b>"),
    "Mul": _elementwise("<a> * <b>"),
    "Div": _elementwise("<a> / <b>"),
    "Max": _elementwise("(<a> > <b> || <a> != <a>) ? <a> : <b>"),
    "Min": _elementwise("(<a> < <b> || <a> != <a>) ? <a> : <b>"),
    "Clip": _elementwise("<a> < <b> ? <b> : (<a> > <c> ? <c> : <a>)"),
    "Where": _elementwise("<a> ? <b> : <c>"),
    "GreaterOrEqual": _elementwise("<a> >= <b>"),
    "IsNaN": _elementwise("<a> != <a>"),
    "Relu": _elementwise("<a> < 0.0f ? 0.0f : <a>"),
    "Sqrt": _math("sqrt"),
    "Sin": _math("sin"),
    "Cos": _math("cos"),
    "Log": _math("log"),
    "Floor": _math("floor"),
    "Cast": _cast,
    "Identity": _same,
    "Reshape": _same,
    "Flatten": _same,
    "Unsqueeze": _same,
    "Squeeze": _same,
    "Transpose": _transpose,
    "Concat": _concat,
    "Gather": _gather,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Softmax": _softmax,
    "ReduceSum": _reduce_sum,
    "LabelEncoder": _label_encoder,
    "TreeEnsemble": _trees,
    "TreeEnsembleRegressor": _trees,
}
