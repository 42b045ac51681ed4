"""A folder of two real artifacts, mixed columns and numbers alone, and a server over it in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from starlette.testclient import TestClient

import potstill
from potstill.server import Settings
from potstill.server.app import make_app


def table(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    age, city = rng.normal(40, 10, n), rng.choice(["Rome", "Oslo", "Lima"], n)
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(n) < 0.05, np.nan, age),
            "city": np.where(rng.random(n) < 0.05, None, city),
            "member": rng.random(n) < 0.4,
            "since": pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, n), unit="D"),
        }
    )
    frame["paid"] = np.where(age + 5 * (city == "Rome") + rng.normal(0, 3, n) > 42, "yes", "no")
    return frame


def distilled(frame: pd.DataFrame, target: str, path: Path) -> None:
    numbers = [name for name in frame.columns if frame[name].dtype == np.float64]
    texts = [name for name in frame.columns if name == "city"]
    encoded = make_column_transformer(
        (SimpleImputer(), numbers), (OneHotEncoder(handle_unknown="ignore"), texts)
    )
    potstill.distill(
        frame,
        target=target,
        teachers=[make_pipeline(encoded, RandomForestClassifier(20, random_state=0))],
        student=potstill.students.GBDT(rounds=15, leaves=6),
        recipe=potstill.Recipe(synthetic=0, cache=False, folds=2),
    ).save(path)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``small.onnx`` (mixed columns) and ``iris.onnx`` (numbers, classes 0 to 2)."""
    folder = tmp_path_factory.mktemp("models")
    distilled(table(), "paid", folder / "small.onnx")
    iris = load_iris(as_frame=True).frame
    distilled(iris.rename(columns={"target": "kind"}), "kind", folder / "iris.onnx")
    return folder


@pytest.fixture(scope="session")
def small(made: Path) -> potstill.Model:
    return potstill.load(made / "small.onnx")


@pytest.fixture
def client(made: Path) -> Iterator[TestClient]:
    with TestClient(make_app(Settings(str(made)))) as opened:
        yield opened


@pytest.fixture
def limited(made: Path) -> Iterator[Callable[..., TestClient]]:
    """Makes a client of a server with other settings."""
    opened = []

    def make(**settings: object) -> TestClient:
        opened.append(TestClient(make_app(Settings(str(made), **settings)), raise_server_exceptions=False))
        opened[-1].__enter__()
        return opened[-1]

    yield make
    for each in opened:
        each.__exit__(None, None, None)


@pytest.fixture(scope="session")
def rows() -> list[dict[str, object]]:
    frame = table()[["age", "city", "member", "since"]].head(12)
    told = frame.assign(since=frame["since"].dt.strftime("%Y-%m-%d")).to_dict("records")
    return [{k: None if v is None or v != v else v for k, v in row.items()} for row in told]


class Ensemble(ThreadingHTTPServer):
    """Says yes to everybody, where it is well."""

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.paths: set[str] = set()
        self.tokens: set[str | None] = set()
        self.status = 200
        super().__init__(("127.0.0.1", 0), Answers)


class Answers(BaseHTTPRequestHandler):
    server: Ensemble

    def do_POST(self) -> None:
        rows = json.loads(self.rfile.read(int(self.headers["content-length"])))["instances"]
        self.server.shown.extend(rows)
        self.server.paths.add(self.path)
        self.server.tokens.add(self.headers["authorization"])
        body = json.dumps({"predictions": [{"no": 0.1, "yes": 0.9} for _ in rows]}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(name="ensemble")
def _ensemble() -> Iterator[Ensemble]:
    with Ensemble() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
