"""The shadow: asks beside the traffic, never in its way, and tells what it saw."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from potstill.artifact.columns import slice_feeds
from potstill.errors import UserError
from potstill.monitoring import HttpEnsemble, Shadow, Watch
from potstill.monitoring.ensemble import EnsembleFailed
from potstill.types import Task


def agreeing(traffic):
    return lambda rows: traffic.model.predict_proba(list(rows))


def test_it_agrees_with_itself(classes):
    shadow = Shadow(classes.model, agreeing(classes), share=1.0)
    inputs = classes.feeds(classes.rows(200))
    shadow.observe(inputs, classes.model.outputs(inputs))
    shadow.drain()
    report = shadow.report()
    assert (report.asked, report.dropped, report.failed, report.agreement) == (200, 0, 0, 1.0)
    assert report.distance == pytest.approx(0.0, abs=1e-6)
    assert report.disagreements == ()
    shadow.close()


def test_disagreements_are_kept_with_their_rows(classes):
    def contrary(rows):
        return classes.model.predict_proba(list(rows))[:, ::-1]

    shadow = Shadow(classes.model, contrary, share=1.0, keep=10)
    rows = classes.rows(50).to_dict("records")
    inputs = classes.feeds(rows)
    outputs = classes.model.outputs(inputs)
    shadow.observe(inputs, outputs, rows)
    shadow.drain()
    report = shadow.report()
    assert report.agreement == 0.0
    assert report.distance == pytest.approx(np.abs(outputs[:, 0] - outputs[:, 1]).mean(), rel=1e-4)
    assert [dict(each.row) for each in report.disagreements] == rows[40:]
    assert report.disagreements[0].student == tuple(outputs[40].tolist())
    assert report.disagreements[0].ensemble == pytest.approx(tuple(outputs[40, ::-1].tolist()))
    shadow.close()


def test_values_are_compared_by_their_difference(values):
    shadow = Shadow(
        values.model, lambda rows: values.model.predict(list(rows))[:, None] + 3, share=1.0, far=2
    )
    inputs = values.feeds(values.rows(20))
    shadow.observe(inputs, values.model.outputs(inputs))
    shadow.drain()
    report = shadow.report()
    assert report.agreement is None
    assert report.distance == pytest.approx(3.0, rel=1e-4)
    assert len(report.disagreements) == 20
    shadow.close()


def test_a_share_of_the_requests_is_copied(classes):
    shadow = Shadow(classes.model, agreeing(classes), share=0.25, seed=3)
    inputs = classes.feeds(classes.rows(2))
    outputs = classes.model.outputs(inputs)
    for _ in range(400):
        shadow.observe(inputs, outputs)
    shadow.drain()
    assert 140 < shadow.report().asked < 260
    shadow.close()


def test_a_full_queue_drops_and_counts_and_nobody_waits(classes):
    gate, entered = threading.Event(), threading.Event()

    def slow(rows):
        entered.set()
        assert gate.wait(10)
        return classes.model.predict_proba(list(rows))

    shadow = Shadow(classes.model, slow, share=1.0, queue_requests=3)
    inputs = classes.feeds(classes.rows(2))
    outputs = classes.model.outputs(inputs)
    shadow.observe(inputs, outputs)
    assert entered.wait(10)
    for _ in range(10):
        shadow.observe(inputs, outputs)
    report = shadow.report()
    assert (report.dropped, report.waiting, report.asked) == (14, 3, 0)
    gate.set()
    shadow.drain()
    assert shadow.report().asked == 8
    shadow.close()


def test_a_failing_ensemble_is_told_and_asked_again(classes):
    calls = []

    def flaky(rows):
        calls.append(len(rows))
        if len(calls) == 1:
            raise ConnectionError("gone")
        return classes.model.predict_proba(list(rows))

    shadow = Shadow(classes.model, flaky, share=1.0)
    inputs = classes.feeds(classes.rows(5))
    for _ in range(2):
        shadow.observe(inputs, classes.model.outputs(inputs))
    shadow.drain()
    report = shadow.report()
    assert (report.asked, report.failed, report.trouble) == (5, 5, "ConnectionError: gone")
    shadow.close()


def test_a_closed_shadow_takes_no_more(classes):
    shadow = Shadow(classes.model, agreeing(classes), share=1.0)
    inputs = classes.feeds(classes.rows(5))
    outputs = classes.model.outputs(inputs)
    shadow.observe(inputs, outputs)
    shadow.drain()
    shadow.close()
    shadow.observe(inputs, outputs)
    assert shadow.report().asked == 5
    assert shadow.report().waiting == 0


def test_a_large_request_is_copied_in_part(classes):
    shadow = Shadow(classes.model, agreeing(classes), share=1.0, request_rows=10)
    inputs = classes.feeds(classes.rows(100))
    shadow.observe(inputs, classes.model.outputs(inputs))
    shadow.drain()
    assert shadow.report().asked == 10
    shadow.close()


def test_a_watch_shows_its_shadow_the_same_traffic(classes):
    shadow = Shadow(classes.model, agreeing(classes), share=1.0)
    watch = Watch(classes.model, shadow=shadow)
    inputs = classes.feeds(classes.rows(30))
    outputs = classes.model.outputs(inputs)
    for row in range(30):
        watch.observe(slice_feeds(inputs, row, row + 1), outputs[row : row + 1])
    shadow.drain()
    report = watch.report()
    assert (report.n_rows, report.shadow.asked, report.shadow.agreement) == (30, 30, 1.0)
    shadow.close()


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.1}, {"queue_requests": 0}, {"keep": 0}])
def test_bounds_that_are_none_are_refused(classes, options):
    with pytest.raises(UserError, match=r"^Wanted a share of the traffic above 0 and up to 1"):
        Shadow(classes.model, agreeing(classes), **options)


@pytest.fixture
def server():
    """A server that answers what it is told to, and keeps what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        answer: bytes = b""
        status = 200
        asked: list = []  # noqa: RUF012

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            Handler.asked.append((json.loads(self.rfile.read(length)), self.headers.get("authorization")))
            self.send_response(Handler.status)
            self.end_headers()
            self.wfile.write(Handler.answer)

        def log_message(self, *_: object) -> None:
            return

    Handler.asked = []
    opened = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Handler, f"http://127.0.0.1:{opened.server_port}/predict"
    opened.shutdown()
    opened.server_close()
    thread.join()


