"""The page: what is in it, and what a browser makes of it where one and onnxruntime-web are there."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import msgspec
import pytest

from potstill.artifact import load
from potstill.errors import ArtifactError
from potstill.export.web import RUNTIME_FILES, page

GOLDEN = (Path(__file__).parents[1] / "artifact" / "golden" / "small_v1.onnx").read_bytes()
RUNTIME = Path(os.environ.get("POTSTILL_ORT_WEB", "none"))
"""``dist/`` of the npm package onnxruntime-web."""
needs_browser = pytest.mark.skipif(
    not (RUNTIME / RUNTIME_FILES[0]).is_file() or shutil.which("chromium") is None,
    reason="set POTSTILL_ORT_WEB to dist/ of onnxruntime-web, and install chromium",
)


def test_the_page_holds_the_model_and_is_whole_in_itself() -> None:
    text = page(GOLDEN)
    facts = re.search(r'<script type="application/json" id="facts">(.*?)</script>', text, flags=re.DOTALL)
    assert facts is not None
    found = msgspec.json.decode(facts.group(1))
    assert [each["name"] for each in found["columns"]] == list(load(GOLDEN).schema.names)
    assert found["classes"] == ["<=50K", ">50K"]
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["ort.wasm.min.js"]
    assert "{{" not in text


def test_what_is_no_artifact_makes_no_page() -> None:
    with pytest.raises(ArtifactError):
        page(GOLDEN[:-1])


@needs_browser
def test_a_browser_answers_as_the_artifact_does(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(page(GOLDEN), encoding="utf-8")
    for name in RUNTIME_FILES:
        shutil.copy(RUNTIME / name, tmp_path / name)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = subprocess.run(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--virtual-time-budget=20000",
                f"--user-data-dir={tmp_path}/profile",
                "--dump-dom",
                f"http://127.0.0.1:{server.server_port}/",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        server.shutdown()
    assert 'data-same="true"' in shown, re.findall(r'id="status".*', shown)
    model = load(GOLDEN)
    wanted = model.predict_one(model.probe_rows[0])["probabilities"]["<=50K"]
    cells = re.findall(r"<td>([0-9.e-]+)</td>", shown)
    assert float(cells[0]) == pytest.approx(wanted, rel=1e-3)
