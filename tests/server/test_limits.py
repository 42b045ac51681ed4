"""What a server refuses, and what it tells of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from potstill.errors import UserError
from potstill.server import Settings
from potstill.server.app import make_app

PREDICT = "/v1/models/small:predict"


def test_large_bodies_are_refused_with_and_without_a_length(limited: Callable[..., TestClient]) -> None:
    client = limited(max_body_bytes=1000)
    assert client.post(PREDICT, content=b" " * 1001).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(11):
            yield b" " * 100

    answer = client.post(PREDICT, content=chunks())
    assert (answer.status_code, "1,000" in answer.json()["error"]) == (413, True)
    told = client.get("/metrics").text
    assert 'potstill_requests_total{model="-",protocol="http",status="413",version="-"} 2.0' in told


def test_many_rows_are_refused(limited: Callable[..., TestClient], rows: list[dict[str, Any]]) -> None:
    client = limited(max_rows=3)
    refused = client.post(PREDICT, json={"instances": rows[:4]})
    assert (refused.status_code, "at most 3" in refused.json()["error"]) == (400, True)
    assert client.post(PREDICT, json={"instances": rows[:3]}).status_code == 200


def test_too_many_at_once_come_back_later(limited: Callable[..., TestClient]) -> None:
    answer = limited(max_concurrent=0).post(PREDICT, json={"instances": []})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_a_slow_request_ends(
    limited: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]
) -> None:
    async def slow(*_: object) -> None:
        await asyncio.sleep(10)

    monkeypatch.setattr("potstill.server.answers.Answers.outputs", slow)
    client = limited(request_timeout_s=0.05)
    answer = client.post(PREDICT, json={"instances": rows})
    assert (answer.status_code, "0.05 s" in answer.json()["error"]) == (408, True)
    counted = [line for line in client.get("/metrics").text.splitlines() if "requests_total{" in line]
    assert counted == ['potstill_requests_total{model="-",protocol="http",status="408",version="-"} 1.0']


def test_a_token_guards_all_but_health_and_the_empty_page(
    limited: Callable[..., TestClient], rows: list[dict[str, Any]]
) -> None:
    client = limited(token="s3cret")
    for path in ("/v2", "/v2/models/small", "/metrics", "/openapi.json", "/v1/models/small"):
        refused = client.get(path)
        assert (refused.status_code, refused.json()) == (401, {"error": "This needs a token."})
    assert client.post(PREDICT, json={"instances": [{}]}).json() == {"error": "This needs a token."}
    assert client.get("/v2/health/live", headers={}).status_code == 200
    assert client.get("/").text == limited().get("/").text
    assert "small" not in client.get("/").text
    wrong = {"Authorization": "Bearer s3cre"}
    assert client.post(PREDICT, json={"instances": rows}, headers=wrong).status_code == 401
    right = {"Authorization": "Bearer s3cret"}
    assert client.post(PREDICT, json={"instances": rows}, headers=right).status_code == 200


def test_what_breaks_inside_is_not_shown(
    limited: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = limited()

    def broken(body: bytes) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr("potstill.server.answers.read_rows", broken)
    answer = client.post(PREDICT, json={"instances": []})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert 'status="500"' in client.get("/metrics").text


def test_metrics_count_requests_rows_and_drift(client: TestClient, rows: list[dict[str, Any]]) -> None:
    client.post(PREDICT, json={"instances": rows})
    client.post(PREDICT, json={"instances": [{}]})
    told = client.get("/metrics").text
    lines = [line for line in told.splitlines() if line.startswith("potstill_requests_total")]
    assert sorted(line.split('status="')[1][:3] for line in lines) == ["200", "400"]
    assert f'potstill_watched_rows_total{{model="small"}} {len(rows)}.0' in told
    watched = client.get("/v1/models/small/watch").json()
    assert watched["n_rows"] == len(rows)


def test_metrics_tell_what_is_at_work(client: TestClient) -> None:
    at_work = "potstill_in_flight_requests 1.0"  # the one that asks
    assert at_work in client.get("/metrics").text.splitlines()


def test_nothing_to_serve_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model to serve"):
        make_app(Settings(str(tmp_path)))


def test_a_reload_takes_what_is_there_and_keeps_what_it_had(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes((made / "small.onnx").read_bytes())
    with TestClient(make_app(Settings(str(tmp_path)))) as client:
        before = client.get("/v2/models/m").json()["versions"]
        file.write_bytes(b"broken")
        refused = client.post("/v2/repository/models/m/load")
        assert refused.status_code == 500
        assert str(tmp_path) not in refused.text
        assert client.get("/v2/models/m").json()["versions"] == before
        file.write_bytes((made / "iris.onnx").read_bytes())
        assert client.post("/v2/repository/models/m/load").json() == {"changed": ["m"]}
        assert client.get("/v2/models/m").json()["versions"] != before
        assert client.post("/v2/repository/models/m/load").json() == {"changed": []}


def test_the_openapi_document_names_every_model(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/models/small:predict", "/v2/models/iris/infer"} <= paths.keys()


def test_the_openapi_document_tells_the_limit_of_rows(limited: Callable[..., TestClient]) -> None:
    rows = limited(max_rows=7).get("/openapi.json").json()["components"]["schemas"]["Rows.small"]
    assert rows["properties"]["instances"]["maxItems"] == 7


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "https://" not in page.text
    assert "http://" not in page.text
