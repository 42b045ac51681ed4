from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import UserError
from potstill.teachers.classes import match
from potstill.types import Label, Task


def task(*classes: Label) -> Task:
    return Task("binary" if len(classes) == 2 else "multiclass", "income", classes)


@pytest.mark.parametrize(
    ("labels", "classes", "positions"),
    [
        (np.array(["hi", "lo"]), ("hi", "lo"), [0, 1]),
        (["lo", "hi"], ("hi", "lo"), [1, 0]),
        (np.array([0, 1]), (0, 1), [0, 1]),
        (np.array([0.0, 1.0]), (0, 1), [0, 1]),
        (np.array([False, True]), (0, 1), [0, 1]),
        (np.array([0, 1]), (False, True), [0, 1]),
        (["False", "True"], (False, True), [0, 1]),
        (["2", "10"], (2, 10), [0, 1]),
        (np.array([2, 10]), ("10", "2"), [1, 0]),
        (np.array([0, 1]), ("1", "0"), [1, 0]),
        (["b"], ("a", "b", "c"), [1]),
    ],
)
def test_finds_the_class_behind_a_label(
    labels: object, classes: tuple[Label, ...], positions: list[int]
) -> None:
    assert match(labels, task(*classes), "old").tolist() == positions  # type: ignore[arg-type]


def test_encoded_labels_are_sorted_classes_and_that_is_said() -> None:
    with pytest.warns(UserWarning, match="the numbers") as caught:
        assert match(np.array([0, 1, 2]), task("a", "b", "c"), "old").tolist() == [0, 1, 2]
    assert str(caught[0].message) == (
        "Teacher 'old' answers with the numbers 0 to 2; they are taken as the sorted classes of 'income': "
        "0 = 'a', 1 = 'b', 2 = 'c'."
    )


@pytest.mark.parametrize(
    ("labels", "classes", "strange"),
    [
        ([0, 1], ("a", "b", "c"), "0, 1"),
        ([1, 0], ("a", "b"), "1, 0"),
        ([1, 2], ("a", "b"), "1, 2"),
        (["a", "z"], ("a", "b"), "'z'"),
        ([-1, 1], (0, 1), "-1"),
    ],
)
def test_refuses_labels_that_are_no_class(
    labels: list[Label], classes: tuple[Label, ...], strange: str
) -> None:
    with pytest.raises(UserError) as caught:
        match(labels, task(*classes), "old")
    shown = ", ".join(repr(label) for label in classes)
    assert caught.value.message == (
        f"Teacher 'old' answers with {strange}, no class of 'income': wanted classes among {shown}."
    )


@given(st.lists(st.one_of(st.integers(), st.text()), min_size=2, max_size=6, unique_by=str), st.randoms())
def test_any_order_of_the_classes_is_found_again(classes: list[Label], random: object) -> None:
    shuffled = list(classes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    positions = match(shuffled, task(*classes), "old")
    assert [classes[position] for position in positions] == shuffled
