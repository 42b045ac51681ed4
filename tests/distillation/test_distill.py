"""The main job end to end on small real data: what comes back, what is reused, what is said."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import potstill
from potstill import Budget, Recipe, Result, UserError
from potstill.data import load_dataset
from potstill.distillation.judge import ENOUGH
from potstill.distillation.prepare import split_rows
from potstill.evaluation.metrics import log_losses
from potstill.students import GBDT, MLP
from potstill.teachers import SoftTargetTable
from potstill.teachers.zoo import ZOO

TREES = GBDT(rounds=40, min_data_in_leaf=5)


class Told:
    """A Progress that remembers what was noted."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def start(self, stage: str, total: int | None = None) -> None:
        self.stages.append(stage)

    def advance(self, amount: int = 1, note: str = "") -> None:
        return

    def note(self, message: str) -> None:
        self.notes.append(message)

    def candidate(self, tried: Any) -> None:
        return


def cancer() -> tuple[pd.DataFrame, pd.Series]:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return X, y


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def distil_cancer(cache: str | bool, **more: Any) -> Result:
    # No latency budget: on a busy machine a clock would have a say in what is chosen.
    return potstill.distill(
        cancer(),
        teachers=[ExtraTreesClassifier(60, random_state=0), RandomForestClassifier(60, random_state=0)],
        student=more.pop("student", TREES),
        budget=more.pop("budget", Budget(size_kb=1024)),
        recipe=Recipe(cache=cache, folds=3, **more.pop("recipe", {})),
        **more,
    )


@pytest.fixture(scope="module")
def result(cache: str) -> Result:
    return distil_cancer(cache)


def test_dictionary_is_the_contract_scripts_read(result: Result) -> None:
    told = json.loads(json.dumps(result.to_dict()))
    assert told["task"] == "binary"
    assert told["rows"] == {"train": 370, "valid": 85, "test": 114, "synthetic": told["rows"]["synthetic"]}
    assert told["seconds"]["total"] == pytest.approx(
        sum(value for stage, value in told["seconds"].items() if stage != "total"), abs=0.01
    )
    for model in ("teacher", "best_member", "twin", "student"):
        assert {"accuracy", "log_loss", "ece", "size_bytes", "latency_us"} <= told[model].keys(), model
        assert told[model]["latency_us"].keys() == {"p50", "p99"}
        assert told[model]["accuracy"] > 0.85
    for metric in ("accuracy", "log_loss"):
        assert {"value", "low", "high"} <= told["gap_recovered"][metric].keys()
    assert told["artifact"] is None


def test_answers_are_those_the_scores_were_made_of(result: Result) -> None:
    scores = result.to_dict()
    assert {"teacher", "best_member", "twin", "student"} < result.answers.keys()
    for model, probs in result.answers.items():
        assert probs.shape == (114, 2)
        losses = log_losses(probs, _test_labels())
        assert losses.mean() == pytest.approx(scores[model]["log_loss"]), model


def _test_labels() -> Any:
    """Labels of the rows held out for the test, in their order."""
    X, y = cancer()
    loaded = load_dataset((X, y))
    return loaded.dataset.labels[split_rows(loaded, Recipe(folds=3), seed=0, has_test=False).test]


def test_saved_artifact_answers_as_the_result_does(result: Result, tmp_path: Path) -> None:
    place = tmp_path / "cancer.onnx"
    result.save(place)
    model = potstill.load(place, verify=True)
    X, _ = cancer()
    np.testing.assert_array_equal(model.predict_proba(X), result.model.predict_proba(X))
    one = model.predict_one(X.iloc[3].to_dict())
    assert one["probabilities"][1] == pytest.approx(model.predict_proba(X)[3, 1], abs=1e-6)
    assert result.to_dict()["artifact"] == str(place)
    assert result.to_dict()["student"]["size_bytes"] == pytest.approx(place.stat().st_size, rel=0.05)


