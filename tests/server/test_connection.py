"""The connection over uvicorn's: what the shortcut answers, what is uvicorn's, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from uvicorn.server import ServerState

from potstill.server import Settings
from potstill.server.connection import BODY_WAIT_S, Config, Connection
from potstill.server.guard import Admission
from potstill.server.traffic import SHORT_BODY_BYTES, SHORTCUT_KEY, Reply, Shortcut, Told

SHORT, LONG = b"/v1/models/m:predict", b"/v1/models/late:predict"
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"


def post(path: bytes, body: bytes, *lines: bytes, version: bytes = b"1.1") -> bytes:
    head = [b"POST %s HTTP/%s" % (path, version), b"Host: x", b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join([*head, b"", body])


@dataclass
class Both:
    """A connection to a server that answers at once for model ``m``; all else is the application's."""

    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)
    state: ServerState = field(default_factory=ServerState)
    waiting: list[tuple[bytes, Told]] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)
    at_once: list[bytes] = field(default_factory=list)
    by_app: list[bytes] = field(default_factory=list)
    scopes: list[Any] = field(default_factory=list)
    app_waits: asyncio.Event = field(default_factory=asyncio.Event)

    def now(
        self,
        protocol: str,
        name: str,
        version: str | None,
        headers: Mapping[bytes, bytes],
        body: bytes,
        told: Told,
        alone: bool,
    ) -> None:
        self.alone.append(alone)
        if body == b"wait" or self.waiting:
            self.waiting.append((body, told))
        elif name == "m":
            self.at_once.append(body)
            told(Reply(200, b"now " + body))
        else:
            told(None)

    def settle(self) -> None:
        waiting, self.waiting = self.waiting, []
        for body, told in waiting:
            told(None if body == b"break" else Reply(200, b"then " + body))

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        await self.app_waits.wait()
        self.by_app.append(body)
        self.scopes.append(scope)
        answer = b"app " + body
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def answers(self, *expected: bytes) -> None:
        for body in expected:
            whole = OK % (len(body), body)
            assert await asyncio.wait_for(self.reader.readexactly(len(whole)), 5) == whole


@asynccontextmanager
async def connected(*, keep_alive_s: int = 5, **settings: Any) -> AsyncIterator[Both]:
    both = Both()
    shortcut = Shortcut(Admission(Settings("", **settings)), both.now, both.settle)
    config = Config(
        both.app,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        timeout_keep_alive=keep_alive_s,
    )
    config.load()
    listening = await asyncio.get_running_loop().create_server(
        lambda: Connection(config, both.state, {SHORTCUT_KEY: shortcut}), "127.0.0.1", 0
    )
    both.reader, both.writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    both.app_waits.set()
    try:
        yield both
    finally:
        both.writer.close()
        listening.close()
        while both.state.connections or both.state.tasks:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)


def served(test: Callable[[Both], Any], **settings: Any) -> None:
    async def run() -> None:
        async with connected(**settings) as both:
            await test(both)

    asyncio.run(run())


def test_a_short_request_never_reaches_the_application() -> None:
    async def test(both: Both) -> None:
        for turn in (b"1", b"2"):
            both.writer.write(post(SHORT, turn))
            await both.answers(b"now " + turn)
        assert (both.at_once, both.by_app) == ([b"1", b"2"], [])
        assert both.state.total_requests == 2

    served(test)


@pytest.mark.parametrize(
    "sent",
    [
        post(LONG, b"x"),
        post(SHORT + b"?a=1", b"x"),
        post(b"/v1/models/%6d:predict", b"x"),
        post(b"/v1/models/m", b"x"),
        post(SHORT, b"x" * (SHORT_BODY_BYTES + 1)),
        post(SHORT, b"x", b"Upgrade: h2c"),
        post(SHORT, b"").replace(b"POST", b"OPTIONS"),
        b"POST " + SHORT + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST "
        + SHORT
        + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nT: 1\r\n\r\n",
    ],
)
def test_others_are_the_applications_as_they_came(sent: bytes) -> None:
    async def test(both: Both) -> None:
        both.writer.write(sent)
        body = b"abc" if b"chunked" in sent else sent.partition(b"\r\n\r\n")[2]
        await both.answers(b"app " + body)
        scope = both.scopes[0]
        method, url, _ = sent.split(b" ", 2)
        path, _, query = url.partition(b"?")
        assert (scope["method"].encode(), scope["raw_path"], scope["query_string"]) == (method, path, query)
        lines = sent.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        told = [(name.lower(), value) for name, value in (line.split(b": ") for line in lines)]
        assert scope["headers"][: len(told)] == told
        both.writer.write(post(SHORT, b"next"))
        await both.answers(b"now next")

    served(test)


