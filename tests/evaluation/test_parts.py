"""Agreement, reliability, slices, and the evidence gathered from them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeClassifier

from potstill.evaluation import (
    Evidence,
    agreement,
    disagreements,
    gather,
    per_class,
    reliability_curve,
    slices,
)
from potstill.evaluation.calibration import wilson_interval
from potstill.evaluation.metrics import ece
from potstill.types import Task


def classified(load):
    """Out-of-sample answers of a forest and two trees, the labels and the columns."""
    data = load()
    n = len(data.target)
    order = np.random.default_rng(0).permutation(n)
    train, test = order[: n // 2], order[n // 2 :]
    models = {
        "teacher": RandomForestClassifier(30, random_state=0),
        "twin": DecisionTreeClassifier(max_depth=2, random_state=0),
        "student": DecisionTreeClassifier(max_depth=3, min_samples_leaf=5, random_state=1),
    }
    outputs = {
        name: model.fit(data.data[train], data.target[train]).predict_proba(data.data[test])
        for name, model in models.items()
    }
    columns = {name: data.data[test, i] for i, name in enumerate(data.feature_names[:4])}
    task = Task(
        "binary" if len(data.target_names) == 2 else "multiclass", "y", tuple(data.target_names.tolist())
    )
    return outputs, data.target[test].astype(np.int64), columns, task


def test_agreement_of_equal_answers_is_whole():
    probs = np.array([[0.2, 0.8], [1.0, 0.0]])
    assert agreement(probs, probs) == {"argmax": 1.0, "total_variation": 0.0, "kl": 0.0}
    values = np.array([[1.0], [2.0]])
    assert agreement(values, values) == pytest.approx({"rmse": 0.0, "correlation": 1.0})


def test_agreement_by_hand_with_weights():
    teacher = np.array([[0.5, 0.5], [0.9, 0.1]])
    student = np.array([[0.5, 0.5], [0.1, 0.9]])
    measured = agreement(student, teacher, np.array([1.0, 3.0]))
    assert measured["argmax"] == 0.25
    assert measured["total_variation"] == pytest.approx(0.75 * 0.8)
    assert measured["kl"] == pytest.approx(0.75 * 0.8 * np.log(9))


def test_constant_values_have_no_correlation():
    assert agreement(np.ones((3, 1)), np.zeros((3, 1))) == {"rmse": 1.0}


def test_disagreements_are_the_furthest_rows_first():
    teacher = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    student = np.array([[0.5, 0.5], [0.1, 0.9], [0.4, 0.6]])
    assert disagreements(student, teacher, 2).tolist() == [1, 2]


def test_reliability_of_two_classes_is_of_the_positive_one():
    said = np.repeat([0.1, 0.6], 50)
    probs = np.stack([1 - said, said], axis=1)
    labels = np.concatenate([np.arange(50) < 5, np.arange(50) < 40]).astype(np.int64)
    curve = reliability_curve(probs, labels, bins=2)
    assert curve.of == "positive"
    assert curve.confidence == pytest.approx((0.1, 0.6))
    assert curve.observed == pytest.approx((0.1, 0.8))
    assert curve.counts == (50, 50)
    assert all(low < at < high for low, at, high in zip(curve.low, curve.observed, curve.high, strict=True))


def test_reliability_and_ece_tell_the_same_story():
    outputs, labels, _, _ = classified(load_wine)
    curve = reliability_curve(outputs["teacher"], labels, binning="width")
    gaps = np.abs(np.array(curve.confidence) - np.array(curve.observed))
    assert curve.of == "top"
    assert np.average(gaps, weights=curve.counts) == pytest.approx(ece(outputs["teacher"], labels))


def test_wilson_interval_is_the_published_one():
    low, high = wilson_interval(np.array([0.0, 0.5]), np.array([10, 10]))
    assert low == pytest.approx([0.0, 0.2366], abs=1e-4)
    assert high == pytest.approx([0.2775, 0.7634], abs=1e-4)


def test_per_class_skips_classes_without_rows():
    probs = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    table = per_class({"student": probs}, np.array([0, 1, 1]), ("a", "b", "c"))
    assert [each.label for each in table] == ["a", "b"]
    assert [each.recall["student"] for each in table] == [1.0, 0.5]
    assert [each.precision["student"] for each in table] == [0.5, 1.0]


def test_slices_name_levels_missing_values_and_ranges():
    rng = np.random.default_rng(0)
    n = 400
    labels = rng.integers(0, 2, size=n)
    answers = {name: rng.dirichlet([1, 1], size=n) for name in ("teacher", "student")}
    color = np.array(["red", None, float("nan"), "blue"], dtype=object)[np.arange(n) % 4]
    zeros = np.where(np.arange(n) % 2 == 0, 0.0, rng.random(n) + 1.0)
    columns = {"color": color, "spent": zeros, "constant": np.zeros(n), "flag": np.arange(n) % 2 == 0}
    found = {(each.column, each.level): each for each in slices(columns, answers, labels)}
    assert found["color", "missing"].n == 200
    assert found["color", "red"].n == 100
    assert found["spent", "0"].n == 200
    assert found["flag", "True"].n == 200
    assert sum(each.n for (column, _), each in found.items() if column == "spent") == n
    assert not any(column == "constant" for column, _ in found)
    red = color == "red"
    expected = (answers["student"].argmax(axis=1) == labels)[red].mean()
    assert found["color", "red"].scores["student"]["accuracy"] == pytest.approx(expected)


def test_the_slice_where_the_student_is_surely_worse_leads():
    rng = np.random.default_rng(0)
    n = 1000
    labels = rng.integers(0, 2, size=n)
    good = np.where(labels[:, None] == np.arange(2), 0.8, 0.2)
    bad_rows = np.arange(n) % 4 == 0
    student = np.where(bad_rows[:, None], 1 - good, good)
    part = np.array(["bad", "b", "c", "d"])[np.arange(n) % 4]
    worst = slices({"part": part}, {"teacher": good, "student": student}, labels)[0]
    assert (worst.level, worst.n) == ("bad", 250)
    assert worst.excess.value == pytest.approx(np.log(4))


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_evidence_of_a_classification_goes_to_json_and_back(load):
    outputs, labels, columns, task = classified(load)
    evidence = gather(outputs, labels, task, columns=columns, n_resamples=100)
    assert evidence.n_rows == len(labels)
    assert set(evidence.scores) == set(evidence.reliability) == {"teacher", "twin", "student"}
    assert set(evidence.gap_recovered) == {"accuracy", "log_loss"}
    assert len(evidence.per_class) == len(task.classes)
    assert bool(evidence.operating_points) == (task.kind == "binary")
    assert evidence.disagreements[0].distance == max(each.distance for each in evidence.disagreements)
    assert set(evidence.disagreements[0].row) == set(columns)
    assert evidence.predictions is None
    assert msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence) == evidence


def test_evidence_of_a_regression_goes_to_json_and_back():
    data = load_diabetes()
    train, test = slice(0, 300), slice(300, None)
    models = {
        "teacher": RandomForestRegressor(20, random_state=0),
        "twin": Ridge(10.0),
        "student": Ridge(0.1),
    }
    outputs = {
        name: model.fit(data.data[train], data.target[train]).predict(data.data[test]).reshape(-1, 1)
        for name, model in models.items()
    }
    columns = {"bmi": data.data[test, 2], "sex": np.where(data.data[test, 1] > 0, "f", "m")}
    evidence = gather(outputs, data.target[test], Task("regression", "y"), columns=columns, n_resamples=100)
    assert set(evidence.scores["student"]) == {"r2", "rmse", "mae"}
    assert set(evidence.gap_recovered) == {"r2", "rmse"}
    assert evidence.predictions is not None
    assert len(evidence.predictions.truth) == 142
    assert msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence) == evidence


def test_evidence_of_a_student_alone():
    outputs, labels, columns, task = classified(load_wine)
    evidence = gather({"student": outputs["student"]}, labels, task, columns=columns)
    assert evidence.gap_recovered == {}
    assert evidence.agreement == {}
    assert evidence.disagreements == ()
    assert evidence.slices == ()
