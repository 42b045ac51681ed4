"""inspect, verify and evaluate on a real artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.artifact import Model, load
from potstill.errors import ArtifactError
from potstill.evaluation import classification_scores


def test_inspect_shows_what_the_model_takes_and_answers(run: Any, classifier: Any) -> None:
    done = run("inspect", classifier.path)
    assert (done.code, done.err) == (0, "")
    text = " ".join(done.out.split())
    for said in ("paid (multiclass: maybe, no, yes)", "code categorical 3, 2, 1", "since date 202", "sha256"):
        assert said in text, said
    card = json.loads(run("inspect", classifier.path, "--json").out)["card"]
    assert [column["name"] for column in card["schema"]["columns"]] == list(classifier.dataset.schema.names)


def test_verify_replays_the_probe_rows(run: Any, classifier: Any) -> None:
    done = run("verify", classifier.path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(
        f"{classifier.path} is whole; its 16 probe rows are answered as when it was written"
    )
    answer = json.loads(run("verify", classifier.path, "--json").out)
    assert answer["artifact"] == str(classifier.path)
    assert (answer["n_rows"], answer["max_difference"] < 1e-5) == (16, True)


def test_verify_exits_1_where_this_machine_answers_otherwise(
    run: Any, classifier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differ(_: Model) -> None:
        raise ArtifactError("Row 3 is off by 0.2.", hint="Report this.")

    monkeypatch.setattr(Model, "verify", differ)
    done = run("verify", classifier.path)
    assert (done.code, done.out, done.err) == (1, "", "error: Row 3 is off by 0.2.\n\nhint: Report this.\n")


@pytest.mark.parametrize("command", ["verify", "inspect", "predict", "evaluate"])
def test_a_file_that_is_no_artifact_or_was_changed_is_refused(
    run: Any, classifier: Any, tmp_path: Path, command: str
) -> None:
    def said(path: Path) -> str:
        arguments = [path, classifier.rows] if command in ("predict", "evaluate") else [path]
        done = run(command, *arguments)
        assert (done.code, done.out) == (2, "")
        return str(done.err).splitlines()[0]

    text = tmp_path / "text.onnx"
    text.write_text("hello")
    changed = tmp_path / "changed.onnx"
    data = bytearray(classifier.path.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(bytes(data))
    assert said(text) == f"error: {text} is not an ONNX model; wanted an artifact written by potstill."
    assert said(changed).startswith(f"error: {changed} ")
    assert said(tmp_path / "no.onnx") == f"error: There is no file {tmp_path}/no.onnx."


def test_evaluate_scores_as_the_library_does(run: Any, classifier: Any) -> None:
    answer = json.loads(run("evaluate", classifier.path, classifier.rows, "--json", "-q").out)
    scores = classification_scores(classifier.expected, classifier.dataset.labels)
    assert (answer["task"], answer["rows"], answer["rows_without_target"]) == ("multiclass", 240, 0)
    assert answer["student"] == pytest.approx(scores, abs=1e-5)
    done = run("evaluate", classifier.path, classifier.rows, "-q")
    assert done.err == ""
    for word in ("240 rows", "this model", "Accuracy", f"{scores['log_loss']:.4f}"):
        assert word in done.out


def test_evaluate_leaves_out_rows_without_a_target_and_says_so(
    run: Any, classifier: Any, tmp_path: Path
) -> None:
    lines = classifier.rows.read_text().splitlines()
    partly = tmp_path / "partly.csv"
    partly.write_text(
        "\n".join([lines[0], *(line.rsplit(",", 1)[0] + "," for line in lines[1:41]), *lines[41:]])
    )
    assert run("evaluate", classifier.path, partly).err.endswith("40 rows without a target were left out\n")
    assert run("evaluate", classifier.path, partly, "-q").err == ""
    answer = json.loads(run("evaluate", classifier.path, partly, "--json", "-q").out)
    assert (answer["rows"], answer["rows_without_target"]) == (200, 40)
    wanted = classification_scores(classifier.expected[40:], classifier.dataset.labels[40:])
    assert answer["student"] == pytest.approx(wanted, abs=1e-5)


def test_evaluate_compares_with_a_table_of_soft_targets(run: Any, classifier: Any, tmp_path: Path) -> None:
    answers = tmp_path / "teacher.csv"
    assert run("predict", classifier.path, classifier.rows, "--proba", "-o", answers).code == 0
    done = run("evaluate", classifier.path, classifier.rows, "--soft-targets", answers, "--json", "-q")
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert answer["teacher"] == pytest.approx(answer["student"], abs=1e-5)
    assert answer["agreement"]["argmax"] == 1.0


def test_evaluate_compares_with_a_teacher_file(run: Any, regressor: Any, tmp_path: Path) -> None:
    answers = tmp_path / "teacher.csv"
    values = load(regressor.path).predict(regressor.dataset.rows)
    kept = iter(values.tolist())
    rows = [
        next(kept) if ",nan," not in line else 0.0 for line in regressor.rows.read_text().splitlines()[1:]
    ]
    answers.write_text("prediction\n" + "\n".join(f"{value:.7g}" for value in rows) + "\n")
    done = run("evaluate", regressor.path, regressor.rows, "--teacher", answers, "--json", "-q")
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert answer["rows_without_target"] == 240 - len(values)
    assert answer["agreement"]["rmse"] == pytest.approx(0.0, abs=1e-4)
    assert answer["student"]["rmse"] == pytest.approx(
        float(np.sqrt(np.mean((values - regressor.dataset.labels) ** 2))), rel=1e-5
    )


def test_evaluate_says_what_is_wrong_with_the_labels(run: Any, classifier: Any, tmp_path: Path) -> None:
    done = run("evaluate", classifier.path, classifier.rows, "--target", "y", "-q")
    assert (done.code, done.err) == (
        2,
        f"error: {classifier.rows} has no column 'y' to compare the answers with.\n\n"
        "hint: Name it with --target; there are: age, member, city, code, since, price, paid.\n",
    )
    other = tmp_path / "other.csv"
    other.write_text(classifier.rows.read_text().replace("maybe", "perhaps"))
    done = run("evaluate", classifier.path, other, "-q")
    assert done.err.splitlines()[0].startswith(f"error: {other}, line ")
    assert done.err.splitlines()[0].endswith("column 'paid': 'perhaps' is no class.")
    assert done.err.splitlines()[-1] == "hint: The model knows: maybe, no, yes."


def test_export_writes_c_or_nothing(run: Any, classifier: Any, tmp_path: Path) -> None:
    out = tmp_path / "My model.c"
    done = run("export", classifier.path, "--c", out)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{out}: tables of ")
    assert "void my_model_predict(const my_model_row *row, float *output)" in out.read_text()
    answer = json.loads(run("export", classifier.path, "--c", out, "--json").out)["c"]
    assert (answer["file"], answer["flash_bytes"] > 0, answer["ram_bytes"] > 0) == (str(out), True, True)
    done = run("export", classifier.rows, "--c", tmp_path / "other.c")
    assert (done.code, [path.name for path in tmp_path.iterdir()]) == (2, ["My model.c"])
    done = run("export", classifier.path)
    assert (done.code, done.err.splitlines()[0]) == (2, "error: Nothing was asked for.")


def test_export_writes_a_folder_with_a_model_card(run: Any, classifier: Any, tmp_path: Path) -> None:
    done = run("export", classifier.path, "--hub", tmp_path / "hub")
    assert (done.code, done.out) == (0, f"{tmp_path}/hub: the model with its card as README.md.\n")
    assert run("export", classifier.path, "--hub", tmp_path).code == 2
