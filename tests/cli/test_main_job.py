"""`distill` from a file to the artifact, the report and the JSON; then the commands that follow it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm
import pytest
from sklearn.datasets import load_breast_cancer

MODELS = ("teacher", "best_member", "twin", "student")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.csv, test.csv and a booster fitted on the former."""
    place = tmp_path_factory.mktemp("job")
    frame = load_breast_cancer(as_frame=True).frame.sample(frac=1.0, random_state=0)
    train, test = frame.iloc[:400], frame.iloc[400:]
    train.to_csv(place / "train.csv", index=False)
    test.to_csv(place / "test.csv", index=False)
    data = lightgbm.Dataset(train.drop(columns="target"), train["target"])
    options = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": 0}
    lightgbm.train(options, data, num_boost_round=30).save_model(place / "booster.txt")
    return place


def test_the_main_job(run: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    out, report, facts = (tmp_path / name for name in ("m.onnx", "m.html", "facts.json"))
    done = run(
        *("distill", folder / "train.csv", "--target", "target", "--test", folder / "test.csv"),
        *("--teacher", folder / "booster.txt", "--student", "gbdt", "--synthetic", "1"),
        *("--out", out, "--report", report, "--facts", facts, "--json", "--time-limit", "12"),
    )
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert (answer["task"], answer["artifact"], answer["report"]) == ("binary", str(out), str(report))
    assert answer["rows"]["test"] == 169
    assert answer["seconds"]["total"] > 0
    for model in MODELS:
        assert {"accuracy", "log_loss", "ece", "size_bytes", "latency_us"} <= set(answer[model]), model
        assert 0.9 < answer[model]["accuracy"] <= 1.0
        assert 0 < answer[model]["latency_us"]["p50"] <= answer[model]["latency_us"]["p99"]
    for metric in ("accuracy", "log_loss"):
        assert {"value", "low", "high"} <= set(answer["gap_recovered"][metric])
    assert "done in" in done.err

    assert run("verify", out).code == 0
    scores = json.loads(run("evaluate", out, folder / "test.csv", "--json", "-q").out)["student"]
    shipped = answer[answer["shipped"]]
    assert scores["log_loss"] == pytest.approx(shipped["log_loss"], abs=1e-5)

    again = tmp_path / "again.html"
    assert run("report", facts, "--out", again).code == 0
    assert again.read_text(encoding="utf-8") == report.read_text(encoding="utf-8")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"m.onnx", "m.html", "facts.json", "again.html", "cache"}


def test_the_size_reported_is_the_size_of_the_file(
    run: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "m.onnx"
    done = run(
        *(
            "distill",
            folder / "train.csv",
            "--target",
            "target",
            "--test",
            folder / "test.csv",
            "--json",
            "-q",
        ),
        *("--teacher", folder / "booster.txt", "--student", "gbdt", "--synthetic", "0", "--out", out),
        *("--time-limit", "8"),
    )
    answer = json.loads(done.out)
    assert answer[answer["shipped"]]["size_bytes"] == out.stat().st_size


def test_collect_keeps_the_answers_of_a_long_file(run: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers"
    options = (
        *("collect", folder / "test.csv", "--train", folder / "train.csv", "--target", "target"),
        *("--teacher", folder / "booster.txt", "--out", out, "--batch-rows", "50", "--json", "-q"),
    )
    first = json.loads(run(*options).out)
    assert (first["rows"], first["computed"], len(first["files"])) == (169, 4, 4)
    assert first["members"] == ["booster"]
    assert json.loads(run(*options).out)["computed"] == 0
    assert (
        run("collect", folder / "test.csv", "--train", folder / "train.csv", "-t", "target", "-o", out).code
        == 2
    )
    untouched = tmp_path / "untouched"
    (tmp_path / "other.csv").write_text("a,target\n1,0\n")
    assert run("collect", tmp_path / "other.csv", *options[2:7], "-o", untouched, "-q").code == 2
    assert not untouched.exists()


BAD_INPUT = [
    ("a,b\n1,2\n", "There is no column 'y'"),
    ("", "is empty (0 bytes)"),
    ("a,y\n1,x\n2,x\n3,x\n", "class"),
    ("a,a,y\n1,2,x\n", "more than one called 'a'"),
]


@pytest.mark.parametrize(("text", "said"), BAD_INPUT)
def test_bad_data_get_one_sentence_and_nothing_is_written(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.csv").write_text(text)
    done = run("distill", "train.csv", "-t", "y", "--report", "m.html", "-q")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert "hint: " in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


def test_collected_answers_are_soft_targets(run: Any, folder: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    train, target = folder / "train.csv", ("--target", "target")
    asked = ("--train", train, "--teacher", folder / "booster.txt", "--out", answers, "--batch-rows", "150")
    assert run("collect", train, *target, *asked, "-q").code == 0
    options = ("--student", "gbdt", "--synthetic", "0", "--no-cache", "--json", "-q", "--time-limit", "8")
    out = tmp_path / "m.onnx"
    by_table = run("distill", train, *target, "--soft-targets", answers, *options, "--out", out)
    by_teacher = run("distill", train, *target, "--teacher", folder / "booster.txt", *options, "--out", out)
    assert (by_table.code, by_teacher.code) == (0, 0), by_table.err
    scores = [json.loads(done.out)["teacher"]["log_loss"] for done in (by_table, by_teacher)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    done = run("distill", folder / "test.csv", *target, "--soft-targets", answers, *options, "--out", out)
    assert (done.code, done.err) == (
        2,
        "error: The table 'answers' has 400 rows and the training data 169: wanted one row for each, in the "
        "same order.\n\nhint: Was the table made from these data, before rows were dropped or shuffled? Rows "
        "in another order need a key column (--soft-targets-key).\n",
    )
