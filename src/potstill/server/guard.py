"""What every request passes: the token, the limits of size, time and number. A plain ASGI middleware."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

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
class Admission:
    """Who is let in, by headers alone.

    Parameters
    ----------
    settings
        The limits and the token.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._expected = f"Bearer {settings.token}".encode()
        self.in_flight = 0
        """Requests at work."""

    def admits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request with these headers, their names in small letters, is let in."""
        return self.refusal(headers) is None

    def refusal(self, headers: Mapping[bytes, bytes]) -> RequestError | None:
        """Why it is not; None where it is."""
        if self._settings.token:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                return RequestError(401, "This needs a token.", {"WWW-Authenticate": "Bearer"})
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._settings.max_body_bytes:
            return self.too_large()
        if self.in_flight >= self._settings.max_concurrent:
            return RequestError(
                429, "Too many requests at once; try again.", {"Retry-After": str(RETRY_AFTER_S)}
            )
        return None

    def too_large(self) -> RequestError:
        """The body is longer than is allowed."""
        return RequestError(413, f"The body is larger than {self._settings.max_body_bytes:,} bytes.")


@final
class Guard:
    """Refuses what the settings do not allow, before anything of the request is looked at.

    Parameters
    ----------
    app
        What answers.
    settings
        The limits and the token.
    admission
        Who is let in.
    metrics
        Are told how many requests are at work, and of those that are refused.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, admission: Admission, metrics: ServingMetrics
    ) -> None:
        self._app = app
        self._settings, self._admission, self._metrics = settings, admission, metrics
        metrics.in_flight.set_function(lambda: admission.in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        refusal = self._admission.refusal(dict(scope["headers"]))
        if refusal is not None:
            await self._refuse(send, refusal)
            return
        self._admission.in_flight += 1
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await self._app(scope, self._bounded(receive), noted)
        except TimeoutError:
            if not started:
                limit_s = self._settings.request_timeout_s
                await self._refuse(send, RequestError(408, f"The request took longer than {limit_s:g} s."))
        except RequestError as error:
            if started:
                raise
            await self._refuse(send, error)
        finally:
            self._admission.in_flight -= 1

    async def _refuse(self, send: Send, refusal: RequestError) -> None:
        self._metrics.refused(str(refusal.status))
        await refuse(send, refusal)

    def _bounded(self, receive: Receive) -> Receive:
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._settings.max_body_bytes:
                raise self._admission.too_large()
            return message

        return bounded


async def refuse(send: Send, refusal: RequestError) -> None:
    """Answer with an error; the connection is closed, for its body may not have been read."""
    body = refusal.body
    told: dict[str, Any] = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **refusal.headers,
    }
    headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
