"""One row at a time says what the whole table says, whatever came before it."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from potstill.artifact import feeds, load, one_row
from potstill.artifact.interned import InternedTexts
from potstill.errors import UserError

JOBS = ["Sales", "never seen", None, "café", "", "3", 3, b"Sales", "Sales\0", "sales", "neither"]


@pytest.fixture(name="model")
def _model(binary):
    return load(binary)


def table_says(model, rows):
    return [dict(zip(model.classes, answer, strict=True)) for answer in model.predict_proba(rows).tolist()]


def test_known_and_unknown_categories_in_any_order(model, rows):
    asked = [rows[0] | {"job": job} for pair in itertools.product(JOBS, JOBS) for job in pair]
    assert [model.predict_one(row)["probabilities"] for row in asked] == table_says(model, asked)


def test_a_level_that_is_not_kept_is_answered_the_same(binary, rows, monkeypatch):
    monkeypatch.setattr(one_row, "_KEPT_LEVELS", 1)
    model = load(binary)
    asked = [rows[0] | {"job": job} for job in JOBS * 2]
    assert [model.predict_one(row)["probabilities"] for row in asked] == table_says(model, asked)


def test_inputs_and_outputs_of_one_row_are_those_of_a_table(model, rows):
    for row in (rows[0] | {"job": job} for job in JOBS):
        (noted, answer), table = model.note_one(row), feeds([row], model.schema)
        one = model.noted_feeds([noted])
        assert answer.tolist() == model.outputs(table).tolist()
        assert {name: (values.dtype, values.tolist()) for name, values in one.items()} == {
            name: (values.dtype, values.tolist()) for name, values in table.items()
        }


def test_what_was_noted_stays(model, rows):
    noted = [model.note_one(row) for row in rows]
    table = feeds(rows, model.schema)
    answers = [outputs.tolist()[0] for _, outputs in noted]
    np.testing.assert_allclose(answers, model.outputs(table), atol=1e-6)
    inputs = model.noted_feeds([one for one, _ in noted])
    assert {name: (values.dtype, values.shape) for name, values in inputs.items()} == {
        name: (values.dtype, values.shape) for name, values in table.items()
    }
    assert [str(values) for values in inputs.values()] == [str(table[name]) for name in inputs]


def test_rows_asked_about_together_are_answered_as_a_table(model, rows):
    table = feeds(rows, model.schema)
    inputs, outputs = model.note_together(rows)
    assert outputs.shape == (len(rows), model.task.n_outputs)
    np.testing.assert_allclose(outputs, model.outputs(table), atol=1e-6)
    assert [str(values) for values in inputs.values()] == [str(table[name]) for name in inputs]
    with pytest.raises(UserError):
        model.note_together([*rows, {}])


def test_a_refused_row_leaves_nothing_for_the_next(model, rows):
    expected = [model.predict_one(row) for row in rows]
    for row, answer in zip(rows, expected, strict=True):
        with pytest.raises(UserError):
            model.predict_one(row | {"age": 77, "job": "Sales", "hours": "many"})
        with pytest.raises(UserError):
            model.predict_one({"age": 77, "job": "Sales"})
        assert model.predict_one(row) == answer


def test_a_row_that_asks_the_model_while_it_is_read(model, rows):
    class Chained(dict):
        def __getitem__(self, name):
            if name == "since":
                model.predict_one(rows[1])
            return super().__getitem__(name)

    assert model.predict_one(Chained(rows[0])) == model.predict_one(rows[0])


def test_eight_threads_of_a_fresh_model_answer_right(binary, rows):
    expected = table_says(load(binary), rows)
    model = load(binary)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda at: model.predict_one(rows[at % 24])["probabilities"], range(4000)))
    assert answers == [expected[at % 24] for at in range(4000)]


def test_tensors_hold_the_texts_they_are_asked_for():
    texts = {"", "a", "ä€😀", "nul\0inside", "x" * 70_000, "\n"}
    interned = InternedTexts(texts)
    assert {text: interned.tensor(text).numpy().tolist() for text in texts} == {
        text: [text] for text in texts
    }
    assert interned.tensor("b") is None
    assert interned.tensor("a") is interned.tensor("a")