def test_report_is_one_file(result: Result, tmp_path: Path) -> None:
    result.report(tmp_path / "cancer.html")
    page = (tmp_path / "cancer.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert [place.name for place in tmp_path.iterdir()] == ["cancer.html"]


def test_few_validation_rows_do_not_judge_alone(result: Result) -> None:
    facts = result.facts
    assert facts is not None
    assert result.rows["valid"] < ENOUGH
    assert facts.judged_by == "validation rows, by labels and teacher"
    # Its own doubt is part of what the teacher is held against; without a say it would have only its errors.
    assert facts.validation_losses["teacher"] > 0.05


def test_pareto_front_is_not_beaten(result: Result) -> None:
    assert 1 <= len(result.pareto) <= len(result.candidates)
    best = min(candidate.assessment.loss for candidate in result.candidates)
    assert result.pareto[0].assessment.loss == best


def test_same_seed_gives_the_same_content(result: Result) -> None:
    again = distil_cancer(False)
    assert again.card.content_hash == result.card.content_hash
    assert again.card.graph_hash == result.card.graph_hash
    assert distil_cancer(False, seed=1).card.graph_hash != result.card.graph_hash


def test_second_run_reuses_the_soft_targets_and_says_so(result: Result, cache: str) -> None:
    told = Told()
    again = distil_cancer(cache, progress=told)
    assert "reused the soft targets of 2 members, computed earlier" in told.notes
    assert again.card.content_hash == result.card.content_hash


def test_given_test_rows_are_never_learned_from() -> None:
    X, y = cancer()
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)
    run = potstill.distill(
        (X_train, y_train),
        test=(X_test, y_test),
        teachers=LogisticRegressionPipeline(),
        student=TREES,
        recipe=Recipe(cache=False, folds=2),
    )
    assert run.rows["test"] == len(X_test)
    assert run.rows["train"] + run.rows["valid"] == len(X_train)


def LogisticRegressionPipeline() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def test_fitted_teacher_is_used_and_its_leak_is_said() -> None:
    X, y = cancer()
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)
    teacher = ExtraTreesClassifier(50, random_state=0).fit(X_train, y_train)
    run = potstill.distill(
        (X_train, y_train),
        test=(X_test, y_test),
        unlabeled=X_test,
        teachers=[teacher],
        student=TREES,
        recipe=Recipe(cache=False),
    )
    assert any(
        note.startswith("For 100% of the training rows the soft targets are not out of fold")
        for note in run.notes
    )
    assert run.rows["unlabeled"] == len(X_test)
    scored = run.to_dict()["teacher"]["accuracy"]
    assert scored == pytest.approx((teacher.predict(X_test) == y_test).mean())


def test_table_of_probabilities_needs_no_teacher() -> None:
    X, y = load_wine(return_X_y=True, as_frame=True)
    table = pd.DataFrame(
        ExtraTreesClassifier(50, random_state=0).fit(X, y).predict_proba(X), columns=["0", "1", "2"]
    )
    run = potstill.distill(
        (X, y), teachers=table, student=GBDT(rounds=20, min_data_in_leaf=5), recipe=Recipe(cache=False)
    )
    assert "synthetic" not in run.card.lineage.transfer_rows
    assert run.to_dict()["teacher"]["accuracy"] == 1.0
    assert run.to_dict()["student"]["accuracy"] > 0.8


def test_numbers_with_gaps_are_sliced_by_ranges() -> None:
    X, y = cancer()
    gaps = X.mask(np.random.default_rng(0).random(X.shape) < 0.1)
    recipe = Recipe(cache=False, test_fraction=0.4)
    run = potstill.distill(
        (gaps, y), teachers=lambda rows: np.full((len(rows), 2), 0.5), student=TREES, recipe=recipe
    )
    assert run.facts is not None
    levels = [each.level for each in run.facts.evidence.slices if each.column in X.columns]
    assert levels
    assert all(" to " in level or level == "missing" for level in levels), levels


def test_keys_of_synthetic_rows_are_not_looked_up() -> None:
    """They have those of the rows they were made from, whose probabilities are not theirs."""
    X, y = load_wine(return_X_y=True, as_frame=True)
    table = pd.get_dummies(y).astype(float) * 0.7 + 0.1
    run = potstill.distill(
        (X.assign(sample=[f"s{at}" for at in range(len(X))]), y),
        teachers=SoftTargetTable(table.assign(sample=[f"s{at}" for at in range(len(X))]), key="sample"),
        student=GBDT(rounds=20, min_data_in_leaf=5),
        recipe=Recipe(cache=False, synthetic=2.0),
    )
    assert "synthetic" not in run.card.lineage.transfer_rows
    assert run.to_dict()["teacher"]["accuracy"] == 1.0


def test_labels_of_unlabelled_rows_are_never_learned_from() -> None:
    X, y = cancer()
    rows = X.assign(y=y)
    extra = rows.iloc[::2].assign(y=1 - y.iloc[::2])
    gaps = extra.assign(y=np.nan)
    files = [
        potstill.distill(
            rows,
            target="y",
            unlabeled=unlabeled,
            teachers=LogisticRegressionPipeline(),
            student=TREES,
            recipe=Recipe(cache=False, folds=2, synthetic=0.0),
        )
        for unlabeled in (extra, gaps, extra.drop(columns="y"))
    ]
    assert [run.rows["unlabeled"] for run in files] == [len(extra)] * 3
    assert len({run.card.content_hash for run in files}) == 1


