"""What can be wrong with a request, and the status that says so."""

from __future__ import annotations

import msgspec

from potstill.errors import UserError


class RequestError(Exception):
    """A request that is not answered as it was meant.

    Parameters
    ----------
    status
        HTTP status, 400 or more.
    message
        A sentence for the caller: nothing of the server in it.
    headers
        To send along.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}

    @property
    def body(self) -> bytes:
        """The message as JSON, which is what the caller gets."""
        return msgspec.json.encode({"error": self.message})


def bad_request(message: str) -> RequestError:
    """The caller's input is wrong: 400."""
    return RequestError(400, message)


def refused(error: UserError) -> RequestError:
    """The rows are not as the model takes them: 400."""
    return RequestError(400, f"{error.message} {error.hint}".strip())


def not_found(what: str) -> RequestError:
    """There is no such model, version or page: 404."""
    return RequestError(404, f"There is no {what} here.")
