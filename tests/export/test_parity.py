"""A graph that answers otherwise than the student is found, whatever rows it takes to see it."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import msgspec
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from potstill.artifact import Affine, Softmax, feeds
from potstill.data import load_dataset
from potstill.errors import ParityFailed
from potstill.export import check_parity, compose, graph_inputs
from potstill.export.perturb import perturbed
from potstill.modalities import TabularEncoder
from potstill.objectives import KD, MSE
from potstill.students.gbdt import GBDT
from potstill.students.mlp import MLP
from potstill.types import Column, Examples, Schema, Task

REPORT = (
    "\n\nhint: This is a fault in potstill, not in your data: "
    "please report it with the schema and the versions."
)


@pytest.fixture
def check(encoder, card, real_rows):
    def check(student, *, graph_student=None, calibration=card.calibration, task=card.task, rows=real_rows):
        model = compose(encoder, graph_student or student, calibration, task=task)
        return check_parity(model, encoder, student, calibration, rows, schema=card.schema)

    return check


def test_a_faithful_graph_passes(check, make_student):
    report = check(make_student())
    assert report.n_rows > 300
    assert report.max_difference < 1e-6


def test_differences_of_values_are_in_units_of_the_spread(check, make_student):
    report = check(make_student(1), calibration=Affine(1e6, 3e6), task=Task("regression", "y"))
    assert report.max_difference < 1e-6


def test_one_row_is_enough(check, make_student, real_rows):
    assert check(make_student(), rows=real_rows[:1, :]).n_rows > 300


def test_a_drift_is_found_on_the_first_real_row(check, make_student):
    with pytest.raises(
        ParityFailed, match=r"^The exported graph and the trained student disagree on "
    ) as error:
        check(make_student(), graph_student=make_student(drift=0.01))
    assert "first on real row " in error.value.message
    assert str(error.value).endswith(REPORT)


def test_a_threshold_one_float_off_is_found_by_its_tie(check, make_student):
    just_below = float(np.nextafter(np.float32(2.6), np.float32(-np.inf)))
    with pytest.raises(ParityFailed) as error:
        check(make_student(edge=2.6), graph_student=make_student(edge=2.6, graph_edge=just_below))
    assert "rows, first on column 'value' = 2.59999990463" in error.value.message


def test_an_answer_that_is_no_number_is_found(check, make_student):
    student = make_student()
    levels = student.levels.copy()
    levels[0] = np.nan  # both halves agree that an unseen level gives NaN
    with pytest.raises(ParityFailed, match=r"\[nan, nan, nan\] against \[nan, nan, nan\]"):
        check(replace(student, levels=levels))


def test_another_calibration_than_composed_is_found(encoder, card, make_student, real_rows):
    student = make_student()
    model = compose(encoder, student, Softmax(2.0), task=card.task)
    with pytest.raises(ParityFailed):
        check_parity(model, encoder, student, Softmax(2.1), real_rows, schema=card.schema)


def test_every_oddity_is_among_the_rows(card, real_rows):
    real = graph_inputs(real_rows, card.schema)
    made_up = perturbed(real, card.schema, ties={"value": np.array([2.5], np.float32)})
    values = made_up.rows["value"].to_numpy()
    largest = np.finfo(np.float32).max
    below, above = np.nextafter(np.float32(2.5), np.float32([-np.inf, np.inf]))
    for odd in (np.inf, -np.inf, largest, -largest, 2.5, below, above):
        assert odd in values
    assert np.isnan(values).any()
    assert made_up.rows["value"].null_count()
    labels = set(made_up.rows["label"].to_list())
    assert {None, "", "a", "c", "rare", "never seen in training", "A", "a\0"} <= labels
    assert {None, True, False} == set(made_up.rows["flag"].to_list())
    years = {day.year for day in made_up.rows["day"].to_list() if day is not None}
    assert {1, 1970, 9999} <= years
    assert len(made_up.rows) == len(made_up.what)


def odd_frames():
    columns = {
        "n": [3, None, -7, 2**40 + 1],
        "c": ["3", None, "é", ""],
        "i": [3, None, 4, 3],
        "f": [0.1, float("nan"), 3.0, float("inf")],
        "b": [True, None, False, True],
        "d": [datetime(2024, 5, 31, 12, 30, 0, 123456), None, datetime(1905, 2, 3), datetime(2200, 1, 1)],
    }
    frame = pl.DataFrame(columns, strict=False)
    pandas = frame.to_pandas()
    nullable = pandas.astype({"n": "Int64", "i": "Int64", "b": "boolean", "c": "string"})
    zoned = frame.with_columns(pl.col("d").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Kolkata"))
    return {
        "polars": frame,
        "polars categorical": frame.with_columns(pl.col("c").cast(pl.Categorical)),
        "polars float32": frame.with_columns(pl.col("f").cast(pl.Float32)),
        "polars zoned": zoned,
        "pandas": pandas,
        "pandas nullable": nullable,
        "pandas categories": nullable.astype({"c": "category", "i": "category"}),
        "pandas zoned": pandas.assign(d=pandas["d"].dt.tz_localize("UTC").dt.tz_convert("America/St_Johns")),
        "pandas arrow": frame.to_arrow().to_pandas(types_mapper=pd.ArrowDtype),
        "arrow": frame.to_arrow(),
        "arrow dictionary": frame.with_columns(pl.col("c").cast(pl.Categorical)).to_arrow(),
    }


KINDS = Schema(
    (
        Column("n", "numeric"),
        Column("c", "categorical", levels=("3", "é")),
        Column("i", "categorical", levels=("3", "4")),
        Column("f", "numeric"),
        Column("b", "boolean"),
        Column("d", "date"),
    )
)
AS_CATEGORIES = Schema(tuple(Column(name, "categorical") for name in "ncifb"))


@pytest.mark.parametrize("schema", [KINDS, AS_CATEGORIES], ids=["by kind", "all categories"])
@pytest.mark.parametrize("frame", odd_frames().items(), ids=lambda item: item[0])
def test_serving_reads_awkward_frames_as_training_does(frame, schema):
    rows = frame[1]
    trained = graph_inputs(nw.from_native(rows, eager_only=True), schema)
    served = feeds(rows, schema)
    for name, expected in trained.items():
        assert served[name].dtype == expected.dtype
        np.testing.assert_array_equal(served[name], expected, err_msg=name)


@pytest.mark.parametrize(
    ("load", "student", "effort"),
    [
        (load_breast_cancer, GBDT(), 20),
        (load_wine, GBDT(), 20),
        (load_diabetes, GBDT(), 20),
        (load_wine, MLP(hidden=(16,)), 2),
        (load_diabetes, MLP(hidden=(16,)), 2),
    ],
)
def test_real_students_on_real_rows(load, student, effort):
    loaded = load_dataset(load(return_X_y=True)).dataset
    encoder = TabularEncoder.fit(loaded)
    task = loaded.task
    labels, calibration = loaded.labels, Softmax(1.25)
    if task.is_classification:
        targets = np.eye(task.n_outputs, dtype=np.float32)[labels] * 0.9 + 0.1 / task.n_outputs
        objective = KD()
    else:
        calibration = Affine(float(labels.std()), float(labels.mean()))
        labels = (labels - calibration.shift) / calibration.scale
        targets = labels[:, None].astype(np.float32)
        objective = MSE()
    ones = np.ones(len(loaded), dtype=np.float32)
    examples = Examples(encoder.encode(loaded.rows), targets, labels, ones / 2, ones)
    fitted, _ = student.fit(
        examples, None, spec=encoder.spec, task=task, objective=objective, seed=0, effort=effort
    )
    model = compose(encoder, fitted, calibration, task=task)
    report = check_parity(model, encoder, fitted, calibration, loaded.rows, schema=loaded.schema)
    assert report.max_difference < 5e-6


def test_report_is_json():
    from potstill.export import ParityReport

    assert msgspec.json.decode(msgspec.json.encode(ParityReport(3, 0.5))) == {
        "n_rows": 3,
        "max_difference": 0.5,
    }


@pytest.mark.skipif("POTSTILL_DATA" not in os.environ, reason="POTSTILL_DATA names no folder of tables")
@pytest.mark.parametrize("name", ["adult", "sick", "nyc_flights", "ames_housing"])
def test_serving_reads_real_tables_as_training_does(name):
    table = pl.read_parquet(Path(os.environ["POTSTILL_DATA"]) / f"{name}.parquet").drop("split").head(2000)
    loaded = load_dataset(table, target="target").dataset
    trained = graph_inputs(loaded.rows, loaded.schema)
    pandas = table.to_pandas()
    for rows in (table, table.to_arrow(), pandas, pandas.astype(object), table.to_dicts()):
        served = feeds(rows, loaded.schema)
        for column, expected in trained.items():
            np.testing.assert_array_equal(served[column], expected, err_msg=column)
