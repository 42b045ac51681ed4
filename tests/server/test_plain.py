"""Rows as JSON objects: the answers of the model itself, and a clear sentence for what is wrong."""

from __future__ import annotations

import math

import pytest
from starlette.testclient import TestClient

import potstill


def test_answers_are_those_of_the_model(client: TestClient, small: potstill.Model, rows: list) -> None:
    answer = client.post("/v1/models/small:predict", json={"instances": rows}).json()
    assert answer["model_name"] == "small"
    assert answer["model_version"] == small.card.content_hash[:12]
    for row, told in zip(rows, answer["predictions"], strict=True):
        expected = small.predict_one(row)
        assert told["label"] == expected["label"]
        assert told["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)


def test_one_row_and_no_row(client: TestClient, small: potstill.Model, rows: list) -> None:
    one = client.post("/v1/models/small:predict", json={"instances": rows[:1], "ignored": 1}).json()
    assert one["predictions"][0]["label"] == small.predict_one(rows[0])["label"]
    none = client.post("/v1/models/small:predict", json={"instances": []})
    assert (none.status_code, none.json()["predictions"]) == (200, [])


def test_whole_numbers_as_labels_stay_numbers(client: TestClient) -> None:
    row = dict.fromkeys(potstill_columns(client, "iris"), 1.0)
    told = client.post("/v1/models/iris:predict", json={"instances": [row]}).json()["predictions"][0]
    assert told["label"] in (0, 1, 2)
    assert set(told["probabilities"]) == {"0", "1", "2"}


def potstill_columns(client: TestClient, name: str) -> list[str]:
    return [each["name"] for each in client.get(f"/v2/models/{name}").json()["inputs"]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "instances"),
        (b"[]", "instances"),
        (b"{", "instances"),
        (b'{"instances": 3}', "instances"),
        (b'{"instances": [3]}', "instances"),
        (b'{"instances": [{}]}', "age"),
        (b'{"instances": [{}, {}]}', "age"),
        (b'{"instances": [{"age": "old", "city": "", "member": true, "since": null}]}', "age"),
        (b'{"instances": [{"age": NaN, "city": "", "member": true, "since": null}]}', "instances"),
        (b'{"instances": [{"age": 1, "city": ["a"], "member": true, "since": null}]}', "city"),
        (b'{"instances": [{"age": 1, "city": "a", "member": 7, "since": null}]}', "member"),
        (b'{"instances": [{"age": 1, "city": "a", "member": true, "since": "soon"}]}', "since"),
        (b"\xff\xfe", "instances"),
        (b'{"instances": [{"city": "\\ud800", "age": 1, "member": true, "since": null}]}', ""),
        (b"[" * 100_000, "instances"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, body: bytes, said: str) -> None:
    answer = client.post("/v1/models/small:predict", content=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert "Traceback" not in answer.text


def test_no_answer_holds_nan(client: TestClient) -> None:
    row = {"age": 1e308, "city": "Nowhere", "member": None, "since": None}
    told = client.post("/v1/models/small:predict", json={"instances": [row]}).json()["predictions"][0]
    assert all(math.isfinite(share) for share in told["probabilities"].values())


def test_unknown_models_pages_and_methods(client: TestClient) -> None:
    for path in ("/v1/models/other:predict", "/v2/models/other/infer", "/v2/models/small/versions/9/infer"):
        answer = client.post(path, json={"instances": [], "inputs": []})
        assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert client.get("/nowhere").json() == {"error": "There is no such page here."}
    assert client.get("/v2/models/small/infer").status_code == 405
