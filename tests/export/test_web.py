"""The page: what is in it, and what a browser makes of it where one and onnxruntime-web are there.

For the latter: ``npm install onnxruntime-web`` in this folder or one above, and chromium on the path.
"""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from potstill.artifact import Softmax, load
from potstill.errors import ArtifactError
from potstill.export import artifact_bytes, compose
from potstill.export.web import RUNTIME_FILES, find_runtime, page, write_page

GOLDEN = (Path(__file__).parents[1] / "artifact" / "golden" / "small_v1.onnx").read_bytes()
RUNTIME = find_runtime([Path.cwd(), *Path(__file__).parents])
CHROMIUM = shutil.which("chromium")


@contextmanager
def opened(folder: Path, *, path: str = "index.html") -> Iterator[tuple[Any, list[str], list[str]]]:
    """The page in a browser, what it asked for and what it complained of."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    handler = functools.partial(Quiet, directory=str(folder))
    asked: list[str] = []
    complaints: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with playwright.sync_playwright() as started:
            browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            shown = browser.new_page()
            shown.on("request", lambda request: asked.append(request.url))
            shown.on("console", lambda message: complaints.append(message.text))
            shown.goto(f"http://127.0.0.1:{server.server_port}/{path}")
            yield shown, asked, complaints
            browser.close()
        server.shutdown()


def answer(shown: Any) -> dict[str, float]:
    cells = shown.locator("#answer tr")
    return {each.locator("th").inner_text(): float(each.locator("td").inner_text()) for each in cells.all()}


@pytest.fixture
def data(encoder: Any, make_student: Any, card: Any, real_rows: Any) -> bytes:
    """A number, a category, a flag and a date."""
    return artifact_bytes(compose(encoder, make_student(), Softmax(2.0), task=card.task), card, real_rows)


def test_the_page_holds_the_model_and_is_whole_in_itself() -> None:
    text = page(GOLDEN)
    facts = re.search(r'<script type="application/json" id="facts">(.*?)</script>', text, flags=re.DOTALL)
    assert facts is not None
    found = msgspec.json.decode(facts.group(1))
    assert [each["name"] for each in found["columns"]] == list(load(GOLDEN).schema.names)
    assert found["classes"] == ["<=50K", ">50K"]
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:,", "ort.wasm.min.js"]
    assert "{{" not in text


def test_what_is_no_artifact_makes_no_page(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        write_page(GOLDEN[:-1], tmp_path / "site", runtime=None)
    assert list(tmp_path.iterdir()) == []


def test_the_runtime_is_copied_from_where_npm_has_put_it(tmp_path: Path) -> None:
    installed = tmp_path / "node_modules" / "onnxruntime-web" / "dist"
    installed.mkdir(parents=True)
    for name in RUNTIME_FILES[:2]:
        (installed / name).write_text(name)
    assert find_runtime([tmp_path]) is None
    assert write_page(GOLDEN, tmp_path / "site", runtime=None) == list(RUNTIME_FILES)
    (installed / RUNTIME_FILES[2]).write_text("last")
    assert find_runtime([tmp_path / "site", tmp_path]) == installed
    assert write_page(GOLDEN, tmp_path / "site", runtime=installed) == []
    names = {path.name: path.stat().st_size for path in (tmp_path / "site").iterdir()}
    assert set(names) == {"index.html", *RUNTIME_FILES}
    assert names[RUNTIME_FILES[2]] == 4


def test_a_browser_says_that_the_runtime_is_not_there(tmp_path: Path) -> None:
    write_page(GOLDEN, tmp_path, runtime=None)
    with opened(tmp_path) as (shown, _, _):
        shown.wait_for_selector("#status[data-same]")
        assert shown.inner_text("#status").startswith("onnxruntime-web is not beside this page")


@pytest.mark.skipif(RUNTIME is None, reason="no onnxruntime-web")
def test_a_browser_answers_as_the_artifact_does(data: bytes, tmp_path: Path) -> None:
    write_page(data, tmp_path, runtime=RUNTIME)
    model = load(data)
    with opened(tmp_path) as (shown, asked, complaints):
        shown.wait_for_selector("#status[data-same]")
        assert shown.get_attribute("#status", "data-same") == "true", shown.inner_text("#status")

        assert shown.evaluate("[37.880001068115234, 1e-40, 16777216].map(shortest)") == [
            *("37.88", "9.99995e-41", "16777216")
        ]

        def fill(**values: str) -> None:
            for name, text in values.items():
                shown.get_by_label(name, exact=True).fill(text)
            shown.evaluate("() => last")

        fill(value="1.5", label="é", flag="true", day="1998-01-05T06:00")
        row = {"value": 1.5, "label": "é", "flag": True, "day": "1998-01-05T06:00"}
        for text, value in {"": None, "c": "c", "never seen": "never seen"}.items():
            for number, given in {"": None, "-3": -3.0, "1e9": 1e9}.items():
                fill(label=text, value=number)
                wanted = model.predict_one({**row, "label": value, "value": given})["probabilities"]
                assert answer(shown) == pytest.approx(wanted, rel=2e-5, abs=1e-7)
        assert shown.inner_text("#word0") == "The model has learned from -5 to 25."
        assert shown.inner_text("#word1") == "Not among the values the model has learned."
        assert asked == [url for url in asked if url.startswith("http://127.0.0.1:")]
        assert complaints == []


@pytest.mark.skipif(RUNTIME is None, reason="no onnxruntime-web")
def test_a_browser_does_not_take_what_it_cannot_read_for_missing(data: bytes, tmp_path: Path) -> None:
    write_page(data, tmp_path, runtime=RUNTIME)
    with opened(tmp_path) as (shown, _, _):
        shown.wait_for_selector("#status[data-same=true]")
        for name, wrong, right in (
            ("day", "31.5.98", "1998-05-31"),
            ("day", "May 5 1998", ""),
            ("flag", "perhaps", ""),
        ):
            field = shown.get_by_label(name, exact=True)
            field.fill(wrong)
            shown.evaluate("() => last")
            assert (field.get_attribute("aria-invalid"), answer(shown)) == ("true", {})
            field.fill(right)
            shown.evaluate("() => last")
            assert (field.get_attribute("aria-invalid"), len(answer(shown))) == ("false", 3)
