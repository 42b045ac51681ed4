"""Clients of others, unmodified, that pin what they need and so live in environments of their own.

``POTSTILL_MLSERVER`` names the command ``mlserver`` of one, ``POTSTILL_KSERVE`` the interpreter of another.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import potstill

DATATYPES = {"numeric": "FP32", "boolean": "BOOL", "categorical": "BYTES", "date": "BYTES"}
KSERVE = """
import asyncio, json, sys
from kserve import InferenceRESTClient, RESTConfig
from kserve import InferInput, InferRequest

async def main():
    address, asked = sys.argv[1], json.loads(sys.argv[2])
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_ready(address) and await client.is_model_ready(address, "small")
    inputs = [InferInput(one["name"], one["shape"], one["datatype"], one["data"]) for one in asked]
    answer = await client.infer(address, InferRequest("small", inputs, request_id="7"), model_name="small")
    assert answer.id == "7"
    print(json.dumps({one.name: one.data for one in answer.outputs}))

asyncio.run(main())
"""


@pytest.fixture(name="address", scope="module")
def _address(made: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "potstill.cli", "serve", str(made), "--port", address.split(":")[1]]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://{address}/v2/health/ready", timeout=10).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def tensors(model: potstill.Model, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": column.name,
            "shape": [len(rows)],
            "datatype": DATATYPES[column.kind],
            "data": [row[column.name] for row in rows],
        }
        for column in model.schema.columns
    ]


def whole(rows: list[dict[str, Any]], *, but: str = "") -> list[dict[str, Any]]:
    """Rows in which nothing is missing except in the column ``but``."""
    return [row for row in rows if all(value is not None for name, value in row.items() if name != but)]


@pytest.mark.skipif("POTSTILL_MLSERVER" not in os.environ, reason="no mlserver")
@pytest.mark.parametrize("flags", [(), ("-b",), ("-s", "3")])
def test_mlserver_infer(
    address: str, small: potstill.Model, rows: list[dict[str, Any]], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    asked = whole(rows, but="age")
    lines = [json.dumps({"inputs": tensors(small, [row])}) for row in asked]
    (tmp_path / "in").write_text("\n".join(lines) + "\n")
    command = [os.environ["POTSTILL_MLSERVER"], "infer", "-u", address, "-m", "small", *flags]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*command, "-i", tmp_path / "in", "-o", tmp_path / "out"], check=True, env=clean)
    answers = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    answers.sort(key=lambda answer: answer["parameters"]["batch_index"])
    said = [answer["outputs"][1]["data"] for answer in answers]
    assert said == [pytest.approx(row, abs=1e-6) for row in small.predict_proba(asked).tolist()]


@pytest.mark.skipif("POTSTILL_KSERVE" not in os.environ, reason="no kserve")
def test_the_kserve_client(address: str, small: potstill.Model, rows: list[dict[str, Any]]) -> None:
    asked = whole(rows)
    command = [os.environ["POTSTILL_KSERVE"], "-c", KSERVE, f"http://{address}"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*command, json.dumps(tensors(small, asked))], check=True, env=clean, capture_output=True, text=True
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["label"] == small.predict(asked).tolist()
    assert said["probabilities"] == pytest.approx(small.predict_proba(asked).ravel().tolist(), abs=1e-6)
