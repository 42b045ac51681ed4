"""One row over REST on loopback: `potstill serve` beside other servers of the same artifact, in the same run.

    python benchmarks/serving/servers.py MODEL.onnx [--fastapi PYTHON] [--mlserver COMMAND]

One client asks each server in turn, so what else the machine does falls on all of them; then 16 clients
ask one server after the other, several rounds. Every answer is held against the first to the same row.
FastAPI and MLServer have environments of their own, with numpy, onnxruntime, msgspec, uvloop and httptools
beside them: name the interpreter of the one and the command of the other.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from load import OneClient, Questions, ServerFailed, in_turn, many_at_once
from pages import BARE, BY_HAND, OURS, OUT, save, servers_table

import potstill

HERE = Path(__file__).parent
SOURCE = Path(potstill.__file__).parent.parent
DATATYPES = {"numeric": "FP32", "boolean": "BOOL", "categorical": "BYTES", "date": "BYTES"}
START_S = 60.0


class Figures(msgspec.Struct, frozen=True):
    """What one server takes for one row, and how many rows it answers."""

    name: str
    p50_us: float
    p99_us: float
    per_second_at_16: float
    wrong_answers: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--fastapi", metavar="PYTHON", help="an interpreter that has FastAPI")
    parser.add_argument("--mlserver", metavar="COMMAND", help="MLServer's own, as venv/bin/mlserver")
    parser.add_argument("--calls", type=int, default=3000, help="of one client, each server (default 3000)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of 16 clients, a round (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="of 16 clients (default 3)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help="of the results")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        servers = start_all(asked, stack)
        figures = measure(servers, asked)
    save("servers", figures, asked.out)
    print(servers_table(msgspec.to_builtins(figures)))


def start_all(asked: argparse.Namespace, stack: contextlib.ExitStack) -> dict[str, Questions]:
    """Start every server and make the requests it is asked."""
    model = potstill.load(asked.model)
    rows = model.probe_rows
    plain = [json.dumps({"instances": [row]}).encode() for row in rows]
    tensors = [json.dumps(as_tensors(model, row)).encode() for row in rows]
    path, name = str(asked.model), asked.model.stem

    def peer(python: str, kind: str, path_asked: str) -> Questions:
        port = free_port()
        stack.enter_context(running([python, str(HERE / "peers.py"), kind, path, str(port)]))
        return Questions(port, path_asked, plain)

    servers = {
        BARE: peer(sys.executable, "bare", "/"),
        BY_HAND: peer(sys.executable, "by-hand", "/"),
    }
    port = free_port()
    stack.enter_context(running([sys.executable, "-m", "potstill.cli", "serve", path, "--port", str(port)]))
    servers[OURS] = Questions(port, f"/v1/models/{name}:predict", plain)
    servers["potstill, protocol v2"] = Questions(port, f"/v2/models/{name}/infer", tensors)
    if asked.fastapi:
        servers["FastAPI"] = peer(asked.fastapi, "fastapi", "/predict")
    if asked.mlserver:
        port = free_port()
        stack.enter_context(mlserver(asked.mlserver, path, name, port))
        servers["MLServer"] = Questions(port, f"/v2/models/{name}/infer", tensors)
    for questions in servers.values():
        wait_for(questions)
    return servers


def as_tensors(model: potstill.Model, row: dict[str, Any]) -> dict[str, Any]:
    """One row as a request of the Open Inference Protocol; the id keeps answers comparable."""
    inputs = [
        {"name": column.name, "shape": [1], "datatype": DATATYPES[column.kind], "data": [row[column.name]]}
        for column in model.schema.columns
        if row[column.name] is not None
    ]
    missing = [
        {"name": column.name, "shape": [1], "datatype": DATATYPES[column.kind], "data": [""]}
        if column.kind in ("categorical", "date")
        else {"name": column.name, "shape": [1], "datatype": "FP32", "data": [None]}
        for column in model.schema.columns
        if row[column.name] is None
    ]
    return {"id": "1", "inputs": inputs + missing}


def measure(servers: dict[str, Questions], asked: argparse.Namespace) -> list[Figures]:
    times = dict(zip(servers, in_turn(list(servers.values()), calls=asked.calls), strict=True))
    rates: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(asked.rounds):
        for name, questions in servers.items():
            rates[name].append(many_at_once(questions, n_clients=16, seconds=asked.seconds))
    return [
        Figures(
            name=name,
            p50_us=statistics.median(times[name]),
            p99_us=statistics.quantiles(times[name], n=100)[98],
            per_second_at_16=statistics.median(rates[name]),
            wrong_answers=questions.n_wrong,
        )
        for name, questions in servers.items()
    ]


@contextlib.contextmanager
def running(command: list[str], **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is told to stop in the end."""
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, **settings)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def mlserver(command: str, path: str, name: str, port: int) -> Iterator[None]:
    """MLServer as it comes, except that it infers in the process that listens, which is its fastest."""
    with tempfile.TemporaryDirectory() as folder:
        listening = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
        server = {**listening, "parallel_workers": 0, "debug": False}
        model = {
            "name": name,
            "implementation": "mlserver_runtime.Artifact",
            "parameters": {"uri": str(Path(path).resolve())},
        }
        Path(folder, "settings.json").write_text(json.dumps(server))
        Path(folder, "model-settings.json").write_text(json.dumps(model))
        with running([command, "start", folder], stderr=subprocess.DEVNULL):
            yield


def wait_for(questions: Questions) -> None:
    """Wait until the server answers.

    Raises
    ------
    SystemExit
        When it does not, in a minute.
    """
    deadline = time.monotonic() + START_S
    while True:
        try:
            OneClient(questions).ask()
        except (OSError, ServerFailed) as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"No server answers at {questions.path}: {error}") from None
            time.sleep(0.2)
        else:
            break
    if questions.n_wrong:
        raise SystemExit(f"{questions.path} answers {questions.answers}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
