"""Texts as tensors that the runtime already holds.

ONNX Runtime's Python binding makes text tensors in one way only: as the output of a graph. So one tiny graph,
written here byte by byte since the runtime half has no onnx, picks a text out of a constant table.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from potstill.artifact.envelope import encoded_varint
from potstill.artifact.session import open_session

if TYPE_CHECKING:
    import onnxruntime as ort

_INT64, _STRING = 7, 8
_IR_VERSION, _OPSET = 8, 13
"""Old enough for every runtime that opens an artifact."""


@final
class InternedTexts:
    """Tensors of one text each, made when first asked for; safe to share between threads.

    Parameters
    ----------
    texts
        The texts that can be asked for.
    """

    def __init__(self, texts: set[str]) -> None:
        self._index = {text: at for at, text in enumerate(sorted(texts))}
        self._tensors: dict[str, ort.OrtValue] = {}

    @cached_property
    def _session(self) -> ort.InferenceSession:
        return open_session(_picker(list(self._index)))

    def tensor(self, text: str) -> ort.OrtValue | None:
        """The ``(1,)`` tensor of ``text``, None when it is not among the texts."""
        tensor = self._tensors.get(text)
        if tensor is None and text in self._index:
            binding = self._session.io_binding()
            binding.bind_cpu_input("at", np.array([self._index[text]]))
            binding.bind_output("text", "cpu")
            self._session.run_with_iobinding(binding)
            tensor = self._tensors[text] = binding.get_outputs()[0]
        return tensor


def _picker(texts: list[str]) -> bytes:
    """``text = Gather(texts, at)`` as an ONNX model; field numbers are those of onnx.proto."""
    table = _fields((1, len(texts)), (2, _STRING), *((6, text) for text in texts), (8, "texts"))
    node = _fields((1, "texts"), (1, "at"), (2, "text"), (4, "Gather"))
    graph = _fields(
        (1, node), (2, "picker"), (5, table), (11, _value("at", _INT64)), (12, _value("text", _STRING))
    )
    return _fields((1, _IR_VERSION), (7, graph), (8, _fields((1, ""), (2, _OPSET))))


def _value(name: str, element: int) -> bytes:
    shape = _fields((1, _fields((1, 1))))
    return _fields((1, name), (2, _fields((1, _fields((1, element), (2, shape))))))


def _fields(*fields: tuple[int, Any]) -> bytes:
    """A Protocol Buffers message of numbers, texts and messages already encoded."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(encoded_varint(number << 3) + encoded_varint(value))
        else:
            body = value.encode() if isinstance(value, str) else value
            parts.append(encoded_varint(number << 3 | 2) + encoded_varint(len(body)) + body)
    return b"".join(parts)
