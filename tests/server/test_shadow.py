"""The ensemble beside the server: shown a copy of the traffic, never waited for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import potstill
from potstill.errors import UserError
from potstill.server import Settings
from potstill.server.app import make_app

PREDICT = "/v1/models/small:predict"


def opened(made: Path, ensemble: Any) -> TestClient:
    url = f"http://127.0.0.1:{ensemble.server_port}/old/{{model}}"
    return TestClient(make_app(Settings(str(made), shadow_url=url, shadow_share=1.0)))


def told(client: TestClient, n_rows: int) -> dict[str, Any]:
    """What the watch says of the shadow, once it has dealt with so many rows."""
    for _ in range(500):
        shadow: dict[str, Any] = client.get("/v1/models/small/watch").json()["shadow"]
        if shadow["asked"] + shadow["failed"] >= n_rows:
            return shadow
        time.sleep(0.01)
    raise AssertionError(shadow)


def test_agreement_is_told(
    made: Path, small: potstill.Model, rows: list[dict[str, Any]], ensemble: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("POTSTILL_ENSEMBLE_TOKEN", "t0ken")
    with opened(made, ensemble) as client:
        asked = [row | {"more": "than the model sees"} for row in rows]
        assert client.post(PREDICT, json={"instances": asked}).status_code == 200
        assert client.post(PREDICT, json={"instances": asked[:1]}).status_code == 200
        shadow = told(client, len(rows) + 1)
        answers = small.predict(rows + rows[:1]).tolist()
        assert shadow["agreement"] == pytest.approx(answers.count("yes") / len(answers))
        assert ensemble.shown == asked + asked[:1]
        assert (ensemble.paths, ensemble.tokens) == ({"/old/small"}, {"Bearer t0ken"})
        assert 'potstill_shadow_rows_total{model="small",outcome="asked"} 13.0' in client.get("/metrics").text


def test_an_ensemble_that_fails_is_told_of_and_harms_nobody(
    made: Path, small: potstill.Model, rows: list[dict[str, Any]], ensemble: Any
) -> None:
    ensemble.status = 500
    with opened(made, ensemble) as client:
        said = client.post(PREDICT, json={"instances": rows}).json()["predictions"]
        assert [each["label"] for each in said] == small.predict(rows).tolist()
        assert told(client, len(rows))["failed"] == len(rows)


def test_an_address_that_is_none_is_said(made: Path) -> None:
    with pytest.raises(UserError, match="Wanted an address of the ensemble, got 'old:8080'"):
        make_app(Settings(str(made), shadow_url="old:8080"))
