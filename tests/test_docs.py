"""The README runs as it stands, and docs/cli.md is what the commands say."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer

from potstill.cli import potstill as root
from potstill.cli.guard import guarded

ROOT = Path(__file__).parents[1]


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its Python blocks one after the other, then its shell lines on the artifact they made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    python, shell = blocks("python"), "".join(blocks("sh")).splitlines()
    assert len(python) >= 3
    names: dict[str, Any] = {}
    for number, block in enumerate(python):
        exec(compile(block, f"README.md, Python block {number + 1}", "exec"), names)
    printed = capsys.readouterr().out
    assert "'probabilities': {" in printed
    assert (tmp_path / "cancer.html").read_text(encoding="utf-8").lstrip().startswith("<!doctype html>")

    load_breast_cancer(as_frame=True).frame.to_csv("rows.csv", index=False)
    assert len(shell) >= 4
    for line in shell:
        program, *arguments = shlex.split(line)
        assert program == "potstill"
        assert guarded(root, arguments) == 0, f"{line}\n{capsys.readouterr().err}"
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 570


def test_commands_shown_but_not_run_are_commands(tmp_path: Path) -> None:
    shown = [line for block in blocks("text") for line in block.splitlines() if line.startswith("potstill ")]
    assert shown
    for line in shown:
        _, command, *arguments = shlex.split(line)
        with root.commands[command].make_context(command, arguments):
            pass


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def loaded(script: Path) -> Any:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_line_page_is_current() -> None:
    current = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert loaded(ROOT / "docs" / "generate_cli.py").page() == current, "run ./dev docs"


def test_the_readmes_table_is_that_of_the_results() -> None:
    benchmark = loaded(ROOT / "benchmarks" / "readme.py")
    results = {path.stem: json.loads(path.read_text()) for path in sorted(benchmark.RESULTS.glob("*.json"))}
    assert len(results) >= 9
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert benchmark.with_table(text, results) == text