class Slow:
    """A fitted teacher that remembers how many rows it was asked about at a time."""

    def __init__(self, seconds_a_row: float, *, fails: bool = False) -> None:
        self.seconds_a_row, self.fails, self.asked = seconds_a_row, fails, []  # type: ignore[var-annotated]

    def __call__(self, rows: Any) -> Any:
        self.asked.append(len(rows))
        time.sleep(self.seconds_a_row * len(rows))
        if self.fails:
            raise RuntimeError("away")
        return np.full((len(rows), 2), 0.5)


def test_a_slow_teacher_is_timed_on_few_rows_and_a_broken_one_is_left_out() -> None:
    slow = Slow(0.03)
    rows = (cancer()[0][::4], cancer()[1][::4])
    recipe = Recipe(cache=False, time_limit=20, synthetic=50.0)
    run = potstill.distill(rows, teachers=[slow, Slow(0.0, fails=True)], student=TREES, recipe=recipe)
    assert slow.asked[:2] == [10, 40]  # 1.2 s are enough
    assert run.rows.get("synthetic", 0) < 500
    assert any("away" in note for note in run.notes), run.notes


def test_regression_with_categories_dates_and_missing_values() -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    X = X.assign(
        sex=X["sex"].map({1.0: "f", 2.0: "m"}).where(X.index % 7 != 0, None).astype(object),
        bmi=X["bmi"].where(X.index % 5 != 0),
        seen=pd.Timestamp("2020-01-01") + pd.to_timedelta(X.index % 90, unit="D"),
    )
    numbers = ["age", "bp", "s5"]
    run = potstill.distill(
        (X, y),
        teachers=lambda rows: 3.0 * rows["s5"].to_numpy() * 10 + rows["bp"].to_numpy(),
        student=MLP(hidden=(16,), epochs=20),
        recipe=Recipe(cache=False, synthetic=2.0),
    )
    told = run.to_dict()
    assert told["task"] == "regression"
    assert {"r2", "rmse"} <= told["student"].keys()
    assert {"r2", "rmse"} == told["gap_recovered"].keys()
    row = {name: X.iloc[0][name] for name in X.columns} | {"sex": None, "bmi": None, "seen": None}
    assert np.isfinite(run.model.predict_one(row)["value"])
    assert set(numbers) < set(run.model.schema.names)


def test_explicit_student_is_taken_as_it_is() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    run = potstill.distill(
        (X[:, :20], y),
        teachers=ExtraTreesClassifier(20, random_state=0),
        student=MLP(hidden=(64, 32), numeric_embedding=None, epochs=15),
        recipe=Recipe(cache=False, folds=2, synthetic=1.0),
    )
    assert {candidate.student.size for candidate in run.candidates} == {1.0}
    assert {candidate.fitted.n_parameters for candidate in run.candidates} == {3490}


def test_impossible_budget_ships_the_closest_and_says_what_gives() -> None:
    run = distil_cancer(False, budget=Budget(size_kb=1.0))
    assert not any(candidate.fits_budget for candidate in run.candidates)
    assert any("No student keeps the budget" in note for note in run.notes)


def test_levels_that_no_student_can_shed_are_named() -> None:
    rng = np.random.default_rng(0)
    planes = rng.permutation([f"N{at:05d}" for at in range(400)] * 3)
    rows = pd.DataFrame({"x": rng.normal(size=1_200), "plane": planes, "day": ["even", "odd"] * 600})
    rows["y"] = np.where(rows["x"] > 0, "late", "in time")
    run = potstill.distill(
        rows,
        target="y",
        teachers=lambda told: np.where(told["x"] > 0, 0.9, 0.1),
        student=GBDT(rounds=5, leaves=4),
        budget=Budget(size_kb=5.0),
        recipe=Recipe(cache=False, folds=2, synthetic=0, test_fraction=0.0),
    )
    said = next(note for note in run.notes if note.startswith("No student keeps the budget."))
    assert said.endswith(
        " kB where 5 kB are allowed; loosen the budget, or let the student go without columns whose levels "
        "take much of it: 'plane' (about 8 kB)."
    )


