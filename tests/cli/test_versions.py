"""push, promote, rollback and ls on a real artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from potstill.artifact import load
from potstill.versions import Repository
from potstill.versions.pyfunc import _load_pyfunc


def test_push_promote_rollback_and_ls(run: Any, classifier: Any, regressor: Any, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    digest = json.loads(run("inspect", classifier.path, "--json").out)["file"]["sha256"]
    done = run("push", classifier.path, folder)
    assert (done.code, done.out, done.err) == (0, f"toy version 1 ({digest[:12]}), champion\n", "")
    pushed = json.loads(
        run("push", regressor.path, folder, "--name", "toy", "--alias", "challenger", "--json").out
    )
    assert (pushed["version"], pushed["aliases"]) == (2, ["challenger"])
    done = run("promote", folder, "toy", "challenger")
    assert (done.code, done.out) == (0, f"toy: champion is version 2 ({pushed['hash'][:12]})\n")
    done = run("rollback", folder, "toy")
    assert (done.code, done.out) == (0, f"toy: champion is version 1 ({digest[:12]})\n")
    listed = run("ls", folder).out
    assert digest[:12] in listed
    assert "challenger" in listed
    assert "rollback" in run("ls", folder, "toy", "--history").out
    assert [each["version"] for each in json.loads(run("ls", folder, "--json").out)["toy"]] == [1, 2]


def test_what_is_refused_and_how(run: Any, classifier: Any, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    done = run("push", classifier.path, folder, "--gate", "size_kb<0.1")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {classifier.path} does not pass the gate: size_kb<0.1 (it is ")
    assert not folder.exists()
    assert run("push", classifier.path, folder, "--gate", "size_kb").code == 2
    done = run("ls", folder)
    assert (done.code, done.err.splitlines()[0]) == (2, f"error: {folder} is no model repository.")
    Repository(folder).push(classifier.path)
    done = run("promote", folder, "toy", "7")
    assert (done.code, done.err) == (
        2,
        "error: 'toy' has no version '7'.\n\nhint: Among those it has: champion, 1.\n",
    )
    done = run("rollback", folder, "other")
    assert done.err == f"error: There is no model 'other' in {folder}.\n\nhint: The models there: toy.\n"


def test_what_mlflow_loads_answers_as_the_model_does(classifier: Any, regressor: Any) -> None:
    for made in (classifier, regressor):
        model = load(made.path)
        rows = pd.DataFrame(model.probe_rows)[::-1]
        answer = _load_pyfunc(made.path).predict(rows)
        assert list(answer.index) == list(rows.index)
        assert list(answer["prediction"]) == list(model.predict(rows))
        if model.task.is_classification:
            assert list(answer)[1:] == [f"p_{label}" for label in model.classes]
            np.testing.assert_array_equal(answer.iloc[:, 1:], model.predict_proba(rows))
