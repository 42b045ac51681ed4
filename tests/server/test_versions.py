"""A model repository behind the server: switched aliases are served without a restart."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from potstill.server import Settings
from potstill.server.app import make_app
from potstill.server.models import Models
from potstill.versions import Repository

TOKEN = {"Authorization": "Bearer s3cret"}


@pytest.fixture
def repository(made: Path, tmp_path: Path) -> Repository:
    kept = Repository(tmp_path / "models")
    kept.push(made / "small.onnx", "m")
    kept.push(made / "iris.onnx", "m")
    return kept


@pytest.fixture
def client(repository: Repository, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(str(tmp_path / "models"), token="s3cret", poll_s=0.05)
    with TestClient(make_app(settings), headers=TOKEN) as opened:
        yield opened


def served(client: TestClient) -> str:
    return str(client.get("/v2/models/m").json()["versions"][0])


def until(client: TestClient, version: str) -> None:
    for _ in range(200):
        if served(client) == version:
            return
        time.sleep(0.02)
    raise AssertionError(f"version {version} was not served")


def test_a_switch_in_the_folder_is_noticed(client: TestClient, repository: Repository) -> None:
    assert served(client) == "1"
    repository.promote("m", 2)
    until(client, "2")
    repository.rollback("m")
    until(client, "1")


def test_what_is_served_already_is_not_read_again(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Models(tmp_path / "models")
    read: list[str] = []
    resolve = Repository.resolve
    monkeypatch.setattr(Repository, "resolve", lambda self, *asked: read.append("") or resolve(self, *asked))
    assert (models.reload(), read) == ([], [])
    repository.promote("m", 2)
    read.clear()
    assert (models.reload(), len(read)) == (["m"], 1)


def test_promote_and_roll_back_over_http(client: TestClient) -> None:
    listed = client.get("/v1/models/m/versions").json()["versions"]
    assert [(each["version"], each["aliases"]) for each in listed] == [(2, []), (1, ["champion"])]
    assert client.post("/v1/models/m:promote", json={"version": "2"}).json() == {"version": 2}
    assert served(client) == "2"
    assert client.post("/v1/models/m:rollback").json() == {"version": 1}
    assert served(client) == "1"
    refused = client.post("/v1/models/m:promote", json={"version": "7"})
    assert (refused.status_code, "7" in refused.json()["error"]) == (400, True)
    assert client.post("/v1/models/m:promote", content=b"{").status_code == 400


def test_switching_needs_a_token_and_a_repository(repository: Repository, tmp_path: Path, made: Path) -> None:
    with TestClient(make_app(Settings(str(tmp_path / "models")))) as open_client:
        assert open_client.post("/v1/models/m:promote", json={"version": "2"}).status_code == 403
    with TestClient(make_app(Settings(str(made), token="s3cret")), headers=TOKEN) as client:
        assert client.post("/v1/models/small:rollback").status_code == 404
        assert client.get("/v1/models/small/versions").json() == {"versions": []}


def test_on_a_full_disk_nothing_is_switched(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    answer = client.post("/v1/models/m:promote", json={"version": "2"})
    assert (answer.status_code, "as they were" in answer.json()["error"]) == (507, True)
    assert served(client) == "1"
    monkeypatch.undo()
    assert client.post("/v1/models/m:promote", json={"version": "2"}).status_code == 200
    until(client, "2")
