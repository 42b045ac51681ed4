"""The requests that come by the thousand, answered without a framework's request and response objects."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, final

from starlette.types import Receive, Scope, Send

from potstill.server.guard import Admission

JSON: Mapping[str, str] = {"content-type": "application/json"}


def _lines(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


_JSON_LINES = _lines(JSON)

SHORTCUT_KEY = "potstill.shortcut"
"""Where the application's lifespan leaves the `Shortcut` for its connections."""

SHORT_BODY_BYTES = 16_384
"""Bodies up to this size may be answered at once; longer ones hold rows enough for others to go first."""

_KEPT_URLS = 1000
"""URLs whose meaning is kept; there may be as many wrong ones as a caller likes."""

_NAME = rb"([\w.~-]+)"
_SHORT_URLS = (
    ("json", re.compile(rb"/v1/models/" + _NAME + rb":predict()")),
    ("oip", re.compile(rb"/v2/models/" + _NAME + rb"(?:/versions/" + _NAME + rb")?/infer")),
)
"""Protocol to the URLs whose path is written as it is meant."""


class Reply(NamedTuple):
    """A whole answer.

    Parameters
    ----------
    status
        HTTP status.
    body
        Its bytes.
    headers
        All but the length.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = JSON

    def lines(self) -> list[tuple[bytes, bytes]]:
        """Names, in small letters, and values of all headers."""
        told = _JSON_LINES if self.headers is JSON else _lines(self.headers)
        return [*told, (b"content-length", b"%d" % len(self.body))]


class Asked(NamedTuple):
    """What a URL asks: by which protocol (``json`` or ``oip``), and which model."""

    protocol: str
    name: str
    version: str | None


Later: TypeAlias = Callable[[str, str, str | None, Mapping[bytes, bytes], bytes], Awaitable[Reply]]
"""What answers a request by protocol, model, version, headers and body, and may wait for others."""

Told: TypeAlias = Callable[[Reply | None], None]
"""Is given the whole answer, or None where the usual way is to answer."""

Now: TypeAlias = Callable[[str, str, str | None, Mapping[bytes, bytes], bytes, Told, bool], None]
"""Answers the same, and waits for nothing but others of the same turn of the loop, unless it is alone."""


@final
class Traffic:
    """An ASGI endpoint that reads a body, answers and is done.

    Parameters
    ----------
    protocol
        Of its requests.
    answer
        Makes the reply.
    """

    def __init__(self, protocol: str, answer: Later) -> None:
        self._protocol, self._answer = protocol, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            return
        path = scope["path_params"]
        reply = await self._answer(
            self._protocol, path["model"], path.get("version"), dict(scope["headers"]), body
        )
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.lines()})
        await send({"type": "http.response.body", "body": reply.body})


@final
class Shortcut:
    """Answers what needs no wait from where its last byte is read, so that no task is made for it.

    Whatever it does not answer goes the way of all requests.

    Parameters
    ----------
    admission
        Who is let in.
    answer
        Answers.
    settle
        Answers at once what `answer` has left for the end of this turn.
    """

    def __init__(self, admission: Admission, answer: Now, settle: Callable[[], None]) -> None:
        self._admission, self._answer = admission, answer
        self.settle = settle
        self._last_caller = 0
        self._urls: dict[bytes, Asked] = {}

    def asked(self, url: bytes) -> Asked | None:
        """What a URL asks, None where it may not be answered here."""
        known = self._urls.get(url)
        if known is None:
            known = _asked(url)
            if known is not None and len(self._urls) < _KEPT_URLS:
                self._urls[url] = known
        return known

    def answer(
        self, asked: Asked, headers: Mapping[bytes, bytes], body: bytes, told: Told, *, caller: int
    ) -> None:
        """Answer, now or at the end of this turn of the loop.

        Parameters
        ----------
        asked, headers, body
            The request.
        told
            Is given the reply.
        caller
            Number of the connection: who asks twice with nobody between is alone, and waits for nobody.
        """
        if not self._admission.admits(headers):
            told(None)
            return
        alone, self._last_caller = caller == self._last_caller, caller
        self._answer(*asked, headers, body, told, alone)


def _asked(url: bytes) -> Asked | None:
    for protocol, pattern in _SHORT_URLS:
        found = pattern.fullmatch(url)
        if found is not None:
            name, version = found.groups()
            return Asked(protocol, name.decode(), version.decode() if version else None)
    return None


async def _body(receive: Receive) -> bytes | None:
    """All of a request's body; None when the caller has gone."""
    parts: list[Any] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
