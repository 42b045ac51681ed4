"""One row over REST on loopback: `potstill serve` beside a bare asyncio + httptools server and FastAPI.

    python benchmarks/serving/rest.py MODEL.onnx [--seconds 5] [--clients 16]

All servers answer the same request with the same model, in the same run and in turn: first one client that
waits for each answer (its latencies), then many (requests a second). The bare server parses the request's
JSON, calls `predict_one` and writes JSON: the least a Python server can do. FastAPI is left out where it is
not installed. The client shares the machine with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

import potstill

READY_S = 60.0


class Measured(msgspec.Struct, frozen=True):
    """Latency in ms of one client, requests a second of many; and wrong answers of either."""

    server: str
    median_ms: float
    p99_ms: float
    requests_per_s: float
    wrong: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        SERVERS[asked.serve](asked.model, asked.port)
        return
    names = [name for name in SERVERS if name != "fastapi" or find_spec("fastapi")]
    found = [measured(name, asked) for name in names]
    bare = next(one for one in found if one.server == "bare")
    print(f"| server | median | of bare | p99 | requests/s at {asked.clients} | of bare | wrong |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for one in found:
        slower = f"{one.median_ms:.3f} ms | {one.median_ms / bare.median_ms:.2f} | {one.p99_ms:.3f} ms"
        faster = f"{one.requests_per_s:,.0f} | {one.requests_per_s / bare.requests_per_s:.2f} | {one.wrong}"
        print(f"| {one.server} | {slower} | {faster} |")
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))


def measured(name: str, asked: argparse.Namespace) -> Measured:
    """Start the server, measure it, stop it."""
    model = potstill.load(asked.model)
    row = model.probe_rows[0]
    expected = model.predict_one(row)
    body = json.dumps({"instances": [row]}, default=str).encode()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, str(asked.model), "--serve", name, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        path = f"/v1/models/{asked.model.stem}:predict"
        request = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        asyncio.run(load(port, request, clients=1, seconds=1.0))
        alone, answers = asyncio.run(load(port, request, clients=1, seconds=asked.seconds))
        together, more = asyncio.run(load(port, request, clients=asked.clients, seconds=asked.seconds))
    finally:
        process.terminate()
        process.wait()
    wrong = sum(
        json.loads(answer)["predictions"][0]["label"] != expected["label"] for answer in answers | more
    )
    cut = statistics.quantiles(alone, n=100)
    return Measured(
        server=name,
        median_ms=1e3 * statistics.median(alone),
        p99_ms=1e3 * cut[98],
        requests_per_s=len(together) / asked.seconds,
        wrong=wrong,
    )


async def load(port: int, request: bytes, *, clients: int, seconds: float) -> tuple[list[float], set[bytes]]:
    """Seconds of every request, and the distinct answers."""
    end = time.perf_counter() + seconds
    taken: list[float] = []
    answers: set[bytes] = set()

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begin := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            answers.add(await reader.readexactly(length))
            taken.append(time.perf_counter() - begin)
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
        writer.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return taken, answers


def wait_for(port: int) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server did not start")


def answer(model: potstill.Model, body: bytes) -> bytes:
    """What the bare server does for a request."""
    rows = msgspec.json.decode(body)["instances"]
    return msgspec.json.encode({"predictions": [model.predict_one(row) for row in rows]})


def serve_potstill(path: Path, port: int) -> None:
    from potstill.server import Settings
    from potstill.server.run import Listening, serve

    serve(Settings(str(path)), Listening(port=port))


def serve_bare(path: Path, port: int) -> None:
    import httptools
    import uvloop

    model = potstill.load(path)

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.parser, self.body = transport, httptools.HttpRequestParser(self), b""

        def data_received(self, data: bytes) -> None:
            self.parser.feed_data(data)

        def on_body(self, body: bytes) -> None:
            self.body += body

        def on_message_complete(self) -> None:
            told, self.body = answer(model, self.body), b""
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(run())


def serve_fastapi(path: Path, port: int) -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    model = potstill.load(path)

    class Asked(BaseModel):
        instances: list[dict[str, float | str | bool | None]]

    class Told(BaseModel):
        predictions: list[dict[str, Any]]

    app = FastAPI()

    def predict(asked: Asked) -> Told:
        return Told(predictions=[model.predict_one(row) for row in asked.instances])

    predict.__annotations__ = {"asked": Asked, "return": Told}
    app.post(f"/v1/models/{path.stem}:predict")(predict)
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


SERVERS = {"bare": serve_bare, "potstill": serve_potstill, "fastapi": serve_fastapi}


if __name__ == "__main__":
    main()
