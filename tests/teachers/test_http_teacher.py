"""Against a real server on the loopback address."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pytest

from potstill.errors import UserError
from potstill.teachers import HttpTeacher, adopt
from potstill.testing import check_teacher
from potstill.types import Dataset

Answer = Callable[[list[dict[str, Any]]], Any]


def alcohol(instances: list[dict[str, Any]]) -> list[list[float]]:
    probs = [min(max(row["alcohol"] - 12.0, 0.0), 1.0) for row in instances]
    return [[p, 1 - p, 0.0] for p in probs]


@dataclass
class Endpoint:
    """A model server: it fails as often as told, then answers."""

    answer: Answer = lambda instances: {"predictions": alcohol(instances)}
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.times.append(time.monotonic())
            state.headers.append({key.lower(): value for key, value in self.headers.items()})
            if state.failures:
                status, headers = state.failures.pop(0)
                content = b"busy now"
            else:
                state.seen.append(body)
                answer = state.answer(body["instances"])
                status, headers = 200, {}
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for key, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/models/wine"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_answers_in_batches(endpoint: Endpoint, wine: Dataset) -> None:
    teacher = adopt(endpoint.url, task=wine.task)
    assert teacher.name == endpoint.url.removeprefix("http://")
    check_teacher(teacher, wine)
    endpoint.seen.clear()
    answers = HttpTeacher(endpoint.url, batch_rows=64).predict(wine)
    assert [len(body["instances"]) for body in endpoint.seen] == [64, 64, 22]
    assert np.allclose(answers, alcohol(wine.rows.to_pandas().to_dict("records")), atol=1e-6)


def test_a_server_that_fails_twice_is_asked_again(endpoint: Endpoint, wine: Dataset) -> None:
    endpoint.failures = [(503, {}), (429, {"retry-after": "0.2"})]
    answers = HttpTeacher(endpoint.url, backoff_s=0.01).predict(wine)
    assert answers.shape == (150, 3)
    assert endpoint.times[2] - endpoint.times[1] >= 0.2
    assert endpoint.times[1] - endpoint.times[0] < 0.2


def test_a_server_that_keeps_failing_is_named(endpoint: Endpoint, wine: Dataset) -> None:
    endpoint.failures = [(503, {})] * 3
    with pytest.raises(UserError) as caught:
        HttpTeacher(endpoint.url, name="cellar", retries=2, backoff_s=0.001).predict(wine)
    assert caught.value.message == (
        "Teacher 'cellar' gave no answer in 3 attempts; the last got status 503: busy now"
    )
    assert len(endpoint.times) == 3


def test_no_server_at_all(wine: Dataset) -> None:
    with pytest.raises(UserError) as caught:
        HttpTeacher("http://127.0.0.1:1/", name="cellar", retries=1, backoff_s=0.001).predict(wine)
    assert caught.value.message.startswith(
        "Teacher 'cellar' gave no answer in 2 attempts; the last got no answer: ConnectError: "
    )


@pytest.mark.parametrize("status", [302, 400, 404])
def test_what_will_not_get_better_is_not_asked_again(endpoint: Endpoint, wine: Dataset, status: int) -> None:
    endpoint.failures = [(status, {"location": "/elsewhere"})]
    with pytest.raises(UserError) as caught:
        HttpTeacher(endpoint.url, name="cellar").predict(wine)
    assert caught.value.message == (
        f"Teacher 'cellar' answered with status {status} to a request of 150 rows: busy now"
    )
    assert len(endpoint.times) == 1


def test_rate(endpoint: Endpoint, wine: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("potstill.teachers.http.time", clock)
    HttpTeacher(endpoint.url, batch_rows=50, rate_per_s=20).predict(wine)
    assert len(endpoint.times) == 3
    assert clock.slept == pytest.approx([0.0, 0.05, 0.05])


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_mappings_and_the_open_inference_protocol(endpoint: Endpoint, wine: Dataset) -> None:
    expected = HttpTeacher(endpoint.url).predict(wine)
    names = ["grignolino", "barolo"]
    endpoint.answer = lambda rows: {
        "predictions": [dict(zip(names, [p[1], p[0]], strict=True)) for p in alcohol(rows)]
    }
    assert np.array_equal(HttpTeacher(endpoint.url).predict(wine), expected[:, [0, 2, 1]])
    endpoint.answer = lambda rows: {
        "outputs": [
            {"name": "label", "shape": [len(rows)], "datatype": "BYTES", "data": ["?"] * len(rows)},
            {
                "name": "probabilities",
                "shape": [len(rows), 3],
                "datatype": "FP32",
                "data": [p for row in alcohol(rows) for p in row],
            },
        ]
    }
    assert np.array_equal(HttpTeacher(endpoint.url).predict(wine), expected)


def test_one_number_for_two_classes_and_for_values(
    endpoint: Endpoint, cancer: Dataset, diabetes: Dataset
) -> None:
    endpoint.answer = lambda rows: {"predictions": [0.25] * len(rows)}
    assert HttpTeacher(endpoint.url).predict(cancer)[0].tolist() == [0.75, 0.25]
    assert HttpTeacher(endpoint.url).predict(diabetes)[0].tolist() == [0.25]


def test_rows_are_written_as_json(endpoint: Endpoint, wine: Dataset) -> None:
    frame = pd.DataFrame(
        {
            "alcohol": [12.5, 13.0],
            "count": pd.array([1, None], dtype="Int64"),
            "ratio": [float("inf"), float("nan")],
            "tint": pd.Series(["red", None], dtype="str"),
            "day": pd.to_datetime(["2024-02-03", None]),
            "fine": [True, False],
        }
    )
    for native in (
        frame,
        nw.from_native(frame, eager_only=True).to_arrow(),
        nw.from_native(frame).to_polars(),
    ):
        endpoint.seen.clear()
        rows = nw.from_native(native, eager_only=True)
        HttpTeacher(endpoint.url).predict(replace(wine.take(np.arange(2)), rows=rows))
        assert endpoint.seen[0]["instances"] == [
            {
                "alcohol": 12.5,
                "count": 1,
                "ratio": None,
                "tint": "red",
                "day": "2024-02-03T00:00:00",
                "fine": True,
            },
            {"alcohol": 13.0, "count": None, "ratio": None, "tint": None, "day": None, "fine": False},
        ]


def test_the_token_is_read_when_it_is_needed_and_never_shown(
    endpoint: Endpoint, wine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = HttpTeacher(endpoint.url, name="cellar", token_env="CELLAR_TOKEN", headers={"x-key": "open"})
    monkeypatch.delenv("CELLAR_TOKEN", raising=False)
    with pytest.raises(UserError) as caught:
        teacher.predict(wine)
    assert caught.value.message == (
        "Teacher 'cellar' wants a bearer token in the environment variable 'CELLAR_TOKEN', which is not set."
    )
    monkeypatch.setenv("CELLAR_TOKEN", "sesame")
    teacher.predict(wine)
    assert endpoint.headers[-1]["authorization"] == "Bearer sesame"
    assert endpoint.headers[-1]["x-key"] == "open"
    assert "sesame" not in repr(teacher)
    assert "open" not in repr(teacher)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"<html>", "Teacher 'cellar' did not answer in JSON: <html>"),
        (
            {"error": "no such model"},
            "Teacher 'cellar': wanted an answer with 'predictions' (or 'outputs'), got "
            '{"error": "no such model"}',
        ),
        (
            {"predictions": [[0.5, 0.5, 0.0]]},
            "Teacher 'cellar': wanted probabilities of shape (150, 3): a row each and a column for "
            "each class, got "
            "an array of shape (1, 3).",
        ),
        (
            {"predictions": None},
            "Teacher 'cellar' could not be understood: TypeError: object of type 'NoneType' has no len()",
        ),
        (b"[" + b" " * 5000, "Teacher 'cellar' answered with more than 4000 bytes to one request."),
    ],
)
def test_answers_that_are_none(endpoint: Endpoint, wine: Dataset, answer: Any, message: str) -> None:
    endpoint.answer = lambda rows: answer
    with pytest.raises(UserError) as caught:
        HttpTeacher(endpoint.url, name="cellar", max_response_bytes=4000).predict(wine)
    assert caught.value.message == message


def test_settings_that_make_no_sense() -> None:
    for make, message in [
        (
            lambda: HttpTeacher("cellar"),
            "Wanted a web address that starts with http:// or https://, got 'cellar'.",
        ),
        (lambda: HttpTeacher("http://a/", rate_per_s=0), "Wanted rate_per_s > 0 or None, got 0."),
        (
            lambda: HttpTeacher("http://a/", batch_rows=0),
            "Wanted batch_rows >= 1, retries >= 0 and timeout_s > 0, got 0, 5 and 30.0.",
        ),
    ]:
        with pytest.raises(UserError) as caught:
            make()
        assert caught.value.message == message


def test_fingerprint_is_of_the_address_alone() -> None:
    first, second = HttpTeacher("http://a/one"), HttpTeacher("http://a/one", batch_rows=3)
    assert first.fingerprint == second.fingerprint != HttpTeacher("http://a/two").fingerprint
