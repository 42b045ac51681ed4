"""potstill export: what it writes, what it says of it, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest


def test_a_c_file_and_what_it_takes(run: Any, classifier: Any, tmp_path: Path) -> None:
    out = tmp_path / "toy model.c"
    done = run("export", classifier.path, "--c", out)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{out}: tables of ")
    assert "void toy_model_predict(const toy_model_row *row, float *output);" in out.read_text()
    told = json.loads(run("export", classifier.path, "--c", out, "--json").out)
    assert set(told) == {"c"}
    assert told["c"]["file"] == str(out)
    assert told["c"]["flash_bytes"] > 100
    assert 50 < told["c"]["ram_bytes"] < 2000


def test_a_page_says_what_it_still_needs(
    run: Any, classifier: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("export", classifier.path, "--web", "site")
    assert (done.code, done.err) == (0, "")
    assert "python -m http.server --directory site" in done.out
    assert "npm install onnxruntime-web@" in done.out
    assert json.loads(run("export", classifier.path, "--web", "site", "--json").out)["web"]["needs"] == [
        *("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
    ]
    installed = tmp_path / "node_modules" / "onnxruntime-web" / "dist"
    installed.mkdir(parents=True)
    for name in ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (installed / name).touch()
    assert "npm" not in run("export", classifier.path, "--web", "site").out
    assert len(list((tmp_path / "site").iterdir())) == 4


def test_nothing_asked_for(run: Any, classifier: Any) -> None:
    done = run("export", classifier.path)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: Nothing was asked for.\n\nhint: Say --c FILE, --web FOLDER, --hub FOLDER or "
        "--with-tokenizer FILE.\n"
    )


@pytest.mark.parametrize("option", ["--c", "--web", "--hub", "--with-tokenizer"])
def test_a_changed_artifact_is_not_exported(run: Any, classifier: Any, tmp_path: Path, option: str) -> None:
    model = onnx.load(classifier.path)
    model.graph.doc_string = "changed"
    changed = tmp_path / "changed.onnx"
    onnx.save(model, changed)
    done = run("export", changed, option, tmp_path / "out")
    assert (done.code, done.out, (tmp_path / "out").exists()) == (2, "", False)
    assert "changed" in done.err


def test_no_folder_for_the_c_file_and_a_file_for_the_page(run: Any, classifier: Any, tmp_path: Path) -> None:
    done = run("export", classifier.path, "--c", tmp_path / "absent" / "model.c")
    assert (done.code, done.out) == (2, "")
    (tmp_path / "taken").touch()
    done = run("export", classifier.path, "--web", tmp_path / "taken")
    assert (done.code, done.out) == (2, "")
    assert "taken' is a file" in done.err


def test_a_table_has_no_tokenizer(run: Any, classifier: Any, tmp_path: Path) -> None:
    done = run("export", classifier.path, "--with-tokenizer", tmp_path / "raw.onnx")
    assert (done.code, done.out, (tmp_path / "raw.onnx").exists()) == (2, "", False)
    assert "there is no tokenizer" in done.err
