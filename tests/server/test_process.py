"""The server as a process of its own: signals, slow clients, workers, and clients of others unmodified."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import potstill

DEADLINE_S = 30


@dataclass
class Running:
    """A server process."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def get(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://{self.address}{path}", data, timeout=10) as answer:
            return json.loads(answer.read())

    def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            try:
                if holds():
                    return
            except OSError:
                pass
            assert self.process.poll() is None, "the server has ended"
            time.sleep(0.05)
        raise AssertionError("it did not come to hold")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running = []

    def begin(source: Path, *flags: str) -> Running:
        port = free_port()
        command = [sys.executable, "-m", "potstill.cli", "serve", str(source), "--port", str(port), *flags]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        running.append(Running(process, port))
        running[-1].until(lambda: running[-1].get("/v2/health/ready") == {"ready": True})
        return running[-1]

    yield begin
    for each in running:
        each.process.kill()
        each.process.wait()


def test_sighup_reloads_and_sigterm_ends(start: Callable[..., Running], made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "small.onnx", tmp_path / "m.onnx")
    server = start(tmp_path)
    before = server.get("/v2/models/m")["versions"]
    shutil.copy(made / "iris.onnx", tmp_path / "other.onnx")
    (tmp_path / "other.onnx").replace(tmp_path / "m.onnx")
    server.process.send_signal(signal.SIGHUP)
    server.until(lambda: server.get("/v2/models/m")["versions"] != before)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=DEADLINE_S) in (0, -signal.SIGTERM)


