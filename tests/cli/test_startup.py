"""The runtime half runs where the training half is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TRAINING = (
    *("torch", "onnx", "sklearn", "scipy", "lightgbm", "xgboost", "catboost", "narwhals", "pandas", "polars"),
    *("pyarrow", "matplotlib", "jinja2", "httpx", "platformdirs", "threadpoolctl", "skops", "safetensors"),
)
BLOCKED = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TRAINING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def potstill_without_training(*arguments: object) -> subprocess.CompletedProcess[str]:
    return python(BLOCKED + "from potstill.cli import main; main()", *arguments)


def test_importing_potstill_imports_nothing_heavy() -> None:
    code = "import sys, potstill, potstill.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(python(code).stdout.split())
    assert loaded & set(TRAINING) == set()


@pytest.mark.parametrize("command", ["", "demo", "distill", "collect", "predict", "evaluate", "parts"])
def test_help_needs_no_training_half(command: str) -> None:
    done = potstill_without_training(*command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Examples:" in done.stdout


def test_predict_inspect_verify_and_evaluate_need_no_training_half(classifier: Any, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    done = potstill_without_training("predict", classifier.path, classifier.rows, "--out", out)
    assert (done.returncode, len(out.read_text().splitlines())) == (0, 241), done.stderr
    for command in ("inspect", "verify"):
        for option in ([], ["--json"]):
            done = potstill_without_training(command, classifier.path, *option)
            assert (done.returncode, done.stderr) == (0, "")
    for arguments in (("push", classifier.path, tmp_path / "m"), ("ls", tmp_path / "m")):
        done = potstill_without_training(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
    done = potstill_without_training("compare", classifier.path, classifier.path, "--test", classifier.rows)
    assert done.returncode == 0, done.stderr
    done = potstill_without_training("evaluate", classifier.path, classifier.rows, "--json")
    assert done.returncode == 0, done.stderr


def test_what_needs_the_training_half_says_so(classifier: Any, tmp_path: Path) -> None:
    done = potstill_without_training("distill", classifier.rows, "-t", "paid", "--out", tmp_path / "m.onnx")
    assert done.returncode == 2
    assert (
        "which is not installed: it belongs to the training half.\n\nhint: pip install 'potstill[train]'\n"
        in done.stderr
    )
    parquet = tmp_path / "rows.parquet"
    parquet.write_bytes(b"PAR1")
    done = potstill_without_training("predict", classifier.path, parquet)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: Reading {parquet} needs pyarrow, which is not installed.\n\n"
        "hint: pip install pyarrow, or give CSV or JSON Lines.\n",
    )
