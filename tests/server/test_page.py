"""The page in a browser: chromium on the path, and Playwright."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import potstill
from potstill.server import Settings
from potstill.server.app import make_app
from potstill.versions import Repository

CHROMIUM = shutil.which("chromium")


@pytest.fixture(name="address")
def _address(made: Path, tmp_path: Path) -> Iterator[str]:
    """A server over a repository of two versions, with a token."""
    repository = Repository(tmp_path / "models")
    repository.push(made / "small.onnx", name="small")
    repository.push(made / "iris.onnx", name="small")
    app = make_app(Settings(str(tmp_path / "models"), token="s3cret", poll_s=0))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_a_row_is_tried_and_a_version_promoted_and_rolled_back(
    browser: Any, address: str, small: potstill.Model
) -> None:
    shown = browser.new_page()
    asked: list[str] = []
    broken: list[str] = []
    shown.on("request", lambda request: asked.append(request.url))
    shown.on("pageerror", lambda error: broken.append(str(error)))
    shown.goto(f"{address}/")
    shown.get_by_text("This needs a token.").first.wait_for()
    assert "city" not in shown.locator("body").inner_text()

    shown.get_by_label("Token").fill("s3cret")
    shown.get_by_label("Token").press("Tab")
    shown.get_by_label("age").fill("61.5")
    shown.get_by_label("city").select_option("Rome")
    shown.get_by_label("member").select_option("true")
    shown.get_by_role("button", name="Answer").click()
    row = {"age": 61.5, "city": "Rome", "member": True, "since": None}
    expected = small.predict_one(row)
    said = shown.get_by_role("status")
    said.get_by_text("%").first.wait_for()
    assert said.locator("p").inner_text() == expected["label"]
    for label, share in expected["probabilities"].items():
        assert f"{label} {100 * share:.1f} %" in said.inner_text()
    shown.get_by_text("1 request answered").wait_for()

    assert "predicts paid" in shown.locator("#card").inner_text()
    shown.get_by_role("button", name="promote version 2").click()
    shown.get_by_text("predicts kind").wait_for()
    shown.get_by_role("button", name="roll back").click()
    shown.get_by_text("predicts paid").wait_for()
    assert not broken
    assert all(url.startswith(address) for url in asked)


@pytest.mark.parametrize("width_px", [360, 1200])
def test_every_field_has_a_name_and_nothing_is_cut_off(browser: Any, address: str, width_px: int) -> None:
    shown = browser.new_page(viewport={"width": width_px, "height": 800})
    shown.goto(f"{address}/")
    shown.get_by_label("Token").fill("s3cret")
    shown.get_by_label("Token").press("Tab")
    shown.get_by_role("button", name="promote version 2").wait_for()
    for field in shown.locator("input, select").all():
        assert field.evaluate("field => field.labels.length && field.labels[0].innerText.trim()")
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
