"""What is answered at once is answered as it would be the usual way, and counted so."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import potstill
from potstill.server import Settings
from potstill.server.answers import Answers
from potstill.server.app import make_app
from potstill.server.run import Listening, config_of

PREDICT, INFER = "/v1/models/small:predict", "/v2/models/small/infer"

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


@pytest.fixture(scope="module")
def running(made: Path) -> Iterator[Served]:
    opened = Served(Settings(str(made)))
    yield opened
    opened.close()


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
    "one row": (PREDICT, lambda rows: json.dumps({"instances": rows[:1]}).encode()),
    "rows": (PREDICT, lambda rows: json.dumps({"instances": rows}).encode()),
    "no rows": (PREDICT, lambda _: b'{"instances": []}'),
    "unseen": (
        PREDICT,
        lambda rows: json.dumps({"instances": [{**rows[0], "city": "Ur", "age": None}]}).encode(),
    ),
    "a column absent": (PREDICT, lambda _: b'{"instances": [{"age": 3}]}'),
    "a wrong value": (
        PREDICT,
        lambda rows: json.dumps({"instances": [{**rows[0], "age": "old"}]}).encode(),
    ),
    "no JSON": (PREDICT, lambda _: b"\xff{"),
    "no body": (PREDICT, lambda _: b""),
    "unknown model": ("/v1/models/other:predict", lambda _: b"{}"),
    "tensors": (INFER, lambda rows: tensors(rows[:1])),
    "more tensors": (INFER, tensors),
    "binary": (
        INFER,
        lambda rows: tensors(rows[:2], parameters={"binary_data_output": True}),
    ),
    "an output that is not there": (
        INFER,
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


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["Rome", "2024-05-31", "\ud800"])
)
odd_rows = st.fixed_dictionaries(dict.fromkeys(["age", "city", "member", "since"], scalars))
odd_tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["age", "city", "member", "since"]),
        "shape": st.sampled_from([[1], [1, 1], [2], [0], [-1], []]),
        "datatype": st.sampled_from(["FP32", "BYTES", "BOOL", "INT64", "X"]),
        "data": st.lists(scalars, max_size=2),
    }
)
bodies = st.binary(max_size=40) | st.builds(
    lambda asked: json.dumps(asked).encode(),
    st.fixed_dictionaries({"instances": st.lists(odd_rows, max_size=2)})
    | st.fixed_dictionaries({"inputs": st.lists(odd_tensors, min_size=3, max_size=4)}),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=bodies, path=st.sampled_from([PREDICT, INFER]))
def test_whatever_comes_is_answered_alike(running: Served, body: bytes, path: str) -> None:
    told = [running.ask(each, body, {}) for each in (path, usual(path))]
    assert told[0] == told[1]
    assert told[0][0] in (200, 400)


def test_rows_of_one_turn_are_answered_as_they_are_alone(
    served: Callable[..., Served], rows: list[dict[str, Any]], small: potstill.Model
) -> None:
    server = served().server
    asked = [*rows, {**rows[0], "age": "old"}, {}]
    told: dict[int, Any] = {}

    async def one_turn() -> None:
        for at, row in enumerate(asked):
            body = json.dumps({"instances": [row]}).encode()
            server.answers.now("json", "small", None, {}, body, partial(told.__setitem__, at), False)
        assert not told
        await asyncio.sleep(0)

    asyncio.run(one_turn())
    assert [told[at].status for at in range(len(asked))] == [200] * len(rows) + [400] * 2
    for at, row in enumerate(rows):
        said = json.loads(told[at].body)["predictions"][0]
        alone = small.predict_one(row)
        assert said["label"] == alone["label"]
        assert said["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)
    assert server.models.named("small").watch.report().n_rows == len(rows)


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


def test_many_rows_wait_in_a_thread(
    served: Callable[..., Served], at_once: list[bool], rows: list[dict[str, Any]]
) -> None:
    server = served()
    body = json.dumps({"instances": (rows * 6)[:64]}).encode()
    status, _, answer = server.ask(PREDICT, body, {})
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
    for path in (PREDICT, usual(PREDICT)):
        refused, headers, _ = server.ask(path, body, {})
        assert (refused, headers["connection"]) == (status, "close")
    assert at_once == []


def test_a_cascade_may_have_to_wait(
    served: Callable[..., Served], at_once: list[bool], rows: list[dict[str, Any]], ensemble: Any
) -> None:
    url = f"http://127.0.0.1:{ensemble.server_port}/{{model}}"
    server = served(cascade_url=url, cascade_threshold=1.0)
    body = json.dumps({"instances": rows[:1]}).encode()
    status, _, answer = server.ask(PREDICT, body, {})
    assert (status, json.loads(answer)["predictions"][0]["answered_by"]) == (200, "ensemble")
    assert at_once == [False]
    assert len(ensemble.shown) == 1


def test_a_shadow_sees_what_is_answered_at_once(
    served: Callable[..., Served], at_once: list[bool], rows: list[dict[str, Any]], ensemble: Any
) -> None:
    url = f"http://127.0.0.1:{ensemble.server_port}/{{model}}"
    server = served(shadow_url=url, shadow_share=1.0)
    row = {**rows[0], "more": "than the model takes"}
    server.ask(PREDICT, json.dumps({"instances": [row]}).encode(), {})
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
    status, _, answer = server.ask(PREDICT, b"{}", {})
    assert (status, b"secret" in answer) == (500, False)
    assert "could not be answered at once" in caplog.text
    lines = server.server.metrics.text().decode().splitlines()
    (count,) = [line for line in lines if line.startswith("potstill_requests_total{")]
    assert 'status="500"' in count
    assert count.endswith(" 1.0")
