"""A caller's connection: uvicorn's, which is patient within limits and answers short requests by itself."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from potstill.server.traffic import SHORT_BODY_BYTES, SHORTCUT_KEY, Asked, Reply, Shortcut

BODY_WAIT_S = 0.02
"""A body that comes later than this after its headers is waited for by uvicorn, as the guard allows."""

_STATUS_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}
_UNUSUAL = (b"transfer-encoding", b"expect", b"upgrade")


class Config(uvicorn.Config):
    """uvicorn's configuration, and what its connections look up beside it."""

    header_timeout_s: float = 10.0


@final
class Connection(HttpToolsProtocol):
    """uvicorn's protocol, with two additions.

    A connection whose headers do not arrive in time is closed. And a request to the shortcut's URLs is kept
    back until its last byte: if the shortcut answers it, uvicorn never hears of it; else uvicorn's parser
    callbacks are called as if it came now.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._shortcut: Shortcut | None = self.app_state.get(SHORTCUT_KEY)
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._in_headers = False
        self._asked: Asked | None = None
        """Of the request that is kept back; None where none is."""
        self._is_whole = False
        """Whether all of it is there, and the shortcut at work."""
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._idle is not None:
            self._idle.cancel()
        self._asked = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is None:
            if self._in_headers:
                self._expect_headers()
            elif self._asked is not None and not self._is_whole:
                self._timer = self.loop.call_later(BODY_WAIT_S, self._let_go)

    def shutdown(self) -> None:
        self._settle()
        self._let_go()  # to uvicorn, which finishes what it has begun
        super().shutdown()

    def on_message_begin(self) -> None:
        self._settle()
        self._stop_timer()
        self._in_headers, self._is_whole = True, False
        self._url, self._body = b"", b""
        self._lines: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:
            self._lines.append((name.lower(), value))
        else:  # behind a body in chunks
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_timer()
        if self._shortcut is not None and self.parser.get_method() == b"POST":
            self._asked = self._shortcut.asked(self._url)
        if self._asked is None or not self._is_usual():
            self._hand_over()

    def on_body(self, body: bytes) -> None:
        if self._asked is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        if self._asked is None or self._shortcut is None:
            super().on_message_complete()
            return
        self._stop_timer()
        self._is_whole = True
        if self.flow.write_paused:
            self._told(None)
        else:
            self._shortcut.answer(self._asked, self._headers, self._body, self._told, caller=id(self))

    def _told(self, reply: Reply | None) -> None:
        """The shortcut's answer to the request that is kept back, unless the caller has gone."""
        if self._asked is None or self.transport.is_closing():
            return
        if reply is None:
            self._hand_over()
            super().on_message_complete()
        else:
            self._asked = None
            self._write(reply)

    def _close_idle(self) -> None:
        """Close the connection unless it has asked lately: one timer for many requests."""
        self._idle = None
        at_work = self._in_headers or self._asked is not None
        if self.cycle is not None and not self.cycle.response_complete:
            at_work = True
        left_s = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if at_work or left_s > 0:
            self._idle = self.loop.call_later(max(left_s, 0.1), self._close_idle)
        else:
            self.timeout_keep_alive_handler()

    def on_response_complete(self) -> None:
        self._answered_at = self.loop.time()
        super().on_response_complete()

    def _is_usual(self) -> bool:
        """Whether the request is one of a short body whose length is told, and the next to be answered."""
        self._headers = headers = dict(self._lines)
        length = headers.get(b"content-length", b"")
        return (
            length.isdigit()
            and int(length) <= SHORT_BODY_BYTES
            and not any(name in headers for name in _UNUSUAL)
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and (self.cycle is None or self.cycle.response_complete)
            and not self.transport.is_closing()
        )

    def _write(self, reply: Reply) -> None:
        head = [_STATUS_LINES[reply.status]]
        for name, value in (*self.server_state.default_headers, *reply.lines()):
            head += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join([*head, b"\r\n", reply.body]))
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self._idle is None:
            self._idle = self.loop.call_later(self.timeout_keep_alive, self._close_idle)

    def _settle(self) -> None:
        """Have the request answered that waits for the end of this turn, if one does."""
        if self._asked is not None and self._shortcut is not None:
            self._shortcut.settle()

    def _let_go(self) -> None:
        """Hand the request that is kept back over, if one is."""
        self._stop_timer()
        if self._asked is not None:
            self._hand_over()

    def _hand_over(self) -> None:
        """Tell uvicorn of the request what has come of it so far."""
        self._asked = None
        super().on_message_begin()
        super().on_url(self._url)
        for name, value in self._lines:
            super().on_header(name, value)
        super().on_headers_complete()
        if self._body:
            super().on_body(self._body)

    def _expect_headers(self) -> None:
        limit_s = self.config.header_timeout_s if isinstance(self.config, Config) else 10.0
        self._timer = self.loop.call_later(limit_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
