"""A model behind a web address, asked politely: in batches, at a rate, again when it was busy."""

from __future__ import annotations

import base64
import json
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import narwhals as nw
import numpy as np

from potstill.artifact.pictures import picture_of, png_bytes
from potstill.errors import UserError
from potstill.teachers.answers import checked, speaking_for
from potstill.teachers.digests import digest
from potstill.teachers.pixels import is_of_pictures
from potstill.types import Dataset, Floats, Task, Teacher, Trainable

if TYPE_CHECKING:
    import httpx

_VERSION = "1"
_BUSY = frozenset({429, 500, 502, 503, 504})
_LONGEST_WAIT_S = 60.0
_PNM = (b"P5", b"P6")

PICTURES_IN_REQUEST = 32


@dataclass(frozen=True, eq=False)
class HttpTeacher:
    """A model behind a web address.

    Each batch is a POST of ``{"instances": [{column: value, ...}, ...]}``; a missing or infinite number is
    null, a date its ISO text, a picture the base64 of its file. The answer is ``{"predictions": [...]}`` with
    a list of probabilities in the order of the task's classes, a mapping from class to probability or (two
    classes, regression) a number for each row; or the Open Inference Protocol's ``{"outputs": [{"shape": ...,
    "data": ...}]}``.

    A request that fails on the way, or is answered with 429 or 5xx, is made again after a wait that doubles
    each time, with jitter, and is never shorter than the server's ``Retry-After``.

    Parameters
    ----------
    url
        Where to POST.
    name
        Name of the teacher; "" takes the host and path of ``url``.
    rate_per_s
        Requests in a second at most; None for as fast as it answers.
    batch_rows
        Rows in one request; of pictures `PICTURES_IN_REQUEST` at most.
    retries
        How often a request is made again.
    timeout_s
        Seconds to wait for a connection, and for each piece of the answer.
    headers
        Further headers of every request.
    token_env
        Name of the environment variable with a bearer token; the token itself is read at each call and never
        kept.
    backoff_s
        First wait in seconds.
    max_response_bytes
        Largest answer that is read.
    """

    url: str
    name: str = ""
    rate_per_s: float | None = None
    batch_rows: int = 256
    retries: int = 5
    timeout_s: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    token_env: str = ""
    backoff_s: float = 0.5
    max_response_bytes: int = 64_000_000

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise UserError(f"Wanted a web address that starts with http:// or https://, got {self.url!r}.")
        if self.batch_rows < 1 or self.retries < 0 or self.timeout_s <= 0:
            raise UserError(
                f"Wanted batch_rows >= 1, retries >= 0 and timeout_s > 0, got {self.batch_rows}, "
                f"{self.retries} and "
                f"{self.timeout_s}."
            )
        if self.rate_per_s is not None and self.rate_per_s <= 0:
            raise UserError(f"Wanted rate_per_s > 0 or None, got {self.rate_per_s}.")
        if not self.name:
            object.__setattr__(self, "name", address.netloc.rpartition("@")[2] + address.path.rstrip("/"))

    @property
    def fingerprint(self) -> str:
        """Digest of the address: nobody can tell from outside when the model behind it changes."""
        return digest("http", _VERSION, self.url)

    def predict(self, dataset: Dataset) -> Floats:
        import httpx

        at_once = min(self.batch_rows, PICTURES_IN_REQUEST) if is_of_pictures(dataset) else self.batch_rows
        batches = []
        pause = 0.0 if self.rate_per_s is None else 1.0 / self.rate_per_s
        with httpx.Client(timeout=self.timeout_s, headers=self._all_headers()) as client:
            due = time.monotonic()
            for start in range(0, len(dataset), at_once):
                time.sleep(max(0.0, due - time.monotonic()))
                due = time.monotonic() + pause
                batch = _instances(dataset.rows[start : start + at_once, :])
                batches.append(self._answers(self._post(client, batch), len(batch), dataset.task))
        return np.concatenate(batches) if batches else np.empty((0, dataset.task.n_outputs), dtype=np.float32)

    def _all_headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "application/json", **self.headers}
        if self.token_env:
            token = os.environ.get(self.token_env, "")
            if not token:
                raise UserError(
                    f"Teacher {self.name!r} wants a bearer token in the environment variable "
                    f"{self.token_env!r}, "
                    f"which is not set."
                )
            headers["authorization"] = f"Bearer {token}"
        return headers

    def _post(self, client: httpx.Client, batch: list[dict[str, Any]]) -> Any:
        import httpx

        body = json.dumps({"instances": batch}, allow_nan=False).encode()
        for attempt in range(self.retries + 1):
            wait_s = self.backoff_s * 2**attempt * random.uniform(0.5, 1.5)
            try:
                with client.stream("POST", self.url, content=body) as response:
                    status, content = response.status_code, self._read(response)
                    asked_s = _retry_after_s(response.headers.get("retry-after", ""))
            except httpx.TransportError as error:
                status, content, asked_s = 0, f"{type(error).__name__}: {error}".encode(), 0.0
            if 200 <= status < 300:
                return self._parsed(content)
            if status and status not in _BUSY:
                raise UserError(
                    f"Teacher {self.name!r} answered with status {status} to a request of {len(batch)} rows: "
                    f"{_excerpt(content)}",
                    hint="Wanted status 200; the address, the token or the columns may be wrong.",
                )
            if attempt < self.retries:
                time.sleep(max(min(wait_s, _LONGEST_WAIT_S), asked_s))
        got = f"status {status}" if status else "no answer"
        raise UserError(
            f"Teacher {self.name!r} gave no answer in {self.retries + 1} attempts; the last got {got}: "
            f"{_excerpt(content)}",
            hint="Run the same command again later: answers that were stored are not asked for again.",
        )

    def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > self.max_response_bytes:
                raise UserError(
                    f"Teacher {self.name!r} answered with more than {self.max_response_bytes} bytes "
                    "to one request.",
                    hint="Ask for fewer rows at once (batch_rows), or raise max_response_bytes.",
                )
        return bytes(content)

    def _parsed(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError as error:
            raise UserError(f"Teacher {self.name!r} did not answer in JSON: {_excerpt(content)}") from error

    def _answers(self, payload: Any, n_rows: int, task: Task) -> Floats:
        fields = payload if isinstance(payload, dict) else {}
        if "predictions" not in fields and "outputs" not in fields:
            raise UserError(
                f"Teacher {self.name!r}: wanted an answer with 'predictions' (or 'outputs'), got "
                f"{_excerpt(json.dumps(payload).encode())}"
            )
        labels = None
        with speaking_for(self.name, "be understood"):
            values = fields["predictions"] if "predictions" in fields else _tensor(fields["outputs"])
            if len(values) and isinstance(values[0], dict):
                labels = list(dict.fromkeys(label for row in values for label in row))
                values = [[row.get(label, 0.0) for label in labels] for row in values]
        return checked(values, task=task, n_rows=n_rows, teacher=self.name, labels=labels)


class HttpAdapter:
    """Adapter of addresses that start with ``http://`` or ``https://``."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        return isinstance(source, str) and source.startswith(("http://", "https://"))

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:  # noqa: ARG003
        return HttpTeacher(source, name or "")


def _instances(rows: nw.DataFrame[Any]) -> list[dict[str, Any]]:
    return [{name: _plain(value) for name, value in row.items()} for row in rows.rows(named=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, bytes):
        file = png_bytes(picture_of(value)) if value.startswith(_PNM) else value
        return base64.b64encode(file).decode()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    isoformat = getattr(value, "isoformat", None)
    # pandas' missing date has an isoformat too; like every missing value it is unequal to itself.
    return str(value) if isoformat is None else isoformat() if value == value else None  # noqa: PLR0124


def _tensor(outputs: Any) -> Any:
    prob = [output for output in outputs if "prob" in str(output.get("name", "")).lower()]
    chosen = (prob or outputs)[0]
    return np.asarray(chosen["data"], dtype=np.float64).reshape(chosen["shape"])


def _retry_after_s(header: str) -> float:
    """Seconds the server asks to wait, given as seconds or as a date; 0 when it does not, an hour at most."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), 3600.0)


def _excerpt(content: bytes) -> str:
    text = " ".join(content[:400].decode(errors="replace").split())
    return text[:200] or "(empty)"
