"""The requests that come by the thousand, answered without a framework's request and response objects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, final

from starlette.types import Receive, Scope, Send


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
    headers: Mapping[str, str] = {"content-type": "application/json"}


Answer: TypeAlias = Callable[[dict[str, str], Mapping[bytes, bytes], bytes], Awaitable[Reply]]
"""What makes a reply of the path's parameters, the headers and the body."""


@final
class Traffic:
    """An ASGI endpoint that reads a body, answers and is done.

    Parameters
    ----------
    answer
        Makes the reply.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            return
        reply = await self._answer(scope["path_params"], dict(scope["headers"]), body)
        headers: list[tuple[bytes, bytes]] = [
            (name.lower().encode(), value.encode()) for name, value in reply.headers.items()
        ]
        headers.append((b"content-length", str(len(reply.body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


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
