"""`compare`: artifacts side by side, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from potstill.artifact import Card, Softmax, load
from potstill.artifact.weights import n_parameters
from potstill.evaluation import agreement, classification_scores, difference_interval
from potstill.evaluation.metrics import log_losses
from potstill.export import compose, write_artifact
from potstill.modalities import TabularEncoder


@pytest.fixture(scope="module")
def flatter(classifier: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier's own weights with another temperature: the same classes, other probabilities."""
    dataset = classifier.dataset
    graph = compose(TabularEncoder.fit(dataset), classifier.student, Softmax(4.0), task=dataset.task)
    path = tmp_path_factory.mktemp("flatter") / "flatter.onnx"
    card = Card(name="flat", task=dataset.task, schema=dataset.schema, calibration=Softmax(4.0))
    write_artifact(graph, card, dataset.rows, path)
    return path


def test_scores_differences_and_agreement_are_those_of_the_library(
    run: Any, classifier: Any, flatter: Path
) -> None:
    done = run("compare", classifier.path, flatter, "--test", classifier.rows, "--json", "-q")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    first, second = answer["artifacts"]
    labels, flat = classifier.dataset.labels, load(flatter).predict_proba(classifier.dataset.rows)
    assert (answer["n_rows"], first["name"], second["name"]) == (240, "toy.onnx", "flatter.onnx")
    assert first["scores"] == pytest.approx(classification_scores(classifier.expected, labels), abs=1e-5)
    assert second["scores"] == pytest.approx(classification_scores(flat, labels), abs=1e-5)
    better = second["better_by"]["log_loss"]
    over = difference_interval(log_losses(classifier.expected, labels), log_losses(flat, labels))
    assert better["value"] == pytest.approx(over.value, abs=1e-5)
    assert better["low"] < better["value"] < better["high"]
    assert second["better_by"]["accuracy"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert second["agreement"] == pytest.approx(agreement(flat, classifier.expected), abs=1e-5)
    assert "better_by" not in first
    for each, path in ((first, classifier.path), (second, flatter)):
        assert each["size_bytes"] == path.stat().st_size
        assert 0 < each["latency"]["p50"] <= each["latency"]["p99"]


def test_the_tables_name_the_first_and_fit_the_terminal(run: Any, classifier: Any, flatter: Path) -> None:
    done = run("compare", classifier.path, flatter, "--test", classifier.rows, "-q")
    text = " ".join(done.out.split())
    assert "On 240 rows of" in text
    assert "Same class as toy.onnx" in text
    assert "100.0" in text
    assert max(map(len, done.out.splitlines())) <= 120
    assert done.err == ""


def test_the_page_says_the_same_and_loads_nothing(
    run: Any, classifier: Any, flatter: Path, tmp_path: Path
) -> None:
    page = tmp_path / "both.html"
    done = run("compare", classifier.path, flatter, "--test", classifier.rows, "--html", page, "-q")
    assert (done.code, done.err) == (0, f"wrote {page}\n")
    html = page.read_text(encoding="utf-8")
    assert html.lstrip().startswith("<!doctype html>")
    assert "<script" not in html
    for said in ("flatter.onnx", "Same class as toy.onnx", "2 artifacts side by side"):
        assert said in html
    done = run("compare", classifier.path, flatter, "--html", tmp_path / "no" / "both.html", "-q")
    assert (done.code, done.out) == (2, "")


def test_files_of_one_name_are_told_apart_by_their_folders(run: Any, classifier: Any, tmp_path: Path) -> None:
    other = tmp_path / classifier.path.name
    other.write_bytes(classifier.path.read_bytes())
    done = run("compare", classifier.path, other, "--json", "-q")
    assert [each["name"] for each in json.loads(done.out)["artifacts"]] == [str(classifier.path), str(other)]


def test_values_are_compared_by_their_error(run: Any, regressor: Any, tmp_path: Path) -> None:
    other = tmp_path / "copy.onnx"
    other.write_bytes(regressor.path.read_bytes())
    done = run("compare", regressor.path, other, "--test", regressor.rows, "--json", "-q")
    second = json.loads(done.out)["artifacts"][1]
    assert second["better_by"] == {"rmse": {"value": 0.0, "low": 0.0, "high": 0.0}}
    assert second["agreement"]["rmse"] == 0.0


def test_what_cannot_be_compared_is_refused(run: Any, classifier: Any, regressor: Any) -> None:
    done = run("compare", classifier.path, regressor.path, "-q")
    assert (done.code, done.out, done.err) == (
        2,
        "",
        f"error: {regressor.path} predicts values of 'price', but {classifier.path} predicts 'paid' (maybe, "
        "no, yes): they cannot be compared.\n\nhint: Compare models of one task with the same classes.\n",
    )
    done = run("compare", classifier.path)
    assert done.err.splitlines()[0] == "error: Wanted at least two artifacts, got 1."


def test_parameters_are_counted_in_the_file(classifier: Any) -> None:
    graph = onnx.load(classifier.path).graph
    floating = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}
    counted = sum(int(np.prod(each.dims)) for each in graph.initializer if each.data_type in floating)
    assert n_parameters(classifier.path.read_bytes()) == counted > 0
    assert len(load(classifier.path).probe_rows) == 16


@pytest.mark.parametrize("as_tensor", [False, True])
def test_thresholds_of_trees_are_parameters(as_tensor: bool) -> None:
    values = np.array([0.5, 1.0, 2.0], dtype=np.float32)
    key = "nodes_values_as_tensor" if as_tensor else "nodes_values"
    value = onnx.numpy_helper.from_array(values) if as_tensor else values.tolist()
    node = onnx.helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **{key: value})
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "trees", [], []))
    assert n_parameters(model.SerializeToString()) == 3
