"""The C file answers as the artifact does: real rows, missing values, unseen categories."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_wine

from potstill.artifact import Affine, Card, Model, Softmax, load
from potstill.artifact.columns import feeds
from potstill.data import load_dataset
from potstill.errors import UserError
from potstill.export import artifact_bytes, compose
from potstill.export.c99 import write_c
from potstill.export.c99.loops import comment, literal, quoted
from potstill.export.c99.source import identifier
from potstill.modalities import TabularEncoder
from potstill.objectives import KD, MSE
from potstill.students import GBDT, MLP, Additive, TabM
from potstill.types import Examples, Floats

STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O1")
C_TYPES = {
    "numeric": ctypes.c_float,
    "boolean": ctypes.c_float,
    "categorical": ctypes.c_char_p,
    "date": ctypes.c_double,
}
STUDENTS = {
    "gbdt": GBDT(leaves=7),
    "additive": Additive(),
    "mlp": MLP(hidden=(16, 8)),
    "tabm": TabM(hidden=(16,), heads=3, kept=2),
    "mlp float16": MLP(hidden=(32, 16), weights="float16"),
    "mlp int8": MLP(hidden=(32, 16), weights="int8"),
    "tabm int8": TabM(hidden=(32, 16), heads=8, kept=4, weights="int8"),
}
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


def table(kind: str) -> tuple[pd.DataFrame, str]:
    """A real table with a category, a flag and a date made of its columns, and holes in all of them."""
    frame = (load_wine if kind == "multiclass" else load_diabetes)(as_frame=True).frame.copy()
    first, second, third = frame.columns[:3]
    names = np.array(["low", 'mid "é" */ ??/', "high\\"], dtype=object)
    frame["région"] = names[pd.qcut(frame[first], 3, labels=False)]
    frame["flag"] = (frame[second] > frame[second].median()).astype("boolean")
    frame["int"] = [datetime(2020, 1, 1, 6) + timedelta(hours=7 * row) for row in range(len(frame))]
    for place, column in enumerate([first, third, "région", "flag", "int"]):
        frame.loc[frame.index % 11 == place, column] = None
    return frame.drop(columns=second), "target"


def artifact(student: Any, kind: str, *, opset: int | None = None) -> tuple[bytes, pd.DataFrame]:
    frame, target = table(kind)
    dataset = load_dataset(frame, target=target, kinds={}).dataset
    encoder = TabularEncoder.fit(dataset)
    tensors, n_rows = encoder.encode(dataset.rows), len(dataset)
    labels = dataset.labels
    assert labels is not None
    if kind == "multiclass":
        taught = np.eye(dataset.task.n_outputs, dtype=np.float32)[labels]
    else:
        labels = (labels - labels.mean()) / labels.std()
        taught = labels[:, None].astype(np.float32)
    ones = np.ones(n_rows, dtype=np.float32)
    fitted, _ = student.fit(
        Examples(tensors, taught, labels, ones, ones),
        None,
        spec=encoder.spec,
        task=dataset.task,
        objective=KD() if kind == "multiclass" else MSE(),
        seed=0,
        effort=8,
    )
    calibration = Softmax(1.5) if kind == "multiclass" else Affine(77.0, 152.0)
    graph = compose(encoder, fitted, calibration, task=dataset.task, opset=opset)
    card = Card(name="wine */ test", task=dataset.task, schema=dataset.schema, calibration=calibration)
    return artifact_bytes(graph, card, dataset.rows), frame.drop(columns=target)


def compiled(data: bytes, folder: Path) -> Any:
    """Rows of inputs to answers, by the C file."""
    model = load(data)
    source, _ = write_c(data, model.card, name="model")
    (folder / "model.c").write_text(source, encoding="utf-8")
    arguments = ["gcc", *STRICT, "-shared", "-fPIC", "-o", "model.so", "model.c", "-lm"]
    made = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    library = ctypes.CDLL(str(folder / "model.so"))

    class Row(ctypes.Structure):
        _fields_ = [(f"f{at}", C_TYPES[each.kind]) for at, each in enumerate(model.schema.columns)]

    def answer(inputs: dict[str, Any], *, null: bool = False) -> Floats:
        output = (ctypes.c_float * model.task.n_outputs)()
        answers = []
        for row in zip(*(inputs[name].tolist() for name in model.schema.names), strict=True):
            values = [
                ((value.encode() or (None if null else b"")) if isinstance(value, str) else value)
                for value in row
            ]
            library.model_predict(ctypes.byref(Row(*values)), output)
            answers.append(list(output))
        return np.array(answers, dtype=np.float32)

    return answer


def check(data: bytes, rows: Any, folder: Path) -> None:
    model: Model = load(data)
    answer = compiled(data, folder)
    inputs = feeds(rows, model.schema)
    wanted = model.outputs(inputs)
    assert np.ptp(wanted, axis=0).max() > 0.01
    unit = 1.0 if model.task.is_classification else 100.0
    np.testing.assert_allclose(answer(inputs), wanted, atol=2e-6 * unit, rtol=1e-5)
    for number in (math.nan, math.inf, -math.inf, 0.0, 3e38, -3e38):
        for text in ("", "never seen", "high\\", "é"):
            hostile = {
                name: np.array([text], dtype=object)
                if values.dtype == object
                else np.array([number if values.dtype == np.float32 else math.nan], dtype=values.dtype)
                for name, values in inputs.items()
            }
            expected = model.outputs(hostile)
            for null in (False, True):
                np.testing.assert_allclose(
                    answer(hostile, null=null),
                    expected,
                    atol=2e-6 * unit,
                    rtol=1e-5,
                    err_msg=f"{number} {text}",
                )


@needs_gcc
@pytest.mark.parametrize("student", STUDENTS.values(), ids=STUDENTS)
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_every_student_answers_in_c_as_in_the_artifact(student: Any, kind: str, tmp_path: Path) -> None:
    check(*artifact(student, kind), tmp_path)


@needs_gcc
def test_trees_in_the_older_operator_set(tmp_path: Path) -> None:
    check(*artifact(GBDT(leaves=7), "multiclass", opset=17), tmp_path)


def test_weights_stay_as_narrow_as_the_artifact_has_them() -> None:
    flash = {}
    for storage in ("float32", "float16", "int8"):
        data, _ = artifact(MLP(hidden=(64, 32), weights=storage), "multiclass")
        source, footprint = write_c(data, load(data).card, name="model")
        flash[storage] = footprint.flash_bytes
        assert ("const int8_t c" in source) == (storage == "int8")
    n_hidden = 64 * 32
    assert flash["float32"] - flash["float16"] > 2 * n_hidden
    assert flash["float16"] - flash["int8"] > n_hidden / 2


def test_trees_with_several_outputs_a_tree_are_refused() -> None:
    data, _ = artifact(GBDT(leaves=7), "multiclass")
    changed = onnx.load_from_string(data)
    trees = next(node for node in changed.graph.node if node.op_type == "TreeEnsemble")
    targets = next(each for each in trees.attribute if each.name == "leaf_targetids")
    targets.ints[0] = (targets.ints[0] + 1) % 3
    with pytest.raises(UserError) as error:
        write_c(changed.SerializeToString(), load(data).card, name="model")
    assert error.value.message == (
        "The artifact has trees of a kind that is not written in C: other splits than <=, or several outputs "
        "a tree."
    )


@needs_gcc
def test_the_footprint_is_what_the_compiler_says(tmp_path: Path) -> None:
    data, _ = artifact(MLP(hidden=(64, 32)), "multiclass")
    source, footprint = write_c(data, load(data).card, name="model")
    (tmp_path / "model.c").write_text(source, encoding="utf-8")
    arguments = ["gcc", *STRICT, "-Os", "-c", "model.c", "-fno-pic"]
    subprocess.run(arguments, cwd=tmp_path, check=True)
    sizes = subprocess.run(
        ["size", "-A", "model.o"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    kept = {
        line.split()[0]: int(line.split()[1]) for line in sizes.stdout.splitlines() if line.startswith(".")
    }
    tables = sum(size for name, size in kept.items() if name.startswith((".rodata", ".data")))
    assert kept.get(".bss", 0) == 0
    assert tables == pytest.approx(footprint.flash_bytes, rel=0.05, abs=200)


def test_an_operator_that_is_not_known_is_refused(model: Any, card: Any, real_rows: Any) -> None:
    """`Greater` is one: the small student of these tests uses it, ours do not."""
    data = artifact_bytes(model, card, real_rows)
    with pytest.raises(UserError) as error:
        write_c(data, load(data).card, name="model")
    assert error.value.message == (
        "The artifact's graph has the operator Greater, which is not written in C."
    )


@pytest.fixture
def model(encoder: Any, make_student: Any, card: Any) -> Any:
    return compose(encoder, make_student(), Softmax(2.0), task=card.task)


def test_identifiers() -> None:
    taken: set[str] = set()
    names = ["Mean radius (cm)", "mean_radius_cm", "int", "bool", "2nd", "年齢", "_x", ""]
    assert [identifier(name, taken) for name in names] == [
        *("mean_radius_cm", "mean_radius_cm_", "int_", "bool_", "x2nd", "column", "x", "column_")
    ]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_literals_are_read_back_to_the_last_bit(value: float) -> None:
    text = literal(value, "float")
    assert np.float32(text.removesuffix("f")) == np.float32(value)
    assert any(mark in text for mark in ".e")


def test_texts_cannot_leave_their_quotes() -> None:
    assert quoted('a"b\\c?é\n') == '"a\\042b\\134c\\077\\303\\251\\012"'
    assert comment("a */ b\nc") == "a * / b?c"