TASK = Task("binary", "paid", ("no", "yes"))


@pytest.mark.parametrize(
    "answer",
    [
        {"predictions": [[0.25, 0.75]]},
        {"predictions": [{"yes": 0.75, "no": 0.25}]},
        {"predictions": [{"label": "yes", "probabilities": {"yes": 0.75, "no": 0.25}}]},
    ],
)
def test_an_address_is_asked_in_json(server, answer, monkeypatch):
    handler, url = server
    handler.answer = json.dumps(answer).encode()
    monkeypatch.setenv("ENSEMBLE_TOKEN", "secret")
    said = HttpEnsemble(url, TASK, token_env="ENSEMBLE_TOKEN")([{"age": 39.0, "city": None}])
    np.testing.assert_array_equal(said, np.array([[0.25, 0.75]], np.float32))
    assert handler.asked == [({"instances": [{"age": 39.0, "city": None}]}, "Bearer secret")]


def test_values_are_asked_for_too(server):
    handler, url = server
    for answer in ([3.5], [{"value": 3.5}], [[3.5]]):
        handler.answer = json.dumps({"predictions": answer}).encode()
        assert HttpEnsemble(url, Task("regression", "price"))([{"age": 1}]).tolist() == [[3.5]]


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (500, b"{}", "HTTPError"),
        (200, b"<html>", "not understood"),
        (200, b'{"outputs": []}', "not understood"),
        (200, b'{"predictions": [[0.5, 0.2]]}', "do not sum to 1"),
        (200, b'{"predictions": [[0.5, 0.5], [0.5, 0.5]]}', "shape"),
        (200, b'{"predictions": [{"maybe": 1.0}]}', "no probability of 'no'"),
        (200, b'{"predictions": ["much"]}', "no table of numbers"),
    ],
)
def test_what_is_no_answer_is_a_failure(server, status, answer, reason):
    handler, url = server
    handler.status, handler.answer = status, answer
    with pytest.raises(EnsembleFailed, match=reason):
        HttpEnsemble(url, TASK)([{"age": 39.0}])
    handler.status = 200


def test_nobody_there_is_a_failure():
    with pytest.raises(EnsembleFailed, match="refused"):
        HttpEnsemble("http://127.0.0.1:9/predict", TASK, timeout_s=2)([{"age": 1.0}])


def test_addresses_and_tokens_are_checked_at_once(monkeypatch):
    with pytest.raises(UserError, match=r"^Wanted an address of the ensemble, got 'file:///etc/passwd'"):
        HttpEnsemble("file:///etc/passwd", TASK)
    monkeypatch.delenv("ENSEMBLE_TOKEN", raising=False)
    with pytest.raises(UserError, match=r"^The environment variable 'ENSEMBLE_TOKEN'"):
        HttpEnsemble("http://127.0.0.1/predict", TASK, token_env="ENSEMBLE_TOKEN")
