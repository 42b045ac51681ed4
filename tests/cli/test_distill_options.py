"""What the options of `distill` ask of the library, and the help that explains them."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

import potstill
from potstill.cli import potstill as root
from potstill.cli.command import typed_command
from potstill.distillation.modality import TABLES, TEXTS
from potstill.errors import UserError
from potstill.types import Budget


@pytest.fixture
def asked(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    seen: dict[str, Any] = {}

    def record(train: Any, **given: Any) -> None:
        seen.update(given, train=train)
        raise UserError("asked")

    monkeypatch.setattr(potstill, "distill", record, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*options: str) -> dict[str, Any]:
        seen.clear()
        done = run("distill", "train.csv", "-t", "y", "-q", *options)
        assert (done.code, done.err) == (2, "error: asked\n"), done.err
        return dict(seen)

    return call


def test_defaults_leave_everything_to_the_library(asked: Any) -> None:
    given = asked()
    assert (given["train"], given["target"]) == (Path("train.csv"), "y")
    assert given["recipe"] == potstill.Recipe()
    assert given["seed"] == 0
    for name in ("test", "unlabeled", "teachers", "student", "budget"):
        assert given[name] is None, name


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("90", 90.0), ("45s", 45.0), ("3m", 180.0), ("1.5h", 5400.0), ("1h30m", 5400.0), ("2M", 120.0)],
)
def test_durations(asked: Any, typed: str, seconds: float) -> None:
    assert asked("--time-limit", typed)["recipe"].time_limit == seconds


def test_limits_and_columns_of_the_student(asked: Any) -> None:
    given = asked(
        *shlex.split(
            '--memory-mb 64 --opset 15 --max-columns 8 --student-columns a,b --student-columns "c, a"'
        ),
        *("--without", 'd,"e,f"'),
    )
    default = Budget(latency_ms=1.0, size_kb=1024.0)
    changed = Budget(latency_ms=1.0, size_kb=1024.0, memory_mb=64.0, opset=15, max_columns=8)
    assert given["budget"](default) == changed
    assert given["recipe"].student_columns == ("a", "b", "c")
    assert given["recipe"].without == ("d", "e,f")
    assert asked("--max-columns", "3", "--size-kb", "9")["budget"] == Budget(size_kb=9.0, max_columns=3)


def test_options_reach_the_recipe(asked: Any) -> None:
    given = asked(
        *shlex.split(
            "--task binary --weight w --group g --time t --column zip=categorical --column a=b=numeric "
            "--drop id --drop k --folds 3 --teacher-time 9 --temperature 2 --hard-label-weight 0.25 "
            "--synthetic 3 --trust --device cpu --no-cache --seed 7 --test test.csv --unlabeled more.csv"
        )
    )
    assert given["recipe"] == potstill.Recipe(
        task="binary",
        weight="w",
        group="g",
        time="t",
        columns={"zip": "categorical", "a=b": "numeric"},
        drop=("id", "k"),
        folds=3,
        teacher_time=9.0,
        temperature=2.0,
        hard_label_weight=0.25,
        synthetic=3.0,
        trust=True,
        device="cpu",
        cache=False,
    )
    assert (given["seed"], given["test"], given["unlabeled"]) == (7, Path("test.csv"), Path("more.csv"))


def test_an_operator_set_leaves_the_rest_of_the_budget_as_it_is(asked: Any) -> None:
    for default in (TABLES.budget, TEXTS.budget):
        wanted = Budget(latency_ms=default.latency_ms, size_kb=default.size_kb, opset=17)
        assert asked("--opset", "17")["budget"](default) == wanted
    assert asked("--opset", "17", "--size-kb", "9")["budget"] == Budget(size_kb=9.0, opset=17)


def test_monotone_directions(asked: Any, tmp_path: Path, run: Any) -> None:
    (tmp_path / "r.toml").write_text("[monotone]\nage = 1\nincome = 1\n")
    given = asked("--monotone", "income=-1", "--monotone", "a=b=+1", "--recipe", "r.toml")
    assert given["recipe"].monotone == {"age": 1, "income": -1, "a=b": 1}
    done = run("distill", "train.csv", "-t", "y", "--monotone", "income=up")
    assert done.code == 2
    assert "wanted NAME=+1 or NAME=-1, got 'income=up'." in done.err


def test_options_come_before_the_recipe_file(asked: Any, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('folds = 4\ntemperature = 3.0\ndrop = ["id"]\n')
    recipe = asked("--recipe", "r.toml", "--folds", "6", "--drop", "k")["recipe"]
    assert (recipe.folds, recipe.temperature, recipe.drop) == (6, 3.0, ("id", "k"))


def test_student_and_budget(asked: Any) -> None:
    given = asked("--student", "mlp", "--size-kb", "50")
    assert given["student"] == potstill.students.STUDENTS["mlp"]()
    assert given["budget"] == Budget(latency_ms=None, size_kb=50.0)


def test_teachers_are_passed_on_as_they_are(asked: Any) -> None:
    assert asked("--teacher", "a.skops", "--teacher", "http://host/model")["teachers"] == [
        "a.skops",
        "http://host/model",
    ]
    (table,) = asked("--soft-targets", "soft.parquet", "--soft-targets-key", "id")["teachers"]
    assert (table.source, table.key) == ("soft.parquet", "id")


class Stub:
    """A result that notes what was asked of it."""

    facts = None

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def pick(self, number: int) -> Any:
        self.asked.append(("pick", number))
        return self

    def frontier(self, folder: Path, *, progress: Any) -> None:
        self.asked.append(("frontier", folder))

    def save(self, path: Path) -> None:
        self.asked.append(("save", path))

    def to_dict(self) -> dict[str, Any]:
        return {"artifact": "m.onnx"}


def test_the_frontier_is_written_and_another_point_picked(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stub = Stub()
    monkeypatch.setattr(potstill, "distill", lambda train, **given: stub, raising=False)
    monkeypatch.chdir(tmp_path)
    done = run("distill", "train.csv", "-t", "y", "-q", "--pick", "3", "--frontier", "points", "-o", "m.onnx")
    assert (done.code, done.err) == (0, "")
    assert stub.asked == [("frontier", Path("points")), ("pick", 3), ("save", Path("m.onnx"))]
    assert run("distill", "train.csv", "-t", "y", "-q", "--pick", "0").code == 2


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_pick_that_fails_loses_nothing(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, interrupted: bool
) -> None:
    class OfTwo(Stub):
        def pick(self, number: int) -> Any:
            if interrupted:
                raise KeyboardInterrupt
            raise UserError("Wanted candidate number 9, but the search tried 2.", hint="Look.")

    stub = OfTwo()
    monkeypatch.setattr(potstill, "distill", lambda train, **given: stub, raising=False)
    monkeypatch.chdir(tmp_path)
    done = run("distill", "train.csv", "-t", "y", "-q", "--pick", "9", "-o", "m.onnx")
    assert done.code == (130 if interrupted else 2)
    assert stub.asked == [("save", Path("m.onnx"))]
    assert ("m.onnx holds what the search chose. Look." in done.err) != interrupted


def test_a_report_of_nothing_is_refused_before_any_work(run: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("test_fraction = 0.0\n")
    for asked in ("--report", "--facts"):
        done = run("distill", "no.csv", "-t", "y", "-q", "--recipe", recipe, asked, tmp_path / "x")
        assert done.code == 2
        assert "the recipe holds none out" in done.err


def test_the_command_line_is_kept_as_it_was_typed() -> None:
    for pick in (["--pick", "3"], ["--pick=3"], []):
        typed = ["my train.csv", "-t", "y", *pick, "--column", "zip=categorical"]
        with root.commands["distill"].make_context("distill", typed) as ctx:
            assert typed_command(ctx, leaving_out="--pick") == (
                "potstill distill 'my train.csv' -t y --column zip=categorical"
            )


WRONG = [
    (
        "--student forest",
        "There is no student called 'forest'; there are: additive, depthwise, gbdt, mlp, ngram, "
        "residual, static, tabm, transformer.",
    ),
    ("--soft-targets-key id", "--soft-targets-key needs --soft-targets."),
    ("--soft-targets s.csv --teacher t.onnx", "Wanted either --teacher or --soft-targets, got both."),
    ("--cache c --no-cache", "--cache and --no-cache contradict each other."),
    ("--latency-ms 0", "Wanted --latency-ms above 0, got 0."),
    ("--max-columns 0", "Wanted --max-columns above 0, got 0."),
    ("--time-limit 0.5s", "The recipe wants time_limit between 5 and 1e+07, got 0.5."),
    ("--hard-label-weight 2", "The recipe wants hard_label_weight between 0 and 1, got 2."),
    ("--out no/m.onnx", "no/m.onnx cannot be written: the folder no does not exist."),
    ("--report no/m.html", "no/m.html cannot be written: the folder no does not exist."),
    ("--frontier no/points", "no/points cannot be written: the folder no does not exist."),
    ("--recipe no.toml", "The recipe no.toml cannot be read: No such file or directory."),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_contradictions_get_one_sentence_before_any_work(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("distill", "train.csv", "-t", "y", "-q", *shlex.split(options))
    assert (done.code, done.out, done.err.splitlines()[0]) == (2, "", f"error: {said}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_is_refused_before_any_work(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path) == tmp_path and mode == os.W_OK))
    done = run("distill", "train.csv", "-t", "y", "-q", "--out", tmp_path / "m.onnx")
    assert (done.code, done.out, done.err) == (
        2,
        "",
        f"error: {tmp_path}/m.onnx cannot be written: the folder {tmp_path} is read-only or belongs to "
        "someone else.\n\nhint: Write to a folder of your own.\n",
    )


def test_malformed_values_are_refused_by_the_parser(run: Any) -> None:
    done = run("distill", "train.csv", "-t", "y", "--column", "zip=words")
    assert done.code == 2
    assert (
        "wanted NAME=KIND with KIND one of numeric, boolean, categorical, date, text, got 'zip=words'"
        in done.err
    )
    done = run("distill", "train.csv", "-t", "y", "--synthetic", "many")
    assert "wanted a number or auto, got 'many'" in done.err
    done = run("distill", "train.csv", "-t", "y", "--time-limit", "3 weeks")
    assert "wanted a duration such as 90, 45s, 3m, 2h or 1h30m, got '3 weeks'" in done.err
    done = run("distill", "train.csv", "-t", "y", "--without", "a,,b")
    assert "wanted names of columns, got 'a,,b'" in done.err
    done = run("distill", "train.csv", "-t", "y", "--seed", "-1")
    assert done.code == 2
    assert "Invalid value for '--seed': -1 is not in the range 0<=x<=4294967295" in done.err
    assert run("distill", "train.csv").code == 2


def test_explain_shows_schema_and_splits_and_stops(run: Any, classifier: Any, tmp_path: Path) -> None:
    options = [
        "distill",
        classifier.rows,
        "-t",
        "paid",
        "--drop",
        "city",
        "--explain",
        "-o",
        tmp_path / "m.onnx",
    ]
    done = run(*options)
    assert done.code == 0, done.err
    assert "predicts 'paid', multiclass: maybe, no, yes" in done.out
    assert "since" in done.out
    answer = json.loads(run(*options, "--json").out)
    assert answer["task"]["classes"] == ["maybe", "no", "yes"]
    assert sum(answer["rows"].values()) == 240
    assert "city" not in [column["name"] for column in answer["schema"]["columns"]]
    assert list(tmp_path.iterdir()) == []


def test_explain_shows_what_the_student_may_see_and_must_keep(run: Any, regressor: Any) -> None:
    asked = [
        "distill",
        regressor.rows,
        "-t",
        "price",
        "--drop",
        "paid",
        "--explain",
        "--without",
        "city,code",
    ]
    done = run(*asked, "--monotone", "age=+1", "--max-columns", "2")
    assert done.code == 0, done.err
    assert "(monotone +1)" in done.out
    assert done.out.count("the teacher's alone") == 2
    assert "the value never falls as 'age' rises." in done.err
    assert "The run picks the 2 of these 3 columns that are worth most." in done.err
    answer = json.loads(run(*asked, "--json").out)
    assert [column["name"] for column in answer["schema"]["columns"]] == ["age", "member", "since"]
    assert "The run picks" not in run(*asked, "--max-columns", "3").err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--without citty", "The recipe's without name a column 'citty' that the model does not have; it has "
         "'age', 'member', 'city', 'code', 'since'."),
        ("--student-columns age --without age", "The recipe leaves the student no column to see."),
        ("--monotone city=+1", "Column 'city' is to be monotone, but it is a categorical column."),
        ("--monotone age=+1 --student mlp", "The student mlp cannot keep monotone constraints."),
        ("--max-columns 0", "Wanted --max-columns above 0, got 0."),
    ],
)  # fmt: skip
def test_explain_refuses_what_the_run_would(run: Any, regressor: Any, options: str, said: str) -> None:
    asked = ["distill", regressor.rows, "-t", "price", "--drop", "paid", "--explain", *shlex.split(options)]
    done = run(*asked)
    assert (done.code, done.err.splitlines()[0]) == (2, f"error: {said}")


@pytest.mark.parametrize("name", root.commands)
def test_help_explains_every_option_and_its_examples_parse(run: Any, name: str) -> None:
    command = root.commands[name]
    done = run(name, "--help")
    assert (done.code, done.err) == (0, "")
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [each.opts for each in options if not each.help] == []
    assert {"--json", "--debug"} <= {text for each in options for text in each.opts}
    examples = [line.strip() for line in (command.epilog or "").splitlines() if line.startswith("  ")]
    assert 2 <= len(examples) <= 4
    for example in examples:
        typed = example.split("| ")[-1].split(" > ")[0].split(" && ")[0]
        program, called, *arguments = shlex.split(typed)
        assert program == "potstill"
        with root.commands[called].make_context(called, list(arguments)):
            pass


def test_parts_lists_every_table_with_defaults(run: Any) -> None:
    answer = json.loads(run("parts", "--json").out)
    assert list(answer) == ["students", "objectives", "augmenters", "teachers"]
    assert answer["objectives"]["dkd"]["parameters"] == {"alpha": "1.0", "beta": "2.0", "temperature": "1.0"}
    assert set(answer["students"]) == set(potstill.students.STUDENTS)
    assert all(part["summary"] for kind in answer.values() for part in kind.values())
    done = run("parts", "students")
    assert "gbdt" in done.out
    done = run("parts", "losses")
    assert done.err.splitlines()[0] == (
        "error: There are no parts called 'losses'; there are: students, objectives, augmenters, teachers."
    )
