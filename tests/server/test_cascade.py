"""The ensemble behind the server: it answers what the model is not sure of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import potstill
from potstill.errors import UserError
from potstill.server import Settings
from potstill.server.app import make_app

PREDICT = "/v1/models/small:predict"
THRESHOLD = 0.8


def opened(made: Path, ensemble: Any) -> TestClient:
    url = f"http://127.0.0.1:{ensemble.server_port}/old/{{model}}"
    return TestClient(make_app(Settings(str(made), cascade_url=url, cascade_threshold=THRESHOLD)))


def sure(small: potstill.Model, rows: list[dict[str, Any]]) -> list[bool]:
    found: list[bool] = (small.predict_proba(rows).max(axis=1) >= THRESHOLD).tolist()
    assert 0 < sum(found) < len(found)
    return found


def test_the_ensemble_answers_where_the_model_is_not_sure(
    made: Path, small: potstill.Model, rows: list[dict[str, Any]], ensemble: Any
) -> None:
    alone, is_sure = small.predict_proba(rows), sure(small, rows)
    with opened(made, ensemble) as client:
        asked = [row | {"more": "than the model sees"} for row in rows]
        said = client.post(PREDICT, json={"instances": asked}).json()["predictions"]
        assert [each["answered_by"] == "student" for each in said] == is_sure
        for each, expected, kept in zip(said, alone, is_sure, strict=True):
            wanted = expected.tolist() if kept else [0.1, 0.9]
            assert list(each["probabilities"].values()) == pytest.approx(wanted, abs=1e-6)
        assert ensemble.shown == [row for row, kept in zip(asked, is_sure, strict=True) if not kept]
        for row, kept in zip(rows, is_sure, strict=True):  # one at a time goes another way
            one = client.post(PREDICT, json={"instances": [row]}).json()["predictions"][0]
            assert one["answered_by"] == ("student" if kept else "ensemble")
        told = client.get("/metrics").text
        n_sure, n_unsure = 2 * sum(is_sure), 2 * (len(rows) - sum(is_sure))
        assert f'potstill_cascade_rows_total{{by="student",model="small"}} {n_sure}.0' in told
        assert f'potstill_cascade_rows_total{{by="ensemble",model="small"}} {n_unsure}.0' in told


def test_tensors_are_shown_as_rows(
    made: Path, small: potstill.Model, rows: list[dict[str, Any]], ensemble: Any
) -> None:
    full = [row for row in rows if None not in row.values()]
    is_sure = sure(small, full)
    kinds = {"age": "FP64", "city": "BYTES", "member": "BOOL", "since": "BYTES"}
    inputs = [
        {"name": name, "datatype": kind, "shape": [len(full)], "data": [row[name] for row in full]}
        for name, kind in kinds.items()
    ]
    with opened(made, ensemble) as client:
        answer = client.post("/v2/models/small/infer", json={"inputs": inputs}).json()
        outputs = {each["name"]: each["data"] for each in answer["outputs"]}
        said = np.reshape(outputs["probabilities"], (-1, 2))
        for given, alone, kept in zip(said, small.predict_proba(full), is_sure, strict=True):
            np.testing.assert_allclose(given, alone if kept else [0.1, 0.9], atol=1e-6)
        unsure = [row for row, kept in zip(full, is_sure, strict=True) if not kept]
        assert [row["city"] for row in ensemble.shown] == [row["city"] for row in unsure]


def test_where_the_ensemble_fails_the_model_answers(
    made: Path, small: potstill.Model, rows: list[dict[str, Any]], ensemble: Any
) -> None:
    ensemble.status = 503
    with opened(made, ensemble) as client:
        said = client.post(PREDICT, json={"instances": rows}).json()["predictions"]
        assert [each["label"] for each in said] == small.predict(rows).tolist()
        assert {each["answered_by"] for each in said} == {"student"}
        n_unsure = len(rows) - sum(sure(small, rows))
        assert (
            f'potstill_cascade_rows_total{{by="failed",model="small"}} {n_unsure}.0'
            in client.get("/metrics").text
        )


def test_a_threshold_that_is_none_is_said(made: Path) -> None:
    with pytest.raises(UserError, match="between 0 and 1, got 2"):
        make_app(Settings(str(made), cascade_url="http://old.example", cascade_threshold=2.0))
