"""Load for HTTP servers: one client that is timed, or many at once that are counted; plain sockets."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from dataclasses import dataclass, field
from typing import cast

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"
TIMEOUT_S = 30.0
BLOCK = 100
NUMBER = re.compile(rb"(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")
TOLERANCE = 1e-6


class ServerFailed(Exception):
    """A server closed the connection, or answered something that is no answer."""


@dataclass
class Questions:
    """Ready-made requests to one server, cycled; the first answer to each is what all later ones must equal,
    but for the rounding of numbers: rows that are answered together may differ in their last digits.

    Parameters
    ----------
    port
        Where the server listens, on loopback.
    path
        What is posted to.
    bodies
        JSON bodies.
    """

    port: int
    path: str
    bodies: list[bytes]
    answers: dict[int, bytes] = field(default_factory=dict)
    n_wrong: int = 0

    def request(self, at: int) -> bytes:
        body = self.bodies[at % len(self.bodies)]
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}{HEAD_END.decode()}".encode() + body

    def check(self, at: int, status: bytes, answer: bytes) -> None:
        first = self.answers.setdefault(at % len(self.bodies), answer)
        self.n_wrong += status != b"200" or (answer != first and not alike(answer, first))


def alike(one: bytes, other: bytes) -> bool:
    """Whether two JSON answers say the same but for the rounding of numbers."""
    texts, others = NUMBER.split(one), NUMBER.split(other)
    return len(texts) == len(others) and all(
        a == b or (at % 2 == 1 and abs(float(a) - float(b)) <= TOLERANCE)
        for at, (a, b) in enumerate(zip(texts, others, strict=True))
    )


def split(received: bytes) -> tuple[bytes, bytes] | None:
    """Status and body of a whole answer; None while there is more to come."""
    end = received.find(HEAD_END)
    if end < 0:
        return None
    head = received[:end].lower()
    at = head.find(LENGTH)
    if at < 0:
        raise ServerFailed(f"no content-length in {received[:200]!r}")
    length = int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])
    body = received[end + len(HEAD_END) :]
    return (head[9:12], body) if len(body) >= length else None


class OneClient:
    """One connection, one request after the other."""

    def __init__(self, questions: Questions) -> None:
        self.questions = questions
        self._socket = socket.create_connection(("127.0.0.1", questions.port), timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._turn = 0

    def ask(self) -> float:
        """µs from the first byte sent to the last byte received."""
        request = self.questions.request(self._turn)
        begin = time.perf_counter_ns()
        self._socket.sendall(request)
        received = b""
        while (answer := split(received)) is None:
            more = self._socket.recv(65536)
            if not more:
                raise ServerFailed("the server closed the connection")
            received += more
        took_us = (time.perf_counter_ns() - begin) / 1000
        self.questions.check(self._turn, *answer)
        self._turn += 1
        return took_us


def in_turn(all_questions: list[Questions], *, calls: int) -> list[list[float]]:
    """µs of each request to each server, a block of requests to each in turn, so that what else the machine
    does falls on all; the first blocks, and the first tenth of each block, do not count."""
    clients = [OneClient(questions) for questions in all_questions]
    times: list[list[float]] = [[] for _ in clients]
    for block in range(1 + -(-calls // BLOCK)):
        for at, client in enumerate(clients):
            took_us = [client.ask() for _ in range(BLOCK + BLOCK // 10)]
            if block:
                times[at] += took_us[BLOCK // 10 :]
    return times


def many_at_once(questions: Questions, *, n_clients: int, seconds: float) -> float:
    """Requests answered in a second while ``n_clients`` ask one after the other."""
    import uvloop

    return uvloop.run(_many(questions, n_clients=n_clients, seconds=seconds))


async def _many(questions: Questions, *, n_clients: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    stop = loop.time() + seconds
    begin = time.perf_counter()
    connected = [
        await loop.create_connection(
            lambda start=at: _Client(questions, start, stop), "127.0.0.1", questions.port
        )
        for at in range(n_clients)
    ]
    counts = await asyncio.gather(*(client.done for _, client in connected))
    return sum(counts) / (time.perf_counter() - begin)


class _Client(asyncio.Protocol):
    def __init__(self, questions: Questions, start: int, stop: float) -> None:
        self._questions, self._turn, self._stop = questions, start, stop
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[int] = self._loop.create_future()
        self._received = b""
        self._count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._questions.request(self._turn))

    def data_received(self, data: bytes) -> None:
        self._received += data
        answer = split(self._received)
        if answer is None:
            return
        self._questions.check(self._turn, *answer)
        self._received = b""
        self._count += 1
        self._turn += 1
        if self._loop.time() < self._stop:
            self._transport.write(self._questions.request(self._turn))
        else:
            self._transport.close()
            self.done.set_result(self._count)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ServerFailed(f"connection lost after {self._count} answers: {exc}"))
