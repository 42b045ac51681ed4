"""The Open Inference Protocol, version 2, over REST: requests in, answers out; no web framework here.

With the binary tensor extension: behind the JSON, whose length a header then says, the values of tensors
follow as bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from potstill import __version__
from potstill.server.errors import bad_request
from potstill.server.models import Served
from potstill.server.tensors import (
    Tensor,
    input_metadata,
    json_values,
    output_metadata,
    raw_values,
    tensor_of_bytes,
    tensor_of_json,
)

HEADER_LENGTH = "Inference-Header-Content-Length"
PLATFORM = "onnxruntime_onnx"
EXTENSIONS = ("binary_tensor_data", "model_repository")


class RequestTensor(msgspec.Struct):
    """An input as JSON has it."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = None


class RequestOutput(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class Request(msgspec.Struct):
    """An inference request; unknown keys are ignored, as the protocol wants it."""

    inputs: list[RequestTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[RequestOutput] | None = None


@dataclass(frozen=True)
class Asked:
    """An inference request, read.

    Parameters
    ----------
    tensors
        Its inputs.
    id
        To be echoed.
    outputs
        Name to whether it is wanted as bytes, in the order asked for; None for all.
    binary
        Whether outputs that do not say are wanted as bytes.
    """

    tensors: list[Tensor]
    id: str | None
    outputs: dict[str, bool] | None
    binary: bool


_DECODER = msgspec.json.Decoder(Request)


def server_metadata() -> dict[str, Any]:
    """What ``GET /v2`` says."""
    return {"name": "potstill", "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(served: Served) -> dict[str, Any]:
    """What ``GET /v2/models/{name}`` says."""
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": PLATFORM,
        "inputs": input_metadata(served.model),
        "outputs": output_metadata(served.model),
    }


def read_request(body: bytes, header_length: str | None) -> Asked:
    """An inference request out of a body.

    Parameters
    ----------
    body
        JSON, and bytes of tensors behind it.
    header_length
        Length of the JSON, as the header says it; None: all of the body.

    Raises
    ------
    RequestError
        It is no such request.
    """
    head = len(body)
    if header_length is not None:
        if not header_length.isdecimal() or int(header_length) > len(body):
            raise bad_request(f"The header {HEADER_LENGTH} must say how long the JSON in the body is.")
        head = int(header_length)
    try:
        request = _decoded(memoryview(body)[:head])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"The request is not what the protocol asks for: {error}.") from None
    parameters = request.parameters or {}
    binary = parameters.get("binary_data_output") is True
    outputs = None
    if request.outputs:
        outputs = {
            each.name: (each.parameters or {}).get("binary_data", binary) is True for each in request.outputs
        }
    return Asked(_tensors(request.inputs, memoryview(body)[head:]), request.id, outputs, binary)


def _decoded(text: memoryview) -> Request:
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # NaN is no JSON, but Python's json writes it, and so do clients built on it (`mlserver infer`)
        if b"NaN" not in bytes(text):
            raise
        try:
            loose = json.loads(bytes(text))
        except ValueError:
            loose = None
        if loose is None:
            raise
        return msgspec.convert(loose, Request)


def write_answer(served: Served, asked: Asked, answers: Sequence[Tensor]) -> tuple[bytes, dict[str, str]]:
    """The body of an answer and its headers.

    Raises
    ------
    RequestError
        An output is asked for that the model has not.
    """
    chosen = wanted(asked.outputs, answers)
    told: list[dict[str, Any]] = []
    behind: list[bytes] = []
    for tensor in chosen:
        one: dict[str, Any] = {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "datatype": tensor.datatype,
        }
        if asked.binary if asked.outputs is None else asked.outputs[tensor.name]:
            behind.append(raw_values(tensor))
            one["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            one["data"] = json_values(tensor)
        told.append(one)
    answer: dict[str, Any] = {"model_name": served.name, "model_version": served.version}
    if asked.id is not None:
        answer["id"] = asked.id
    head = msgspec.json.encode({**answer, "outputs": told})
    if not behind:
        return head, {"Content-Type": "application/json"}
    return b"".join([head, *behind]), {
        "Content-Type": "application/octet-stream",
        HEADER_LENGTH: str(len(head)),
    }


def wanted(names: Sequence[str] | dict[str, bool] | None, answers: Sequence[Tensor]) -> list[Tensor]:
    """The answers asked for, in that order; all of them for None.

    Raises
    ------
    RequestError
        One is asked for that is not there.
    """
    if names is None:
        return list(answers)
    there = {tensor.name: tensor for tensor in answers}
    for name in names:
        if name not in there:
            raise bad_request(f"There is no output {name!r}; there are {', '.join(there)}.")
    return [there[name] for name in names]


def _tensors(inputs: Sequence[RequestTensor], behind: memoryview) -> list[Tensor]:
    tensors = []
    at = 0
    for each in inputs:
        size = each.parameters.get("binary_data_size") if each.parameters else None
        if size is None:
            tensors.append(tensor_of_json(each.name, each.datatype, each.shape, each.data))
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(behind) - at:
            raise bad_request(f"Input {each.name!r} says it has {size} bytes, which are not there.")
        tensors.append(tensor_of_bytes(each.name, each.datatype, each.shape, behind[at : at + size]))
        at += size
    if at != len(behind):
        raise bad_request(f"{len(behind) - at} bytes behind the JSON belong to no input.")
    return tensors
