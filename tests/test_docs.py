"""README and guides run as they stand, and docs/cli.md is what the commands say."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer

import potstill
from potstill.cli import potstill as root
from potstill.cli.guard import guarded

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
README = ROOT / "README.md"


def blocks(language: str, page: Path = README) -> list[str]:
    text = page.read_text(encoding="utf-8")
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


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_runs(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python blocks one after the other; other blocks are commands, which are checked."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks("python", guide)):
        exec(compile(block, f"{guide.name}, Python block {number + 1}", "exec"), names)
    assert set(re.findall(r"^```(\w+)$", guide.read_text(encoding="utf-8"), flags=re.MULTILINE)) <= {
        "c",
        "python",
        "text",
    }


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_the_program_around_the_c_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    guide = ROOT / "docs" / "guides" / "edge.md"
    exec(compile("".join(blocks("python", guide)), guide.name, "exec"), {})
    command = blocks("text", guide)[0]
    assert guarded(root, shlex.split(command)[1:]) == 0
    (tmp_path / "main.c").write_text(blocks("c", guide)[0])
    compiled = ["gcc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "main.c", "-lm", "-o", "main"]
    subprocess.run(compiled, check=True)
    said = subprocess.run(["./main"], check=True, capture_output=True, text=True).stdout.split()
    row = {"degrees": 71.5, "hours": 4200.0, "site": "yard"}
    wanted = potstill.load("pump.onnx").predict_one(row)["probabilities"]
    assert [float(each) for each in said] == pytest.approx(list(wanted.values()), abs=2e-4)


@pytest.mark.parametrize("page", [README, *GUIDES], ids=lambda path: path.stem)
def test_commands_shown_but_not_run_are_commands(page: Path) -> None:
    shown = [line for block in blocks("text", page) for line in block.splitlines()]
    shown = [line for line in shown if line.startswith("potstill ")]
    assert shown
    for line in shown:
        _, command, *arguments = shlex.split(line)
        with root.commands[command].make_context(command, arguments):
            pass


@pytest.mark.parametrize("page", [README, *GUIDES], ids=lambda path: path.stem)
def test_every_option_named_is_one(page: Path) -> None:
    options = {text for command in root.commands.values() for each in command.params for text in each.opts}
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - options == set()


@pytest.mark.parametrize("page", [README, *GUIDES], ids=lambda path: path.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


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


def test_every_variant_of_the_ablation_is_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    variants = loaded(ROOT / "benchmarks" / "ablation.py").VARIANTS
    for _, fields, _ in variants.values():
        potstill.Recipe.from_dict(fields)
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert f"4 sets, {len(variants)} variants" in page


def test_the_readmes_table_is_that_of_the_results() -> None:
    benchmark = loaded(ROOT / "benchmarks" / "readme.py")
    results = {path.stem: json.loads(path.read_text()) for path in sorted(benchmark.RESULTS.glob("*.json"))}
    assert len(results) >= 9
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert benchmark.with_table(text, results) == text
