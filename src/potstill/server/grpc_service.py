"""The Open Inference Protocol, version 2, over gRPC.

The messages are made from a compiled description in a pool of their own: a process may hold other packages'
messages of the same names.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from potstill.errors import UserError
from potstill.monitoring.metrics import UNNAMED
from potstill.server import oip
from potstill.server.errors import RequestError, bad_request
from potstill.server.models import Served
from potstill.server.settings import Settings
from potstill.server.tensors import (
    Tensor,
    answer_tensors,
    input_metadata,
    json_values,
    output_metadata,
    raw_values,
    tensor_of_bytes,
    tensor_of_json,
    text_or_file,
)

if TYPE_CHECKING:
    from potstill.server.app import Server

log = logging.getLogger("potstill.server")

SERVICE = "inference.GRPCInferenceService"
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
}
"""HTTP status to gRPC's; what is not there is INTERNAL."""

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype to the field that holds its values where they are not raw."""

Message: TypeAlias = Any
Call: TypeAlias = Callable[[Message], Awaitable[Message]]


def _messages() -> dict[str, Any]:
    described = files("potstill.server.protocol").joinpath("open_inference.binpb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(described).file:
        pool.Add(file)
    service = pool.FindServiceByName(SERVICE)
    kinds = [kind for method in service.methods for kind in (method.input_type, method.output_type)]
    return {kind.name: message_factory.GetMessageClass(kind) for kind in kinds}


MESSAGES = _messages()
"""Name to class of every request and response."""


class Service:
    """The calls, over what a `Server` serves."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def calls(self) -> dict[str, Call]:
        """Name to what answers it."""
        return {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "RepositoryIndex": self.repository_index,
            "ModelInfer": self.model_infer,
        }

    async def server_live(self, request: Message) -> Message:  # noqa: ARG002
        return MESSAGES["ServerLiveResponse"](live=True)

    async def server_ready(self, request: Message) -> Message:  # noqa: ARG002
        return MESSAGES["ServerReadyResponse"](ready=True)

    async def model_ready(self, request: Message) -> Message:
        self._server.models.named(request.name, request.version or None)
        return MESSAGES["ModelReadyResponse"](ready=True)

    async def server_metadata(self, request: Message) -> Message:  # noqa: ARG002
        return MESSAGES["ServerMetadataResponse"](**oip.server_metadata())

    async def model_metadata(self, request: Message) -> Message:
        served = self._server.models.named(request.name, request.version or None)
        return MESSAGES["ModelMetadataResponse"](
            name=served.name,
            versions=[served.version],
            platform=oip.PLATFORM,
            inputs=input_metadata(served.model),
            outputs=output_metadata(served.model),
        )

    async def repository_index(self, request: Message) -> Message:  # noqa: ARG002
        models = [
            {"name": each.name, "version": each.version, "state": "READY"} for each in self._server.models
        ]
        return MESSAGES["RepositoryIndexResponse"](models=models)

    async def model_infer(self, request: Message) -> Message:
        """Answer, and count it."""
        name, version, n_rows, status = UNNAMED, UNNAMED, 0, grpc.StatusCode.OK
        begin = time.perf_counter()
        try:
            served = self._server.models.named(request.model_name, request.model_version or None)
            name, version = served.name, served.version
            told, n_rows = await self._inferred(served, request)
        except Exception as error:
            status = _status_of(error)
            raise
        finally:
            self._server.metrics.answered(
                name,
                version,
                "grpc",
                status=status.name,
                n_rows=n_rows,
                seconds=time.perf_counter() - begin,
            )
        return told

    async def _inferred(self, served: Served, request: Message) -> tuple[Message, int]:
        raw = len(request.raw_input_contents) > 0
        answers = self._server.answers
        ask = partial(answers.question_of_tensors, served, _tensors(request))
        outputs, _ = await answers.outputs(served, ask)
        names = [each.name for each in request.outputs] or None
        chosen = oip.wanted(names, answer_tensors(served.model, outputs))
        told = MESSAGES["ModelInferResponse"](
            model_name=served.name,
            model_version=served.version,
            id=request.id,
            outputs=[_told(tensor, raw=raw) for tensor in chosen],
            raw_output_contents=[raw_values(tensor) for tensor in chosen] if raw else [],
        )
        return told, len(outputs)


async def start(server: Server, settings: Settings) -> grpc.aio.Server:
    """Begin to answer at ``settings.grpc_address``.

    Raises
    ------
    UserError
        The address is taken or is none.
    """
    running = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.so_reuseport", int(settings.shares_port)),
        ],
        maximum_concurrent_rpcs=settings.max_concurrent,
    )
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _guarded(call, settings, MESSAGES[f"{name}Request"].FromString),
            request_deserializer=None,  # gRPC would log what it cannot read, and blame the server
            response_serializer=MESSAGES[f"{name}Response"].SerializeToString,
        )
        for name, call in Service(server).calls.items()
    }
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    try:
        if settings.certificate:
            pair = (Path(settings.key).read_bytes(), Path(settings.certificate).read_bytes())
            running.add_secure_port(settings.grpc_address, grpc.ssl_server_credentials([pair]))
        else:
            running.add_insecure_port(settings.grpc_address)
    except RuntimeError:
        raise UserError(
            f"gRPC cannot listen at {settings.grpc_address}.", hint="Name a free port with --grpc-port."
        ) from None
    await running.start()
    return running


def _guarded(
    call: Call, settings: Settings, read: Callable[[bytes], Message]
) -> Callable[[bytes, Any], Awaitable[Message]]:
    expected = f"Bearer {settings.token}"
    open_to_all = call.__name__ in ("server_live", "server_ready")

    async def guarded(sent: bytes, context: Any) -> Message:
        given = dict(context.invocation_metadata()).get("authorization", "")
        if settings.token and not open_to_all and not hmac.compare_digest(given.encode(), expected.encode()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "This needs a token.")
        try:
            return await call(_read(sent, read))
        except RequestError as error:
            refusal = error
        except Exception:  # gRPC would send its text to the caller
            log.exception("a call failed")
            refusal = RequestError(500, "The server failed to answer; its log says why.")
        return await context.abort(_status_of(refusal), refusal.message)

    return guarded


def _read(sent: bytes, read: Callable[[bytes], Message]) -> Message:
    try:
        return read(sent)
    except DecodeError:
        raise bad_request("The request is no message of the protocol.") from None


def _status_of(error: Exception) -> grpc.StatusCode:
    status = error.status if isinstance(error, RequestError) else 500
    return CODES.get(status, grpc.StatusCode.INTERNAL)


def _tensors(request: Message) -> list[Tensor]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise bad_request(
            f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs; wanted as many."
        )
    if raw:
        return [
            tensor_of_bytes(each.name, each.datatype, list(each.shape), values)
            for each, values in zip(request.inputs, raw, strict=True)
        ]
    return [
        tensor_of_json(each.name, each.datatype, list(each.shape), _values(each)) for each in request.inputs
    ]


def _values(tensor: Message) -> list[Any]:
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        raise bad_request(f"Input {tensor.name!r} of datatype {tensor.datatype!r} must come raw.")
    values = list(getattr(tensor.contents, field))
    return [text_or_file(tensor.name, value) for value in values] if tensor.datatype == "BYTES" else values


def _told(tensor: Tensor, *, raw: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
    if not raw:
        values = json_values(tensor)
        if tensor.datatype == "BYTES":
            values = [value.encode() for value in values]
        told["contents"] = {CONTENTS[tensor.datatype]: values}
    return told