@pytest.mark.parametrize("sent", [post(SHORT, b"x", version=b"1.0"), post(SHORT, b"x", b"Connection: close")])
def test_the_last_request_of_a_connection_closes_it(sent: bytes) -> None:
    async def test(both: Both) -> None:
        both.writer.write(sent)
        told = await asyncio.wait_for(both.reader.read(), 5)
        assert b"connection: close\r\n" in told
        assert told.endswith(b"app x")

    served(test)


def test_who_waits_to_send_a_body_is_told_to() -> None:
    async def test(both: Both) -> None:
        head, _, body = post(SHORT, b"body", b"Expect: 100-continue").partition(b"body")
        both.writer.write(head)
        assert (
            await asyncio.wait_for(both.reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        )
        both.writer.write(b"body" + body)
        await both.answers(b"app body")

    served(test)


def test_a_head_request_gets_no_body() -> None:
    async def test(both: Both) -> None:
        both.writer.write(post(SHORT, b"").replace(b"POST", b"HEAD") + post(SHORT, b"2"))
        told = await asyncio.wait_for(both.reader.readuntil(b"app 2"), 5)
        first, second, body = told.split(b"\r\n\r\n")
        assert (first[:15], second[:15], body) == (b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"app 2")

    served(test)


def test_requests_in_one_segment_are_answered_in_turn() -> None:
    async def test(both: Both) -> None:
        both.app_waits.clear()
        asked = [(SHORT, b"1"), (SHORT, b"2"), (LONG, b"3"), (SHORT, b"4"), (LONG, b"5"), (SHORT, b"6")]
        both.writer.write(b"".join(post(path, body) for path, body in asked))
        await both.answers(b"now 1", b"now 2")
        both.app_waits.set()
        await both.answers(b"app 3", b"app 4", b"app 5", b"app 6")
        both.writer.write(post(SHORT, b"7"))
        await both.answers(b"now 7")

    served(test)


def test_what_waits_for_the_end_of_the_turn_is_not_overtaken() -> None:
    async def test(both: Both) -> None:
        both.writer.write(b"".join(post(SHORT, body) for body in (b"wait", b"2", b"wait", b"break", b"5")))
        await both.answers(b"then wait", b"now 2", b"then wait")
        both.settle()
        await both.answers(b"now break", b"now 5")
        assert (both.at_once, both.by_app) == ([b"2", b"break", b"5"], [])

    served(test)


@pytest.mark.parametrize("ends", ["settled", "stopped", "gone"])
def test_what_waits_when_the_connection_ends(ends: str) -> None:
    async def test(both: Both) -> None:
        both.writer.write(post(SHORT, b"wait"))
        while not both.waiting:
            await asyncio.sleep(0)
        (connection,) = both.state.connections
        if ends == "gone":
            both.writer.close()
            while both.state.connections:
                await asyncio.sleep(0)
            both.settle()
            assert both.state.total_requests == 0
            return
        if ends == "stopped":
            connection.shutdown()
        else:
            await asyncio.sleep(2 * BODY_WAIT_S)
            both.settle()
        await both.answers(b"then wait")
        assert both.by_app == []

    served(test)


@pytest.mark.parametrize("pipelined", [True, False])
def test_what_breaks_at_the_end_of_the_turn_is_the_applications(pipelined: bool) -> None:
    async def test(both: Both) -> None:
        both.waiting.append((b"wait", lambda _: None))
        both.writer.write(post(SHORT, b"break"))
        if pipelined:
            both.writer.write(post(SHORT, b"next"))
        else:
            while len(both.waiting) < 2:
                await asyncio.sleep(0)
            both.settle()
        await both.answers(b"app break", *([b"app next"] if pipelined else []))
        both.writer.write(post(SHORT, b"last"))
        await both.answers(b"now last")

    served(test)


def test_who_asks_alone_is_known() -> None:
    async def test(both: Both) -> None:
        other, writer = await asyncio.open_connection(*both.writer.get_extra_info("peername"))
        for turn in range(3):
            both.writer.write(post(SHORT, b"%d" % turn))
            await both.answers(b"now %d" % turn)
        writer.write(post(SHORT, b"other"))
        await asyncio.wait_for(other.readuntil(b"now other"), 5)
        both.writer.write(post(SHORT, b"3"))
        await both.answers(b"now 3")
        assert both.alone == [False, True, True, False, False]
        writer.close()

    served(test)


def test_an_idle_connection_is_closed_after_a_while() -> None:
    async def test(both: Both) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for path, by in ((SHORT, b"now"), (LONG, b"app"), (SHORT, b"now")):
            both.writer.write(post(path, b"1"))
            await both.answers(by + b" 1")
            await asyncio.sleep(0.45)
        assert await asyncio.wait_for(both.reader.read(), 5) == b""
        assert 1.85 < loop.time() - begun < 2.5

    served(test, keep_alive_s=1)


def test_an_idle_connection_is_not_closed_while_it_asks() -> None:
    async def test(both: Both) -> None:
        both.writer.write(post(SHORT, b"1"))
        await both.answers(b"now 1")
        both.app_waits.clear()
        both.writer.write(post(LONG, b"2"))
        await asyncio.sleep(1.2)
        both.app_waits.set()
        await both.answers(b"app 2")

    served(test, keep_alive_s=1)


def test_a_request_may_come_byte_by_byte() -> None:
    async def test(both: Both) -> None:
        for byte in post(SHORT, b"body"):
            both.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        await both.answers(b"now body")

    served(test)


def test_a_body_that_comes_late_is_waited_for_by_uvicorn() -> None:
    async def test(both: Both) -> None:
        for wait_s, by in ((0.0, b"now"), (3 * BODY_WAIT_S, b"app")):
            sent = post(SHORT, b"body")
            both.writer.write(sent[:-2])
            await asyncio.sleep(wait_s)
            both.writer.write(sent[-2:])
            await both.answers(by + b" body")

    served(test)


def test_what_has_begun_is_finished_when_the_server_stops() -> None:
    async def test(both: Both) -> None:
        sent = post(SHORT, b"body")
        both.writer.write(sent[:-2])
        while not both.state.connections:
            await asyncio.sleep(0)
        await asyncio.sleep(BODY_WAIT_S / 4)
        for connection in both.state.connections:
            connection.shutdown()
        both.writer.write(sent[-2:])
        told = await asyncio.wait_for(both.reader.read(), 5)
        assert b"connection: close\r\n" in told
        assert told.endswith(b"app body")

    served(test)


def test_an_idle_connection_is_closed_when_the_server_stops() -> None:
    async def test(both: Both) -> None:
        both.writer.write(post(SHORT, b"1"))
        await both.answers(b"now 1")
        for connection in both.state.connections:
            connection.shutdown()
        assert await asyncio.wait_for(both.reader.read(), 5) == b""

    served(test)


def test_a_caller_that_does_not_read_fills_no_memory() -> None:
    async def test(both: Both) -> None:
        both.writer.write(post(SHORT, b"1"))
        await both.answers(b"now 1")
        (connection,) = both.state.connections
        connection.flow.pause_writing()  # as the transport says when its buffer is full
        both.writer.write(post(SHORT, b"2"))
        await asyncio.sleep(0.05)
        assert both.at_once == [b"1"]
        connection.flow.resume_writing()
        await both.answers(b"app 2")

    served(test)


def test_who_is_not_admitted_is_refused_by_the_application() -> None:
    async def test(both: Both) -> None:
        both.writer.write(post(SHORT, b"1") + post(SHORT, b"2", b"Authorization: Bearer s3cret"))
        await both.answers(b"app 1", b"app 2")
        both.writer.write(post(SHORT, b"3", b"authorization: Bearer s3cret"))
        await both.answers(b"now 3")

    served(test, token="s3cret")


def test_what_is_no_request_is_refused() -> None:
    async def test(both: Both) -> None:
        both.writer.write(post(SHORT, b"1") + b"POST /v1/mod\x00 HTTP/1.1\r\n\r\n")
        await both.answers(b"now 1")
        told = await asyncio.wait_for(both.reader.read(), 5)
        assert told.startswith(b"HTTP/1.1 400 Bad Request\r\n")

    served(test)
