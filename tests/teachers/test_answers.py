from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from potstill.errors import UserError
from potstill.teachers.answers import checked, sigmoid, softmax, speaking_for
from potstill.types import Task

BINARY = Task("binary", "y", ("no", "yes"))
THREE = Task("multiclass", "y", ("a", "b", "c"))
VALUE = Task("regression", "y")


def refusal(values: object, task: Task = THREE, n_rows: int = 2, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        checked(values, task=task, n_rows=n_rows, teacher="old", **options)  # type: ignore[arg-type]
    return caught.value.message


def test_keeps_good_probabilities_as_they_are() -> None:
    probs = np.array([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]], dtype=np.float32)
    answers = checked(probs, task=THREE, n_rows=2, teacher="old")
    assert answers.dtype == np.float32
    assert np.array_equal(answers, probs)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_one_number_is_the_second_of_two_classes(shape: tuple[int, ...]) -> None:
    answers = checked(np.array([0.25, 1.0]).reshape(shape), task=BINARY, n_rows=2, teacher="old")
    assert answers.tolist() == [[0.75, 0.25], [0.0, 1.0]]


def test_small_drift_is_repaired() -> None:
    answers = checked([[-0.0005, 0.5, 0.5004], [0.3, 0.3, 0.4]], task=THREE, n_rows=2, teacher="old")
    assert answers.min() == 0.0
    assert np.allclose(answers.sum(axis=1), 1.0, atol=1e-7)


def test_labels_put_columns_in_their_place_and_absent_classes_get_nothing() -> None:
    answers = checked([[0.9, 0.1], [0.2, 0.8]], task=THREE, n_rows=2, teacher="old", labels=["c", "a"])
    assert np.allclose(answers, [[0.1, 0.0, 0.9], [0.8, 0.0, 0.2]])


def test_a_teacher_that_saw_one_class_says_that_class() -> None:
    answers = checked([[1.0], [1.0]], task=THREE, n_rows=2, teacher="old", labels=["b"])
    assert answers.tolist() == [[0, 1, 0], [0, 1, 0]]


def test_missing_rows_stay_missing_only_where_they_may() -> None:
    values = [[np.nan, np.nan], [0.5, 0.5]]
    answers = checked(values, task=THREE, n_rows=2, teacher="old", labels=["a", "b"], allow_missing=True)
    assert np.isnan(answers[0]).all()
    assert answers[1].tolist() == [0.5, 0.5, 0.0]
    assert refusal(values, BINARY) == (
        "Teacher 'old': wanted finite answers, got [nan, nan] in row 0 (1 of 2 rows are like that)."
    )


def test_regression_takes_flat_and_column_values() -> None:
    for values in ([1.5, -2.0], [[1.5], [-2.0]]):
        assert checked(values, task=VALUE, n_rows=2, teacher="old").tolist() == [[1.5], [-2.0]]


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        (
            np.zeros((3, 3)),
            THREE,
            "Teacher 'old': wanted probabilities of shape (2, 3): a row each and a column for each class, "
            "got an array of shape (3, 3).",
        ),
        (
            np.zeros((2, 2)),
            VALUE,
            "Teacher 'old': wanted one value for each of 2 rows, got an array of shape (2, 2).",
        ),
        (
            [[0.5, 0.5, 0.0], [3.0, -2.0, 0.0]],
            THREE,
            "Teacher 'old': wanted probabilities between 0 and 1, got [3.0, -2.0, 0.0] in row 1 "
            "(1 of 2 rows are like that).",
        ),
        (
            [[0.5, 0.2, 0.1], [0.5, 0.2, 0.3]],
            THREE,
            "Teacher 'old': wanted probabilities that sum to 1 in every row, got the sum 0.8 in row 0 "
            "(1 of 2 rows are like that).",
        ),
        (
            [1e39, 0.0],
            VALUE,
            "Teacher 'old': wanted finite answers, got [1e+39] in row 0 (1 of 2 rows are like that).",
        ),
    ],
)
def test_refuses_what_is_no_answer(values: object, task: Task, message: str) -> None:
    assert refusal(values, task) == message


def test_refuses_text() -> None:
    assert refusal([["a", "b", "c"]]).startswith("Teacher 'old': wanted an array of numbers, got list (")


@given(arrays(np.float64, (5, 3), elements=st.floats(-700, 700)))
def test_softmax_is_a_distribution_and_the_sigmoid_its_two_class_case(logits: np.ndarray) -> None:
    probs = checked(softmax(logits), task=THREE, n_rows=5, teacher="old")
    assert np.allclose(probs.sum(axis=1), 1.0, atol=1e-6)
    pair = np.column_stack([np.zeros(5), logits[:, 0]])
    assert np.allclose(softmax(pair)[:, 1], sigmoid(logits[:, 0]), atol=1e-12)


def test_foreign_errors_become_sentences_and_own_errors_pass() -> None:
    with pytest.raises(UserError) as caught, speaking_for("old", "answer the rows", hint="Look."):
        raise KeyError("age")
    assert str(caught.value) == "Teacher 'old' could not answer the rows: KeyError: 'age'\n\nhint: Look."
    with pytest.raises(UserError) as caught, speaking_for("old", "answer the rows"):
        raise UserError("Mine.")
    assert str(caught.value) == "Mine."