def test_the_account_in_the_file_counts_as_its_bytes() -> None:
    student = MLP(hidden=(16,), numeric_embedding=None, epochs=5)  # as large fitted again as before
    for fraction in (0.2, 0.0):
        run = distil_cancer(False, student=student, recipe={"test_fraction": fraction})
        foreseen = {one.assessment.size_bytes for one in run.candidates}
        assert max(foreseen) - min(foreseen) < 200
        assert min(foreseen) - 800 < len(run.artifact) <= max(foreseen)


def test_no_test_rows_no_scores() -> None:
    run = distil_cancer(False, recipe={"test_fraction": 0.0})
    assert run.facts is None
    assert run.answers == {}
    with pytest.raises(UserError) as raised:
        run.report("never.html")
    assert str(raised.value) == (
        "There are no scores to report: no test rows were held out.\n\n"
        "hint: Give a test set, or a test_fraction above 0."
    )
    assert not Path("never.html").exists()


def test_default_ensemble_and_search_side_by_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("potstill.distillation.learn.MANY_EXAMPLES", 0)
    run = potstill.distill(
        cancer(),
        student=TREES,
        recipe=Recipe(cache=str(tmp_path), folds=2, teacher_time=1.0, synthetic=1.0, hard_label_weight=0.5),
    )
    told = run.to_dict()
    assert told["teacher"]["accuracy"] > 0.9
    assert told["student"]["accuracy"] > 0.9
    assert told["teacher"]["size_bytes"] > 0
    assert set(run.card.lineage.members) <= {place.member.name for place in ZOO}


def refusal(*args: Any, **given: Any) -> str:
    with pytest.raises(UserError) as raised:
        potstill.distill(*args, student=TREES, recipe=Recipe(cache=False), **given)
    return str(raised.value)


def test_labels_alone_are_no_distillation() -> None:
    recipe = Recipe(cache=False, synthetic=0.0, hard_label_weight=1.0)
    with pytest.raises(UserError, match="the teacher has no say"):
        potstill.distill(cancer(), teachers=LogisticRegressionPipeline(), student=TREES, recipe=recipe)


def test_without_synthetic_rows_students_are_told_more_than_labels() -> None:
    found = distil_cancer(False, recipe={"synthetic": 0.0})
    students = [one for one in found.candidates if one.role == "student"]
    assert students
    assert all(one.targets.hard_label_weight < 1.0 for one in students)


@pytest.mark.parametrize("n_rows", [170, 186])
def test_a_table_of_another_length_is_refused(n_rows: int) -> None:
    X, y = load_wine(return_X_y=True, as_frame=True)
    assert len(X) == 178
    table = pd.DataFrame(np.full((n_rows, 3), 1 / 3), columns=["0", "1", "2"])
    assert refusal((X, y), teachers=table) == (
        f"The table 'table' has {n_rows} rows and the training data 178: wanted one row for each, in the "
        "same order.\n\nhint: Was the table made from these data, before rows were dropped or shuffled? Rows "
        "in another order need a key column (--soft-targets-key)."
    )


def test_rows_without_a_target_count_for_the_order_of_a_table() -> None:
    X, y = load_wine(return_X_y=True, as_frame=True)
    probs = pd.get_dummies(y).astype(float) * 0.7 + 0.1
    gaps = y.astype(float).where(y.index % 10 != 9)
    run = potstill.distill((X, gaps), teachers=probs, student=TREES, recipe=Recipe(cache=False))
    assert run.to_dict()["teacher"]["accuracy"] == 1.0
    assert run.notes[0] == "Left out 17 of 178 rows: their target is missing."


def test_an_error_says_which_rows_it_means() -> None:
    X, y = cancer()
    other = (X.drop(columns="mean area"), y)
    said = (
        "rows cannot be used. Wanted the columns of the training data, but 'mean area' is not there; the "
        "columns are "
    )
    assert refusal((X, y), test=other).startswith(f"The test {said}")
    assert refusal((X, y), unlabeled=other[0]).startswith(f"The unlabeled {said}")


def test_measuring_on_the_training_rows_is_said() -> None:
    X, y = load_wine(return_X_y=True, as_frame=True)
    probs = pd.get_dummies(y).astype(float) * 0.7 + 0.1
    run = potstill.distill((X, y), test=(X, y), teachers=probs, student=TREES, recipe=Recipe(cache=False))
    assert run.notes[0] == (
        "The test rows are the training rows: everybody has learned from what is measured, so the scores "
        "flatter all of them. Give rows that are not in the training data, or no test file."
    )


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_no_library_takes(seed: int) -> None:
    assert refusal(cancer(), seed=seed) == (
        f"Wanted a seed from 0 to 4,294,967,295, got {seed:,}.\n\nhint: 0 is as good as any."
    )
