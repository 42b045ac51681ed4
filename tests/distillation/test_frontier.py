"""The Pareto set as a folder, and another point picked from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier

import potstill
from potstill import Budget, Recipe, Result, UserError
from potstill.students import GBDT
from potstill.training.candidates import ranked


@pytest.fixture(scope="module")
def result() -> Result:
    return potstill.distill(
        load_breast_cancer(return_X_y=True, as_frame=True),
        teachers=ExtraTreesClassifier(30, random_state=0),
        student=GBDT(rounds=20, leaves=7, min_data_in_leaf=5),
        budget=Budget(size_kb=1024),
        recipe=Recipe(cache=False, folds=2),
    )


def test_a_candidate_is_picked_by_its_place(result: Result) -> None:
    ordered = ranked(result.candidates)
    number = len(ordered)
    picked = result.pick(number)
    chosen = [one for one in picked.facts.candidates if one.chosen] if picked.facts else []
    assert [one.loss for one in chosen] == [ordered[-1].assessment.loss]
    assert picked.card.shipped == ("twin" if ordered[-1].is_twin else "student")
    assert picked.candidates == result.candidates
    assert picked.pick(1).card.content_hash == result.pick(1).card.content_hash


def test_another_budget_chooses_again(result: Result) -> None:
    smallest = min(result.candidates, key=lambda one: one.assessment.size_bytes)
    other = result.within(Budget(size_kb=smallest.assessment.size_bytes / 1000))
    assert [one.assessment for one in other.candidates if one.fits_budget] == [smallest.assessment]
    assert other.facts is not None
    assert [one.loss for one in other.facts.candidates if one.chosen] == [smallest.assessment.loss]
    assert len(other.artifact) <= smallest.assessment.size_bytes


def test_memory_is_measured_where_only_the_other_budget_limits_it(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {one.assessment.memory_bytes for one in result.candidates} == {None}
    monkeypatch.setattr("potstill.distillation.learn.measure_memory", len)
    smallest = min(one.assessment.size_bytes for one in result.candidates)
    other = result.within(Budget(memory_mb=1.001 * smallest / 1e6))
    assert [one.assessment.size_bytes for one in other.candidates if one.fits_budget] == [smallest]
    assert other.facts is not None
    assert [one.size_bytes for one in other.facts.candidates if one.chosen] == [smallest]


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (
            Budget(max_columns=29),
            "The candidates see 30 columns; none keeps a budget of 29.\n\n"
            "hint: Run again with max_columns in the budget: columns are picked before the search.",
        ),
        (
            Budget(opset=17),
            "The candidates were measured in ONNX operator set 21; in 17 they have other sizes and speeds."
            "\n\nhint: Run again with this opset in the budget.",
        ),
    ],
)
def test_a_limit_that_cannot_be_kept_afterwards_is_refused(result: Result, budget: Budget, said: str) -> None:
    with pytest.raises(UserError) as raised:
        result.within(budget)
    assert str(raised.value) == said


def test_limits_that_all_candidates_keep_are_no_obstacle(result: Result) -> None:
    other = result.within(Budget(max_columns=30, opset=21))
    assert other.card.content_hash == result.card.content_hash


@pytest.mark.parametrize("number", [0, 1000])
def test_a_number_that_no_candidate_has_is_refused(result: Result, number: int) -> None:
    with pytest.raises(UserError) as raised:
        result.pick(number)
    assert raised.value.message == (
        f"Wanted candidate number {number}, but the search tried {len(result.candidates)}, numbered from 1."
    )


def test_the_folder_holds_each_point_and_what_it_is_worth(result: Result, tmp_path: Path) -> None:
    folder = tmp_path / "points"
    points = result.frontier(folder)
    assert [each.loss for each in points] == [one.assessment.loss for one in result.pareto]
    for each in points:
        assert potstill.load(folder / each.file, verify=True).task.classes == (0, 1)
        assert (folder / each.file).stat().st_size == each.size_bytes
    listed = json.loads((folder / "frontier.json").read_text())
    assert [each["number"] for each in listed] == [each.number for each in points]
    assert sum(each["chosen"] for each in listed) == sum(
        one.assessment.loss == result.pareto[0].assessment.loss for one in result.pareto
    )
    (folder / points[0].file).write_bytes(b"old")
    result.pick(1).frontier(folder)
    assert potstill.load(folder / points[0].file)


def test_somebody_elses_folder_is_left_alone(result: Result, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(UserError) as raised:
        result.frontier(tmp_path)
    assert raised.value.message == (
        f"The folder {tmp_path} holds files that are no Pareto points of an earlier run."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
