"""The Open Inference Protocol v2 over REST, JSON and binary, by hand and by tritonclient."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import potstill

HEADER = "Inference-Header-Content-Length"


def asked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    kinds = {"age": "FP64", "city": "BYTES", "member": "BOOL", "since": "BYTES"}
    return [
        {"name": name, "shape": [len(rows)], "datatype": kinds[name], "data": values}
        for name, values in columns.items()
    ]


def infer(client: TestClient, body: Any, path: str = "/v2/models/small/infer") -> Any:
    return client.post(path, content=json.dumps(body).encode())  # no Content-Type


def test_metadata_health_and_readiness(client: TestClient, small: potstill.Model) -> None:
    assert client.get("/v2").json()["name"] == "potstill"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    about = client.get("/v2/models/small").json()
    assert [each["name"] for each in about["inputs"]] == list(small.schema.names)
    assert {each["name"]: each["shape"] for each in about["outputs"]} == {
        "label": [-1],
        "probabilities": [-1, 2],
    }
    version = about["versions"][0]
    assert client.get(f"/v2/models/small/versions/{version}/ready").json()["ready"] is True
    index = client.post("/v2/repository/index").json()
    assert [each["name"] for each in index] == ["iris", "small"]


@pytest.mark.parametrize("nested", [False, True])
def test_json_in_json_out(
    client: TestClient, small: potstill.Model, rows: list[dict[str, Any]], nested: bool
) -> None:
    inputs = asked(rows)
    if nested:
        inputs = [
            {**each, "shape": [len(rows), 1], "data": [[value] for value in each["data"]]} for each in inputs
        ]
    told = infer(client, {"id": "seven", "inputs": inputs, "model_name": "ignored"}).json()
    assert (told["id"], told["model_name"]) == ("seven", "small")
    outputs = {each["name"]: each for each in told["outputs"]}
    assert outputs["label"]["data"] == small.predict(rows).tolist()
    answered = np.reshape(outputs["probabilities"]["data"], outputs["probabilities"]["shape"])
    np.testing.assert_allclose(answered, small.predict_proba(rows), atol=1e-6)


def test_binary_in_binary_out(client: TestClient, small: potstill.Model, rows: list[dict[str, Any]]) -> None:
    full = [row for row in rows if None not in row.values()]
    raw = {
        "age": np.array([row["age"] for row in full], "<f8").tobytes(),
        "member": np.array([row["member"] for row in full], np.bool_).tobytes(),
        **{
            name: b"".join(struct.pack("<I", len(row[name])) + row[name].encode() for row in full)
            for name in ("city", "since")
        },
    }
    inputs = [
        {
            "name": each["name"],
            "shape": each["shape"],
            "datatype": each["datatype"],
            "parameters": {"binary_data_size": len(raw[each["name"]])},
        }
        for each in asked(full)
    ]
    wanted = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}]
    head = json.dumps({"inputs": inputs, "outputs": wanted}).encode()
    body = head + b"".join(raw[each["name"]] for each in inputs)
    answer = client.post("/v2/models/small/infer", content=body, headers={HEADER: str(len(head))})
    length = int(answer.headers[HEADER])
    told = json.loads(answer.content[:length])
    assert [each["name"] for each in told["outputs"]] == ["probabilities", "label"]
    assert told["outputs"][1]["data"] == small.predict(full).tolist()
    answered = np.frombuffer(answer.content[length:], "<f4").reshape(len(full), 2)
    np.testing.assert_allclose(answered, small.predict_proba(full), atol=1e-6)
    everything = json.dumps({"inputs": asked(full), "parameters": {"binary_data_output": True}}).encode()
    answer = client.post("/v2/models/small/infer", content=everything)
    sizes = [
        each["parameters"]["binary_data_size"]
        for each in json.loads(answer.content[: int(answer.headers[HEADER])])["outputs"]
    ]
    assert len(answer.content) == int(answer.headers[HEADER]) + sum(sizes)


def test_numbers_side_by_side(client: TestClient, made: Any) -> None:
    model = potstill.load(made / "iris.onnx")
    table = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], np.float32)
    body = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": table.tolist()}]}
    told = infer(client, body, "/v2/models/iris/infer").json()["outputs"]
    columns = dict(zip(model.schema.names, table.T, strict=True))
    assert told[0] == {
        "name": "label",
        "shape": [2],
        "datatype": "INT64",
        "data": model.predict(columns).tolist(),
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": []}, "missing"),
        ({"inputs": 3}, "inputs"),
        ({}, "inputs"),
        ({"age": {"datatype": "FP33"}}, "FP33"),
        ({"age": {"shape": [2]}}, "values"),
        ({"age": {"shape": []}}, "shape"),
        ({"age": {"shape": [-1]}}, "shape"),
        ({"age": {"shape": [1, 1, 1]}}, "shape"),
        ({"age": {"data": [[[1]]]}}, "nested"),
        ({"age": {"data": ["x"]}}, "age"),
        ({"age": {"data": None}}, "list of data"),
        ({"age": {"name": "edge"}}, "age"),
        ({"age": {"name": "city"}}, "twice"),
        ({"age": {"shape": [2], "data": [1, 2]}}, "rows"),
        ({"age": {"shape": [10**30]}}, "values"),
        ({"age": {"parameters": {"binary_data_size": 9}}}, "bytes"),
        ({"age": {"parameters": {"binary_data_size": -1}}}, "bytes"),
        ({"age": {"parameters": {"binary_data_size": "4"}}}, "bytes"),
        ({"outputs": [{"name": "wealth"}]}, "wealth"),
    ],
)
def test_what_is_wrong_is_said(
    client: TestClient, rows: list[dict[str, Any]], change: dict[str, Any], said: str
) -> None:
    inputs = asked(rows[:1])
    inputs[0] |= change.get("age", {})
    body: dict[str, Any] = {"inputs": inputs, **{k: v for k, v in change.items() if k != "age"}}
    answer = infer(client, body if change else {})
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize("length", ["99999", "-1", "x", "3"])
def test_a_wrong_header_length_is_refused(
    client: TestClient, rows: list[dict[str, Any]], length: str
) -> None:
    body = json.dumps({"inputs": asked(rows[:1])}).encode()
    assert client.post("/v2/models/small/infer", content=body, headers={HEADER: length}).status_code == 400


@pytest.mark.parametrize("raw", [b"\x05\x00\x00\x00abc", b"\x01", b"\x01\x00\x00\x00\xff", b""])
def test_broken_text_is_refused(client: TestClient, rows: list[dict[str, Any]], raw: bytes) -> None:
    inputs = asked(rows[:1])
    city = next(each for each in inputs if each["name"] == "city")
    del city["data"]
    city["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": inputs}).encode()
    answer = client.post("/v2/models/small/infer", content=head + raw, headers={HEADER: str(len(head))})
    assert (answer.status_code, "city" in answer.json()["error"]) == (400, True)


def test_nan_is_missing_for_clients_that_write_it(
    client: TestClient, small: potstill.Model, rows: list[dict[str, Any]]
) -> None:
    row = rows[0] | {"age": None}
    text = json.dumps({"inputs": asked([row])})
    assert text.count("null") == 1
    said = client.post("/v2/models/small/infer", content=text.replace("null", "NaN").encode())
    assert said.status_code == 200, said.text
    assert said.json()["outputs"][1]["data"] == small.predict_proba([row])[0].tolist()


@pytest.mark.parametrize("body", [b'{"inputs": [NaN}', b'{"inputs": NaN}', b"NaN", b"[" * 100_000 + b"NaN"])
def test_nan_excuses_nothing_else(client: TestClient, body: bytes) -> None:
    said = client.post("/v2/models/small/infer", content=body)
    assert said.status_code == 400
    assert said.json()["error"].startswith("The request is not what the protocol asks for")


def test_one_row_says_what_many_say(
    client: TestClient, small: potstill.Model, rows: list[dict[str, Any]]
) -> None:
    for row in rows:
        for nested in (False, True):
            inputs = asked([row])
            if nested:
                inputs = [{**each, "shape": [1, 1], "data": [each["data"]]} for each in inputs]
            outputs = infer(client, {"inputs": inputs}).json()["outputs"]
            assert outputs[0]["data"] == small.predict([row]).tolist()
            assert outputs[1]["shape"] == [1, 2]
            assert outputs[1]["data"] == small.predict_proba([row])[0].tolist()
