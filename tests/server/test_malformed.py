"""Requests of every wrong kind: a status of 400 to 499 and a sentence, or an answer that is right."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import potstill
from potstill.server.tensors import DTYPES

HEADER = "Inference-Header-Content-Length"
EXAMPLES = int(os.environ.get("POTSTILL_MALFORMED", "150"))
some = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.sampled_from(
        ["Rome", "2024-05-31", "", "NaN", "0001-01-01", "9999-12-31T23:59:59+00:00", 2**64, -(2**63)]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
names = st.sampled_from(["age", "city", "member", "since"]) | st.text(max_size=5)
rows = st.dictionaries(names, values, max_size=6) | st.fixed_dictionaries(
    {"age": values, "city": values, "member": scalars, "since": scalars}
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": names | values,
        "datatype": st.sampled_from([*DTYPES, "BYTES"]) | values,
        "shape": st.lists(st.integers(-2, 3) | st.integers(), max_size=3) | values,
        "data": values,
        "parameters": values | st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40) | values}),
    },
)
inference = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=5) | values},
    optional={"id": values, "parameters": values, "outputs": values},
)


def check(answer: Any) -> Any:
    """The body of an answer, which is JSON to the letter; an error says what is wrong."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
    head = int(answer.headers.get(HEADER, len(answer.content)))
    said = json.loads(answer.content[:head], parse_constant=refuse)
    if answer.status_code != 200:
        assert said["error"].strip()
        assert "Traceback" not in said["error"]
    return said


@some
@given(
    body=st.binary(max_size=200), path=st.sampled_from(["v1/models/small:predict", "v2/models/small/infer"])
)
def test_any_bytes(client: TestClient, body: bytes, path: str) -> None:
    check(client.post(f"/{path}", content=body))


@some
@given(instances=st.lists(rows, max_size=3) | values)
def test_any_rows(client: TestClient, small: potstill.Model, instances: Any) -> None:
    said = check(client.post("/v1/models/small:predict", json={"instances": instances}))
    if "predictions" in said:
        assert said["predictions"] == [small.predict_one(row) for row in instances]


@some
@given(body=inference, behind=st.binary(max_size=40), length=st.none() | st.integers(-1, 400))
def test_any_tensors(client: TestClient, body: Any, behind: bytes, length: int | None) -> None:
    text = json.dumps(body).encode()
    headers = {} if length is None else {HEADER: str(length)}
    check(client.post("/v2/models/small/infer", content=text + behind, headers=headers))
    check(client.post("/v2/models/small/infer", content=text + behind, headers={HEADER: str(len(text))}))


@some
@given(data=st.data())
def test_a_binary_request_with_one_thing_exchanged(client: TestClient, data: st.DataObject) -> None:
    inputs = [
        ("age", "FP32", struct.pack("<f", 41)),
        ("city", "BYTES", b"\4\0\0\0Rome"),
        ("member", "BOOL", b"\1"),
        ("since", "BYTES", b"\x0a\0\0\x002024-05-31"),
    ]
    told: list[dict[str, Any]] = [
        {"name": name, "datatype": kind, "shape": [1], "parameters": {"binary_data_size": len(raw)}}
        for name, kind, raw in inputs
    ]
    behind = bytearray(b"".join(raw for _, _, raw in inputs))
    tensor = data.draw(st.sampled_from(told))
    key = data.draw(st.sampled_from([*tensor, "bytes"]))
    if key == "bytes":
        behind[data.draw(st.integers(0, len(behind) - 1))] = data.draw(st.integers(0, 255))
    else:
        tensor[key] = data.draw(values | st.sampled_from([*DTYPES, [2**62, 2**62], [0], [1, 1]]))
    text = json.dumps({"inputs": told}).encode()
    headers = {HEADER: str(len(text))}
    check(client.post("/v2/models/small/infer", content=text + bytes(behind), headers=headers))


@pytest.mark.parametrize("count", ["", "x", "-1", "1e3", "١", "9" * 40])
def test_a_length_that_is_none(client: TestClient, count: str) -> None:
    headers = {HEADER.encode(): count.encode()}
    check(client.post("/v2/models/small/infer", content=b"{}", headers=headers))
