"""What is answered at once is answered as it would be the usual way, and counted so."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from potstill.server import Settings
from potstill.server.answers import Answers
from potstill.server.app import make_app
from potstill.server.run import Listening, config_of

Told = tuple[int, dict[str, str], bytes]


class Served:
    """A server in a thread, and what it is asked by both ways."""

    def __init__(self, settings: Settings) -> None:
        app = make_app(settings)
        self.server = app.state.server
        self._uvicorn = uvicorn.Server(config_of(app, settings, Listening(port=0)))
        self._thread = threading.Thread(target=self._uvicorn.run)
        self._thread.start()
        while not self._uvicorn.started:
            assert self._thread.is_alive()
        self.port = self._uvicorn.servers[0].sockets[0].getsockname()[1]

    def close(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join()

    def ask(self, path: str, body: bytes, headers: dict[str, str]) -> Told:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


@pytest.fixture
def served(made: Path) -> Iterator[Callable[..., Served]]:
    opened: list[Served] = []

    def open_one(**settings: Any) -> Served:
        opened.append(Served(Settings(str(made), **settings)))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each request that came to the shortcut, whether it was answered there."""
    noted = []
    now = Answers.now

    def noting(self: Answers, *asked: Any) -> None:
        *request, told, alone = asked

        def telling(reply: Any) -> None:
            noted.append(reply is not None)
            told(reply)

        now(self, *request, telling, alone)

    monkeypatch.setattr(Answers, "now", noting)
    return noted


def usual(path: str) -> str:
    """The same path, written so that it means itself only after it was decoded."""
    return path.replace("/models/", "/%6dodels/")


def tensors(rows: list[dict[str, Any]], **more: Any) -> bytes:
    kinds = {"age": "FP32", "city": "BYTES", "member": "BOOL", "since": "BYTES"}
    inputs = [
        {"name": name, "shape": [len(rows)], "datatype": kind, "data": [row[name] for row in rows]}
        for name, kind in kinds.items()
    ]
    return json.dumps({"inputs": inputs, "id": "7", **more}).encode()


BOTH_WAYS = {
    "one row": ("/v1/models/small:predict", lambda rows: json.dumps({"instances": rows[:1]}).encode()),
    "rows": ("/v1/models/small:predict", lambda rows: json.dumps({"instances": rows}).encode()),
    "no rows": ("/v1/models/small:predict", lambda _: b'{"instances": []}'),
    "unseen": (
        "/v1/models/small:predict",
        lambda rows: json.dumps({"instances": [{**rows[0], "city": "Ur", "age": None}]}).encode(),
    ),
    "a column absent": ("/v1/models/small:predict", lambda _: b'{"instances": [{"age": 3}]}'),
    "a wrong value": (
        "/v1/models/small:predict",
        lambda rows: json.dumps({"instances": [{**rows[0], "age": "old"}]}).encode(),
    ),
    "no JSON": ("/v1/models/small:predict", lambda _: b"\xff{"),
    "no body": ("/v1/models/small:predict", lambda _: b""),
    "unknown model": ("/v1/models/other:predict", lambda _: b"{}"),
    "tensors": ("/v2/models/small/infer", lambda rows: tensors(rows[:1])),
    "more tensors": ("/v2/models/small/infer", tensors),
    "binary": (
        "/v2/models/small/infer",
        lambda rows: tensors(rows[:2], parameters={"binary_data_output": True}),
    ),
    "an output that is not there": (
        "/v2/models/small/infer",
        lambda rows: tensors(rows[:1], outputs=[{"name": "none"}]),
    ),
    "unknown version": ("/v2/models/small/versions/9/infer", tensors),
}


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_both_ways_answer_alike(
    served: Callable[..., Served], at_once: list[bool], rows: list[dict[str, Any]], name: str
) -> None:
    server = served()
    path, body_of = BOTH_WAYS[name]
    body = body_of(rows)
    told = [server.ask(each, body, {}) for each in (path, usual(path))]
    assert at_once == [True]
    assert told[0] == told[1]
    lines = server.server.metrics.text().decode().splitlines()
    (count,) = [line for line in lines if line.startswith("potstill_requests_total{")]
    assert f'status="{told[0][0]}"' in count
    assert count.endswith(" 2.0")
    watched = {each.name: each.watch.report().n_rows for each in server.server.models}
    assert watched["small"] in (0, 2, 4, 2 * len(rows))
    answered = sum(float(line.split()[-1]) for line in lines if line.startswith("potstill_rows_total{"))
    assert answered == (watched["small"] if told[0][0] == 200 else 0)


