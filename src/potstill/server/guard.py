"""What every request passes: the token, the limits of size, time and number. A plain ASGI middleware."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, Any, final

import msgspec

from potstill.server.errors import RequestError
from potstill.server.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from potstill.monitoring.metrics import ServingMetrics

OPEN_PATHS = ("/v2/health/live", "/v2/health/ready", "/")
"""What needs no token and is never refused for load: an orchestrator's probes carry none, nor does a browser
that opens the page, which is the same for every server and asks for the token itself."""

RETRY_AFTER_S = 1


@final
class Guard:
    """Refuses what the settings do not allow, before anything of the request is looked at.

    Parameters
    ----------
    app
        What answers.
    settings
        The limits and the token.
    metrics
        Are told how many requests are at work, and of those that are refused.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: ServingMetrics) -> None:
        self._app = app
        self._settings = settings
        self._expected = f"Bearer {settings.token}".encode()
        self.in_flight = 0
        self._metrics = metrics
        metrics.in_flight.set_function(lambda: self.in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._admit(scope)
        except RequestError as refusal:
            await self._refuse(send, refusal)
            return
        self.in_flight += 1
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await self._app(scope, self._bounded(receive), noted)
        except TimeoutError:
            if not started:
                limit_s = self._settings.request_timeout_s
                await self._refuse(send, RequestError(408, f"The request took longer than {limit_s:g} s."))
        except RequestError as refusal:
            if started:
                raise
            await self._refuse(send, refusal)
        finally:
            self.in_flight -= 1

    async def _refuse(self, send: Send, refusal: RequestError) -> None:
        self._metrics.refused(str(refusal.status))
        await refuse(send, refusal)

    def _admit(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if self._settings.token:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                raise RequestError(401, "This needs a token.", {"WWW-Authenticate": "Bearer"})
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._settings.max_body_bytes:
            raise self._too_large()
        if self.in_flight >= self._settings.max_concurrent:
            raise RequestError(
                429, "Too many requests at once; try again.", {"Retry-After": str(RETRY_AFTER_S)}
            )

    def _bounded(self, receive: Receive) -> Receive:
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._settings.max_body_bytes:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> RequestError:
        return RequestError(413, f"The body is larger than {self._settings.max_body_bytes:,} bytes.")


async def refuse(send: Send, refusal: RequestError) -> None:
    """Answer with an error; the connection is closed, for its body may not have been read."""
    body = msgspec.json.encode({"error": refusal.message})
    told: dict[str, Any] = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **refusal.headers,
    }
    headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
