"""Servers to compare with, each a process of its own: python peers.py KIND MODEL.onnx PORT

bare      asyncio, uvloop and httptools; reads the request and answers with bytes that are always the same
by-hand   the same, with `predict_one` between msgspec's decoder and encoder: what a day's work comes to
fastapi   FastAPI with a pydantic model made of the columns, on uvicorn
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import httptools
import msgspec
import uvloop

import potstill

ANSWER_HEAD = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"
PYTHON_TYPES: dict[str, Any] = {"numeric": float, "boolean": bool, "categorical": str, "date": str}


class Rows(msgspec.Struct):
    instances: list[dict[str, Any]]


class BareProtocol(asyncio.Protocol):
    def __init__(self, model: potstill.Model | None) -> None:
        self._model = model
        self._decoder = msgspec.json.Decoder(Rows)
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        answer = b'{"predictions":[{"label":"yes","probabilities":{"no":0.25,"yes":0.75}}]}'
        if self._model is not None:
            rows = self._decoder.decode(self._body).instances
            answer = msgspec.json.encode({"predictions": [self._model.predict_one(row) for row in rows]})
        self._body = b""
        self._transport.write(ANSWER_HEAD.format(len(answer)).encode() + answer)


async def bare(model: potstill.Model | None, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BareProtocol(model), "127.0.0.1", port)
    await server.serve_forever()


def fastapi(model: potstill.Model, port: int) -> None:
    import pydantic
    import uvicorn
    from fastapi import FastAPI

    columns = {column.name: (PYTHON_TYPES[column.kind] | None, ...) for column in model.schema.columns}
    row_type = pydantic.create_model("Row", **columns)  # type: ignore[call-overload]
    request_type = pydantic.create_model("Request", instances=(list[row_type], ...))  # type: ignore[valid-type]
    app = FastAPI()

    async def predict(request: Any) -> dict[str, Any]:
        return {"predictions": [model.predict_one(row.model_dump()) for row in request.instances]}

    predict.__annotations__["request"] = request_type
    app.post("/predict", response_model=None)(predict)
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def main() -> None:
    kind, path, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind == "fastapi":
        fastapi(potstill.load(path), port)
    else:
        uvloop.run(bare(potstill.load(path) if kind == "by-hand" else None, port))


if __name__ == "__main__":
    main()