def test_headers_that_do_not_come_close_the_connection(start: Callable[..., Running], made: Path) -> None:
    server = start(made, "--header-timeout", "0.3")
    for sent in (b"", b"GET /v2 HTTP/1.1\r\nHost: x\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(sent)
            assert client.recv(100) == b""
    assert server.get("/v2")["name"] == "potstill"


def test_a_body_that_does_not_come_is_refused(start: Callable[..., Running], made: Path) -> None:
    server = start(made, "--request-timeout", "0.3")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"POST /v1/models/small:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert b" 408 " in client.recv(1000)


def test_a_worker_that_dies_is_replaced(start: Callable[..., Running], made: Path) -> None:
    server = start(made, "--workers", "2")
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    if not children.exists():
        pytest.skip("this system does not tell the children of a process")

    def workers() -> set[int]:
        return {
            int(child)
            for child in children.read_text().split()
            if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()
        }

    server.until(lambda: len(workers()) == 2)
    killed = min(workers())
    os.kill(killed, signal.SIGKILL)
    server.until(lambda: len(workers() - {killed}) == 2 and server.get("/v2")["name"] == "potstill")
    left = workers()
    server.process.kill()
    server.process.wait()
    end = time.monotonic() + DEADLINE_S
    while any(Path(f"/proc/{worker}/cmdline").exists() for worker in left):
        assert time.monotonic() < end, "workers outlive the process that began them"
        time.sleep(0.05)


def test_what_all_workers_have_seen_is_told_by_each(
    start: Callable[..., Running], made: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    shutil.copy(made / "small.onnx", tmp_path / "m.onnx")
    server = start(tmp_path, "--workers", "2")

    def metrics() -> str:
        with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    def of_each_worker() -> dict[str, float]:
        lines = [line for line in metrics().splitlines() if line.startswith("potstill_rows_total{")]
        return {line.split('worker="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}

    n_asked = 0
    while len(of_each_worker()) < 2:
        with ThreadPoolExecutor(8) as asking:
            list(asking.map(lambda _: server.get("/v1/models/m:predict", {"instances": rows}), range(40)))
        n_asked += 40
        assert n_asked < 4_000, "one worker alone answers"
    for _ in range(10):  # whoever answers
        assert sum(of_each_worker().values()) == n_asked * len(rows)
        assert server.get("/v1/models/m/watch")["n_rows"] == n_asked * len(rows)
    if promtool := shutil.which("promtool"):
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=metrics().encode(), capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    before = server.get("/v2/models/m")["versions"]
    shutil.copy(made / "iris.onnx", tmp_path / "other")
    (tmp_path / "other").replace(tmp_path / "m.onnx")
    server.get("/v2/repository/models/m/load", {})
    assert all(server.get("/v2/models/m")["versions"] != before for _ in range(20)), "one was not reloaded"


def test_no_request_is_lost_while_the_model_is_exchanged(
    start: Callable[..., Running], made: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    shutil.copy(made / "small.onnx", tmp_path / "m.onnx")
    server = start(tmp_path)
    stop = threading.Event()
    answered: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            told = server.get("/v1/models/m:predict", {"instances": rows})
            answered.append(len(told["predictions"]))

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    for _ in range(5):
        shutil.copy(made / "small.onnx", tmp_path / "next")
        (tmp_path / "next").replace(tmp_path / "m.onnx")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
    stop.set()
    for thread in asking:
        thread.join()
    assert len(answered) > 20
    assert set(answered) == {len(rows)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_over_http(
    start: Callable[..., Running], made: Path, rows: list[dict[str, Any]], binary: bool
) -> None:
    client_of = pytest.importorskip("tritonclient.http")
    server = start(made)
    client = client_of.InferenceServerClient(server.address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    full = [row for row in rows if None not in row.values()]
    inputs = []
    for each in client.get_model_metadata("small")["inputs"]:
        kind = {"FP32": np.float32, "BOOL": np.bool_, "BYTES": object}[each["datatype"]]
        inputs.append(client_of.InferInput(each["name"], [len(full)], each["datatype"]))
        values = np.array([row[each["name"]] for row in full], dtype=kind)
        inputs[-1].set_data_from_numpy(values, binary_data=binary)
    outputs = [client_of.InferRequestedOutput("probabilities", binary_data=binary)]
    answer = client.infer("small", inputs, outputs=outputs, request_id="9")
    assert answer.get_response()["id"] == "9"
    expected = potstill.load(made / "small.onnx").predict_proba(full)
    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_tritonclient_over_grpc(
    start: Callable[..., Running], made: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    client_of = pytest.importorskip("tritonclient.grpc")
    refused = pytest.importorskip("tritonclient.utils").InferenceServerException
    port = free_port()
    (tmp_path / "token").write_text("s3cret\n")
    server = start(made, "--grpc-port", str(port), "--token-file", str(tmp_path / "token"))
    assert server.process.poll() is None
    client = client_of.InferenceServerClient(f"127.0.0.1:{port}")
    assert client.is_server_live()
    with pytest.raises(refused, match="token"):
        client.is_model_ready("small")
    headers = {"authorization": "Bearer s3cret"}
    assert client.is_model_ready("small", headers=headers)
    full = [row for row in rows if None not in row.values()]
    inputs = []
    for each in client.get_model_metadata("small", headers=headers).inputs:
        kind = {"FP32": np.float32, "BOOL": np.bool_, "BYTES": object}[each.datatype]
        inputs.append(client_of.InferInput(each.name, [len(full)], each.datatype))
        inputs[-1].set_data_from_numpy(np.array([row[each.name] for row in full], dtype=kind))
    answer = client.infer("small", inputs, request_id="9", headers=headers)
    assert answer.get_response().id == "9"
    model = potstill.load(made / "small.onnx")
    np.testing.assert_allclose(answer.as_numpy("probabilities"), model.predict_proba(full), atol=1e-6)
    assert [label.decode() for label in answer.as_numpy("label")] == model.predict(full).tolist()
    with pytest.raises(refused, match="missing"):
        client.infer("small", inputs[1:], headers=headers)


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="needs schemathesis")
def test_schemathesis_finds_no_fault(start: Callable[..., Running], made: Path, tmp_path: Path) -> None:
    server = start(made)
    ended = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("run", f"http://{server.address}/openapi.json", "--max-examples", "15", "--no-color"),
            *("--phases", "coverage,fuzzing", "--seed", "1"),
        ],
        cwd=tmp_path,  # it keeps what it found there and asks it again, also of another document
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:]


@pytest.mark.parametrize("flags", [("--certificate", "none.pem"), ("--token-file", "none")])
def test_wrong_flags_are_said(made: Path, flags: tuple[str, str]) -> None:
    command = [sys.executable, "-m", "potstill.cli", "serve", str(made), *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_file_that_is_no_artifact_is_not_said_to_be_served(tmp_path: Path, workers: str) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no artifact")
    command = [sys.executable, "-m", "potstill.cli", "serve", str(tmp_path / "m.onnx"), "--json"]
    ended = subprocess.run(
        [*command, "--port", str(free_port()), "--workers", workers],
        capture_output=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert ended.returncode == 2
    assert ended.stdout == b""
    assert b"m.onnx" in ended.stderr
    assert b"Traceback" not in ended.stderr
