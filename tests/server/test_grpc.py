"""The gRPC calls in this process: values that come as typed contents, and what is wrong with them."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import potstill
from potstill.server import Settings
from potstill.server.app import Server
from potstill.server.errors import RequestError
from potstill.server.grpc_service import MESSAGES, Service, _guarded, start
from potstill.server.models import Models


@pytest.fixture
def service(made: Path) -> Service:
    return Service(Server(Settings(str(made)), Models(made)))


def request_for(rows: list[dict[str, Any]]) -> Any:
    inputs = [
        ("age", "FP64", {"fp64_contents": [row["age"] for row in rows]}),
        ("city", "BYTES", {"bytes_contents": [row["city"].encode() for row in rows]}),
        ("member", "BOOL", {"bool_contents": [row["member"] for row in rows]}),
        ("since", "BYTES", {"bytes_contents": [row["since"].encode() for row in rows]}),
    ]
    return MESSAGES["ModelInferRequest"](
        model_name="small",
        inputs=[
            {"name": name, "datatype": kind, "shape": [len(rows)], "contents": contents}
            for name, kind, contents in inputs
        ],
    )


def full(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if None not in row.values()]


def test_typed_contents_in_and_out(
    service: Service, small: potstill.Model, rows: list[dict[str, Any]]
) -> None:
    answer = asyncio.run(service.model_infer(request_for(full(rows))))
    outputs = {each.name: each for each in answer.outputs}
    labels = [label.decode() for label in outputs["label"].contents.bytes_contents]
    assert labels == small.predict(full(rows)).tolist()
    answered = np.reshape(outputs["probabilities"].contents.fp32_contents, (-1, 2))
    np.testing.assert_allclose(answered, small.predict_proba(full(rows)), atol=1e-6)
    assert not answer.raw_output_contents


def test_what_breaks_inside_is_not_shown() -> None:
    said: list[object] = []

    class Context:
        def invocation_metadata(self) -> tuple[()]:
            return ()

        async def abort(self, *told: object) -> None:
            said.extend(told)

    async def broken(request: Any) -> Any:
        raise RuntimeError("/secret/path")

    asyncio.run(_guarded(broken, Settings("models"), lambda sent: sent)(b"", Context()))
    assert said[0] is grpc.StatusCode.INTERNAL
    assert "secret" not in str(said[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda request: request.inputs.pop(), "missing"),
        (lambda request: request.raw_input_contents.append(b"x"), "raw_input_contents"),
        (lambda request: setattr(request.inputs[0], "datatype", "FP16"), "raw"),
        (lambda request: request.inputs[1].contents.bytes_contents.__setitem__(0, b"\xff"), "UTF-8"),
        (lambda request: request.outputs.add(name="wealth"), "wealth"),
        (lambda request: setattr(request, "model_version", "7"), "version"),
    ],
)
def test_what_is_wrong_is_said(service: Service, rows: list[dict[str, Any]], change: Any, said: str) -> None:
    request = request_for(full(rows))
    change(request)
    with pytest.raises(RequestError, match=said):
        asyncio.run(service.model_infer(request))


def test_answers_and_refusals_are_counted(service: Service, rows: list[dict[str, Any]]) -> None:
    asyncio.run(service.model_infer(request_for(full(rows))))
    asked = request_for(full(rows))
    asked.inputs.pop()
    with pytest.raises(RequestError):
        asyncio.run(service.model_infer(asked))
    told = service._server.metrics.text().decode().splitlines()
    counted = [line for line in told if line.startswith("potstill_requests_total{")]
    assert len(counted) == 2
    assert all('model="small",protocol="grpc"' in line for line in counted)
    assert {line.split('status="')[1].split('"')[0] for line in counted} == {"OK", "INVALID_ARGUMENT"}


def test_no_bytes_whatever_break_the_server(
    made: Path, small: potstill.Model, rows: list[dict[str, Any]]
) -> None:
    rng = random.Random(4)
    whole = request_for(full(rows)).SerializeToString()

    def damaged() -> bytes:
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at] = rng.randrange(256)
        return bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])

    async def asked() -> tuple[list[Any], Any]:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = Settings(str(made), grpc_address=address)
        running = await start(Server(settings, Models(made)), settings)
        async with grpc.aio.insecure_channel(address) as channel:
            ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            refused = []
            for _ in range(500):
                try:
                    await ask(damaged(), timeout=10)
                except grpc.aio.AioRpcError as error:
                    refused.append(error)
            answer = await ask(whole, timeout=10)
        await running.stop(None)
        return refused, MESSAGES["ModelInferResponse"].FromString(answer)

    refused, answer = asyncio.run(asked())
    assert len(refused) > 100
    assert not [error.details() for error in refused if "its log says why" in error.details()]
    assert {error.code().name for error in refused} == {"INVALID_ARGUMENT", "NOT_FOUND"}
    labels = [label.decode() for label in answer.outputs[0].contents.bytes_contents]
    assert labels == small.predict(full(rows)).tolist()