def test_the_header_of_binary_tensors_is_heeded(
    served: Callable[..., Served], at_once: list[bool], rows: list[dict[str, Any]]
) -> None:
    server = served()
    body = tensors(rows[:1])
    for length in (len(body), len(body) + 1):
        headers = {"Inference-Header-Content-Length": str(length)}
        told = [server.ask(path, body, headers) for path in (INFER, usual(INFER))]
        assert told[0] == told[1]
        assert told[0][0] == (200 if length == len(body) else 400)
    assert at_once == [True, True]


INFER = "/v2/models/small/infer"


def test_many_rows_wait_in_a_thread(
    served: Callable[..., Served], at_once: list[bool], rows: list[dict[str, Any]]
) -> None:
    server = served()
    body = json.dumps({"instances": (rows * 6)[:64]}).encode()
    status, _, answer = server.ask("/v1/models/small:predict", body, {})
    assert (status, len(json.loads(answer)["predictions"])) == (200, 64)
    assert at_once == [False]
    assert server.server.models.named("small").watch.report().n_rows == 64


@pytest.mark.parametrize(
    ("settings", "status"),
    [({"token": "s3cret"}, 401), ({"max_body_bytes": 10}, 413), ({"max_concurrent": 0}, 429)],
)
def test_what_is_not_admitted_is_not_looked_at(
    served: Callable[..., Served],
    at_once: list[bool],
    rows: list[dict[str, Any]],
    settings: dict[str, Any],
    status: int,
) -> None:
    server = served(**settings)
    body = json.dumps({"instances": rows[:1]}).encode()
    for path in ("/v1/models/small:predict", usual("/v1/models/small:predict")):
        refused, headers, _ = server.ask(path, body, {})
        assert (refused, headers["connection"]) == (status, "close")
    assert at_once == []


def test_a_cascade_may_have_to_wait(
    served: Callable[..., Served], at_once: list[bool], rows: list[dict[str, Any]], ensemble: Any
) -> None:
    url = f"http://127.0.0.1:{ensemble.server_port}/{{model}}"
    server = served(cascade_url=url, cascade_threshold=1.0)
    body = json.dumps({"instances": rows[:1]}).encode()
    status, _, answer = server.ask("/v1/models/small:predict", body, {})
    assert (status, json.loads(answer)["predictions"][0]["answered_by"]) == (200, "ensemble")
    assert at_once == [False]
    assert len(ensemble.shown) == 1


def test_a_shadow_sees_what_is_answered_at_once(
    served: Callable[..., Served], at_once: list[bool], rows: list[dict[str, Any]], ensemble: Any
) -> None:
    url = f"http://127.0.0.1:{ensemble.server_port}/{{model}}"
    server = served(shadow_url=url, shadow_share=1.0)
    row = {**rows[0], "more": "than the model takes"}
    server.ask("/v1/models/small:predict", json.dumps({"instances": [row]}).encode(), {})
    assert at_once == [True]
    shadow = server.server.models.named("small").shadow
    while not shadow.report().asked:
        assert not shadow.report().failed
    assert ensemble.shown == [row]


def test_what_breaks_at_once_breaks_the_usual_way(
    served: Callable[..., Served], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(body: bytes) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr("potstill.server.answers.read_rows", broken)
    server = served()
    status, _, answer = server.ask("/v1/models/small:predict", b"{}", {})
    assert (status, b"secret" in answer) == (500, False)
    assert "could not be answered at once" in caplog.text
    lines = server.server.metrics.text().decode().splitlines()
    (count,) = [line for line in lines if line.startswith("potstill_requests_total{")]
    assert 'status="500"' in count
    assert count.endswith(" 1.0")
