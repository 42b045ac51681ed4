"""The table of adapters: what is recognised, opened, named and refused."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import potstill.teachers
from potstill.errors import UserError
from potstill.teachers import TEACHERS, HttpTeacher, SoftTargetTable, adopt, adopt_all
from potstill.testing import check_teacher
from potstill.types import Dataset, Floats


def refusal(make: Callable[[], Any]) -> UserError:
    with pytest.raises(UserError) as caught:
        make()
    return caught.value


def fitted(dataset: Dataset) -> Any:
    labels = np.asarray(dataset.task.classes)[dataset.labels]
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(dataset.rows.to_pandas(), labels)


@dataclass(frozen=True)
class Constant:
    """A teacher of somebody else."""

    name: str = "constant"
    fingerprint: str = "c0" * 32

    def predict(self, dataset: Dataset) -> Floats:
        return np.full((len(dataset), dataset.task.n_outputs), 1 / dataset.task.n_outputs, dtype=np.float32)


class ConstantStruct(msgspec.Struct, frozen=True):
    name: str = "constant"
    fingerprint: str = "c0" * 32

    def predict(self, dataset: Dataset) -> Floats:
        return Constant().predict(dataset)


class Stubborn:
    name, fingerprint = "constant", "c0" * 32

    def predict(self, dataset: Dataset) -> Floats:
        return Constant().predict(dataset)


def test_teachers_pass_through(wine: Dataset) -> None:
    for teacher in (Constant(), ConstantStruct(), Stubborn(), HttpTeacher("http://a/")):
        assert adopt(teacher, task=wine.task) is teacher
    check_teacher(Constant(), wine)


def test_names_are_made_unique(wine: Dataset) -> None:
    sources = [GaussianNB(), Constant(), GaussianNB(), ConstantStruct(), GaussianNB(), fitted(wine)]
    teachers = adopt_all(sources, task=wine.task)
    assert [teacher.name for teacher in teachers] == [
        "GaussianNB",
        "constant",
        "GaussianNB-2",
        "constant-2",
        "GaussianNB-3",
        "LogisticRegression",
    ]
    assert teachers[0].fingerprint == teachers[2].fingerprint
    assert refusal(lambda: adopt_all([Constant(), Stubborn()], task=wine.task)).message == (
        "Teacher 'constant' should be called 'constant-2', but Stubborn has no field 'name'."
    )
    assert refusal(lambda: adopt_all([], task=wine.task)).message == "Wanted at least one teacher, got none."


def test_a_name_may_be_given(wine: Dataset) -> None:
    for source in (Constant(), GaussianNB(), fitted(wine), lambda rows: rows, "http://a/"):
        assert adopt(source, task=wine.task, name="chosen").name == "chosen"


def test_what_nobody_knows_is_refused(wine: Dataset, tmp_path: Path) -> None:
    names = "ready, http, table, autogluon, lightgbm, xgboost, catboost, huggingface, torch, onnx, sklearn, callable"
    error = refusal(lambda: adopt(7, task=wine.task))
    assert error.message == f"No adapter knows an object of type int: wanted something for one of {names}."
    assert error.hint == "A function that takes the rows and returns probabilities always works."
    path = tmp_path / "model.h5"
    path.touch()
    assert refusal(lambda: adopt(path, task=wine.task)).message == (
        f"No adapter knows the file {str(path)!r}: wanted something for one of {names}."
    )
    assert refusal(lambda: adopt("gone.onnx", task=wine.task)).message == (
        "There is no teacher at 'gone.onnx': wanted an existing file."
    )
    error = refusal(lambda: adopt(GaussianNB, task=wine.task))
    assert (error.message, error.hint) == (
        "A teacher is an object, got the class GaussianNB.",
        "Pass GaussianNB(...).",
    )


@pytest.mark.parametrize("suffix", ["pkl", "pickle", "joblib"])
def test_pickles_need_trust(wine: Dataset, tmp_path: Path, suffix: str) -> None:
    model, path = fitted(wine), tmp_path / f"old.{suffix}"
    if suffix == "joblib":
        joblib.dump(model, path)
    else:
        path.write_bytes(pickle.dumps(model))
    error = refusal(lambda: adopt(str(path), task=wine.task))
    assert error.message == (
        f"Opening {str(path)!r} runs whatever code is in it: wanted a file that holds only data, or "
        "your word that "
        "this one is trusted."
    )
    assert error.hint == (
        "If you know where it comes from, pass --trust (trust=True); or save it as skops or ONNX, or in the "
        "library's own format."
    )
    teacher = adopt(str(path), task=wine.task, trust=True)
    assert teacher.name == "old"
    assert np.array_equal(teacher.predict(wine), adopt(model, task=wine.task).predict(wine))
    assert teacher.fingerprint == adopt(model, task=wine.task).fingerprint


def shift(rows: Any) -> Any:
    return rows + 1


def test_skops_needs_trust_only_for_unknown_types(wine: Dataset, tmp_path: Path) -> None:
    model = fitted(wine)
    skops.io.dump(model, tmp_path / "known.skops")
    teacher = adopt(tmp_path / "known.skops", task=wine.task)
    assert np.array_equal(teacher.predict(wine), adopt(model, task=wine.task).predict(wine))
    path = tmp_path / "unknown.skops"
    skops.io.dump(make_pipeline(FunctionTransformer(shift), GaussianNB()), path)
    message = refusal(lambda: adopt(path, task=wine.task)).message
    assert message.startswith(f"{str(path)!r} holds types that skops does not know to be harmless: ")
    assert message.endswith(".shift.")


def test_damaged_files_are_said_to_be(wine: Dataset, tmp_path: Path) -> None:
    for suffix, trust in [("skops", False), ("pkl", True), ("cbm", False), ("pt", True)]:
        path = tmp_path / f"broken.{suffix}"
        path.write_bytes(b"nothing of use")
        message = refusal(lambda p=path, t=trust: adopt(p, task=wine.task, trust=t)).message
        assert message.startswith(f"Teacher 'broken' could not be read from {str(path)!r}")
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"nothing of use")
    assert refusal(lambda: adopt(path, task=wine.task)).message.startswith(
        f"The file {path} cannot be read as parquet: "
    )


class Odd:
    @classmethod
    def recognises(cls, source: object) -> bool:
        return isinstance(source, int)

    @classmethod
    def adopt(cls, source: Any, *, task: Any, trust: bool, name: str | None) -> Constant:
        return Constant(name or f"odd{source}")


def test_other_packages_add_adapters(wine: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "odd_package", sys.modules[__name__])
    entries = [EntryPoint("odd", "odd_package:Odd", "potstill.teachers")]
    monkeypatch.setattr(potstill.teachers, "entry_points", lambda group: entries)
    assert adopt(7, task=wine.task).name == "odd7"
    entries.append(EntryPoint("gone", "no_such_package:Odd", "potstill.teachers"))
    assert refusal(lambda: adopt("http://a/", task=wine.task)).message == (
        "The teacher adapter 'gone' (no_such_package:Odd) could not be loaded: No module named "
        "'no_such_package'"
    )


def test_the_first_adapter_that_recognises_is_the_right_one(wine: Dataset) -> None:
    import catboost
    import lightgbm
    import pandas
    import polars
    import torch
    import xgboost

    sources: list[tuple[Any, str]] = [
        (Constant(), "ready"),
        ("https://a/b", "http"),
        (pandas.DataFrame(), "table"),
        (polars.DataFrame(), "table"),
        (np.zeros((2, 2)), "table"),
        (SoftTargetTable("a.csv"), "table"),
        ("a.parquet", "table"),
        (lightgbm.LGBMClassifier(), "lightgbm"),
        (Path("a.txt"), "lightgbm"),
        (xgboost.XGBClassifier(), "xgboost"),
        ("a.UBJ", "xgboost"),
        (catboost.CatBoostClassifier(), "catboost"),
        (torch.nn.Linear(1, 1), "torch"),
        ("a.safetensors", "torch"),
        (b"", "onnx"),
        ("a.onnx", "onnx"),
        (GaussianNB(), "sklearn"),
        (make_pipeline(GaussianNB()), "sklearn"),
        (len, "callable"),
    ]
    for source, expected in sources:
        assert next(name for name, adapter in TEACHERS.items() if adapter.recognises(source)) == expected


def test_no_library_is_imported_to_recognise() -> None:
    program = """
import sys
from potstill.teachers import TEACHERS
for source in ("a.onnx", "a.cbm", "a.pt", "a.txt", "a.json", "a.csv", "http://a", len, 7):
    for adapter in TEACHERS.values():
        adapter.recognises(source)
heavy = {"torch", "lightgbm", "xgboost", "catboost", "onnx", "httpx", "autogluon", "skops"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
