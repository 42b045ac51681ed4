"""A wheel in an empty environment with the runtime half alone opens an artifact and predicts."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRAINING = ("torch", "sklearn", "onnx", "pandas", "pyarrow", "narwhals", "lightgbm", "jinja2")


def call(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, timeout=600, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    call(*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, cwd=folder)
    (built,) = folder.glob("potstill-*.whl")
    return built


def test_the_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "potstill"
    wanted = {
        f"potstill/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert wanted <= names
    assert not [name for name in names if not name.startswith(("potstill/", "potstill-"))]


def test_the_runtime_half_alone_predicts(wheel: Path, tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path)
    call(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    bin_folder = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    constraints = ROOT / "constraints.txt"
    call(
        *(bin_folder / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("-c", constraints, wheel),
        cwd=tmp_path,
    )
    absent = f"import importlib.util as u; print([n for n in {TRAINING!r} if u.find_spec(n)])"
    assert call(bin_folder / "python", "-c", absent, cwd=tmp_path) == "[]\n"
    (tmp_path / "rows.csv").write_text("x0,x1\n1.0,2.0\n,5\n")
    answer = call(bin_folder / "potstill", "predict", artifact, "rows.csv", "--label", cwd=tmp_path)
    assert answer == "prediction\nno\nyes\n"
    call(bin_folder / "potstill", "verify", artifact, cwd=tmp_path)
    one = (
        f"import potstill; print(potstill.load({str(artifact)!r}).predict_one({{'x0': 0, 'x1': 9}})['label'])"
    )
    assert call(bin_folder / "python", "-c", one, cwd=tmp_path) == "yes\n"


def write_artifact(folder: Path) -> Path:
    """An artifact that says ``yes`` where ``x1`` is above 3."""
    import numpy as np

    from potstill.artifact import Card, Softmax
    from potstill.artifact.seal import seal
    from potstill.graph import GraphBuilder
    from potstill.types import Column, Schema, Task

    graph = GraphBuilder()
    graph.input("x0", 1, ["n"])
    x1 = graph.input("x1", 1, ["n"])
    known = graph.node("Where", graph.node("IsNaN", x1), graph.constant(np.zeros((), dtype=np.float32)), x1)
    column = graph.node("Unsqueeze", known, graph.constant(np.array([1], dtype=np.int64)))
    logits = graph.node("MatMul", column, graph.constant(np.array([[-1.0, 1.0]], dtype=np.float32)))
    logits = graph.node("Add", logits, graph.constant(np.array([3.0, -3.0], dtype=np.float32)))
    graph.output(graph.node("Softmax", logits, axis=1), "probabilities", 1, ["n", 2])
    schema = Schema((Column("x0", "numeric"), Column("x1", "numeric")))
    card = Card("toy", Task("binary", "y", ("no", "yes")), schema, Softmax())
    rows = {"x0": np.zeros(3, dtype=np.float32), "x1": np.array([1.0, 2.0, 9.0], dtype=np.float32)}
    path = folder / "toy.onnx"
    path.write_bytes(seal(graph.model().SerializeToString(), card, rows))
    return path
