"""`cascade`: the threshold, the curve and its page, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from potstill.artifact import load
from potstill.monitoring import choose_threshold


@pytest.fixture(scope="module")
def said(classifier: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble's answers that are right in five rows of six."""
    path = tmp_path_factory.mktemp("said") / "said.csv"
    classes = classifier.dataset.task.classes
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(classes)
        for row, label in enumerate(classifier.dataset.labels):
            right = int(label) if row % 6 else (int(label) + 1) % len(classes)
            writer.writerow([0.9 if place == right else 0.05 for place in range(len(classes))])
    return path


def asked(run: Any, classifier: Any, said: Path, *more: object) -> Any:
    return run(
        "cascade",
        classifier.path,
        classifier.rows,
        "--soft-targets",
        said,
        "--ensemble-ms",
        "40",
        "-q",
        *more,
    )


def test_threshold_and_curve_are_those_of_the_library(run: Any, classifier: Any, said: Path) -> None:
    done = asked(run, classifier, said, "--keep-accuracy", "0.8", "--json")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    labels = classifier.dataset.labels
    assert answer["n_rows"] == 240
    assert answer["ensemble_accuracy"] == pytest.approx(200 / 240)
    student = load(classifier.path).predict_proba(classifier.dataset.rows)
    assert answer["student_accuracy"] == pytest.approx((student.argmax(1) == labels).mean())
    import numpy as np

    ensemble = np.full(student.shape, 0.05, np.float32)
    right = np.where(np.arange(240) % 6, labels, (labels + 1) % student.shape[1])
    ensemble[np.arange(240), right] = 0.9
    half = np.random.default_rng(0).permutation(240)[:120]
    expected = choose_threshold(student[half], ensemble[half], labels[half], keep=0.8)
    assert answer["threshold"] == expected == answer["chosen"]["threshold"]
    first, last = answer["curve"][0], answer["curve"][-1]
    assert (first["share"], last["share"]) == (0.0, 1.0)
    assert first["mean_us"] > 40_000 > last["mean_us"]
    assert first["accuracy"] == pytest.approx(200 / 240)


def test_the_page_stands_alone(run: Any, classifier: Any, said: Path, tmp_path: Path) -> None:
    page = tmp_path / "curve.html"
    done = asked(run, classifier, said, "--html", page)
    assert done.code == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 4
    assert "http" not in text.replace("http-equiv", "")
    assert done.out.strip().splitlines()[-1].rstrip() in text
    for drawn in text.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + drawn.split("</svg>")[0] + "</svg>")


def test_the_table_tells_shares_accuracy_and_latency(run: Any, classifier: Any, said: Path) -> None:
    done = asked(run, classifier, said)
    assert done.code == 0
    assert "student answers" in done.out
    assert "With a threshold of " in done.out
    assert "83.33%" in done.out
    assert "40." in done.out


def test_a_fitted_teacher_is_timed(run: Any, dateless: Any) -> None:
    done = run("cascade", dateless.path, dateless.rows, "--teacher", dateless.path, "--json", "-q")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert answer["ensemble_mean_us"] > 0
    assert answer["chosen"]["share"] == 1.0
    assert answer["chosen"]["difference"] == 0.0


def test_without_an_ensemble_there_is_no_cascade(run: Any, classifier: Any) -> None:
    done = run("cascade", classifier.path, classifier.rows)
    assert done.code == 2
    assert "A cascade needs the ensemble: none was named." in done.err


def test_values_have_no_cascade(run: Any, regressor: Any) -> None:
    done = run("cascade", regressor.path, regressor.rows, "--teacher", regressor.path)
    assert done.code == 2
    assert "predicts values, which come without a probability to go by." in done.err


def test_no_share_and_no_folder_are_refused(run: Any, classifier: Any, said: Path, tmp_path: Path) -> None:
    done = asked(run, classifier, said, "--keep-accuracy", "1.2")
    assert done.code == 2
    assert "Wanted a share of the ensemble's accuracy above 0 and up to 1, got 1.2." in done.err
    done = asked(run, classifier, said, "--html", tmp_path / "nowhere" / "curve.html")
    assert done.code == 2
    assert "does not exist" in done.err


def test_few_rows_are_refused(run: Any, dateless: Any, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("".join(dateless.rows.read_text().splitlines(keepends=True)[:10]))
    done = run("cascade", dateless.path, few, "--teacher", dateless.path)
    assert done.code == 2
    assert "Wanted at least 20 labelled rows to choose a threshold by, got 9." in done.err
