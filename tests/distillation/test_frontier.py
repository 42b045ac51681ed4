"""The Pareto set as a folder, and another point picked from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill import UserError
from potstill.artifact import Card, Softmax
from potstill.distillation import Result
from potstill.objectives import KD
from potstill.students import STUDENTS
from potstill.training.examples import Targets
from potstill.training.search import Assessment, Candidate
from potstill.types import Latency, Schema, Task


def candidate(loss: float, size_bytes: int, latency_us: float) -> Candidate:
    fitted: Any = None
    assessment = Assessment(loss, 1.0, size_bytes, Latency(latency_us, 2 * latency_us))
    targets = Targets(hard_label_weight=0.5, real="in_sample")
    return Candidate(STUDENTS["mlp"]().resized(loss * 10), targets, KD(), fitted, 1, assessment, True)


def made(number: int, candidates: tuple[Candidate, ...], **more: Any) -> Result:
    task = Task("binary", "y", ("no", "yes"))
    card = Card(name=f"point {number}", task=task, schema=Schema(()), calibration=Softmax())
    given: dict[str, Any] = {"facts": None, "rows": {}, "seconds": {}, "notes": (), **more}
    return Result(artifact=b"%d" % number, card=card, candidates=candidates, **given)


@pytest.fixture
def result() -> Result:
    candidates = (
        candidate(0.5, 10, 10.0),
        candidate(0.2, 1000, 30.0),
        candidate(0.6, 1000, 30.0),
        candidate(0.3, 100, 20.0),
    )
    return made(2, candidates, picker=lambda number: made(number, candidates))


def test_points_are_numbered_from_the_smallest_loss(result: Result) -> None:
    assert [each.assessment.loss for each in result.pareto] == [0.2, 0.3, 0.5]
    assert result.pick(3).artifact == b"3"


@pytest.mark.parametrize("number", [0, 4])
def test_a_number_that_no_point_has_is_refused(result: Result, number: int) -> None:
    with pytest.raises(UserError) as raised:
        result.pick(number)
    assert raised.value.message == f"Wanted the number of a Pareto point, 1 to 3, got {number}."


def test_the_folder_holds_each_point_and_what_it_is_worth(result: Result, tmp_path: Path) -> None:
    folder = tmp_path / "points"
    points = result.frontier(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["1.onnx", "2.onnx", "3.onnx", "frontier.json"]
    assert [(folder / each.file).read_bytes() for each in points] == [b"1", b"2", b"3"]
    listed = json.loads((folder / "frontier.json").read_text())
    assert [(each["number"], each["loss"], each["chosen"]) for each in listed] == [
        (1, 0.2, False),
        (2, 0.3, True),
        (3, 0.5, False),
    ]
    assert listed[0]["name"] == "mlp ×2, 0.5 label, in sample, synthetic"


def test_a_shorter_set_leaves_nothing_of_a_longer_one(result: Result, tmp_path: Path) -> None:
    folder = tmp_path / "points"
    result.frontier(folder)
    alone = (candidate(0.1, 1, 1.0),)
    made(1, alone, picker=lambda number: made(number, alone)).frontier(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["1.onnx", "frontier.json"]


def test_somebody_elses_folder_is_left_alone(result: Result, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(UserError) as raised:
        result.frontier(tmp_path)
    assert raised.value.message == (
        f"The folder {tmp_path} holds files that are no Pareto points of an earlier run."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
