"""The clock of a run."""

from __future__ import annotations

import pytest

from potstill.distillation import clock as module
from potstill.distillation.clock import Clock


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    moved = Hand()
    monkeypatch.setattr(module.time, "monotonic", moved)
    monkeypatch.setattr(module.time, "perf_counter", moved)
    return moved


def test_without_a_limit_nobody_is_hurried(hand: Hand) -> None:
    clock = Clock()
    hand.now_s += 1e6
    assert clock.teacher_s() is None
    assert clock.student_s() is None


@pytest.mark.parametrize(
    ("limit_s", "gone_s", "teacher_s", "student_s"),
    [
        (1000.0, 0.0, 400.0, 940.0),
        (1000.0, 300.0, 100.0, 640.0),
        (20.0, 0.0, 8.0, 14.0),
        (20.0, 9.0, 1.0, 5.0),
        (20.0, 30.0, 1.0, 3.0),
        (2.0, 30.0, 1.0, 1.0),
    ],
)
def test_shares_of_a_limit(
    hand: Hand, limit_s: float, gone_s: float, teacher_s: float, student_s: float
) -> None:
    clock = Clock(limit_s)
    hand.now_s += gone_s
    assert clock.teacher_s() == pytest.approx(teacher_s)
    assert clock.student_s() == pytest.approx(student_s)
    assert clock.teacher_s(0.4) == clock.teacher_s()
    assert clock.teacher_s(0.5) == pytest.approx(max(1.0, 0.5 * limit_s - gone_s))


def test_stages_add_up_also_when_they_fail(hand: Hand) -> None:
    spent = {"teacher": 5.0}
    clock = Clock(spent=spent)
    for name, taken in (("student", 2.0), ("teacher", 1.0)):
        with clock.stage(name):
            hand.now_s += taken
    with pytest.raises(KeyError), clock.stage("student"):  # noqa: PT012
        hand.now_s += 4.0
        raise KeyError
    assert clock.seconds == {"teacher": 6.0, "student": 6.0}
    assert spent == {"teacher": 5.0}
