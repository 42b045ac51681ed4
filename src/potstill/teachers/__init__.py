"""Teachers: whatever answers rows, adopted as it is. One adapter a file, one line in `TEACHERS`.

`adopt` walks the table and hands the source to the first adapter that recognises it. Other packages add
adapters through the entry point group ``potstill.teachers``; theirs are asked first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from potstill.errors import UserError
from potstill.teachers.adapter import Adapter, extension, path_of
from potstill.teachers.autogluon import AutoGluonAdapter
from potstill.teachers.callable import CallableAdapter
from potstill.teachers.catboost import CatBoostAdapter
from potstill.teachers.files import OPENERS
from potstill.teachers.http import HttpAdapter, HttpTeacher
from potstill.teachers.huggingface import HuggingFaceAdapter
from potstill.teachers.lightgbm import LightGBMAdapter
from potstill.teachers.onnx import OnnxAdapter
from potstill.teachers.ready import Ready, renamed
from potstill.teachers.sklearn import SklearnAdapter
from potstill.teachers.table import SoftTargetTable, TableAdapter
from potstill.teachers.torch import TorchAdapter
from potstill.teachers.xgboost import XGBoostAdapter
from potstill.types import Task, Teacher, Trainable

__all__ = ["TEACHERS", "Adapter", "HttpTeacher", "SoftTargetTable", "adopt", "adopt_all"]

TEACHERS: Mapping[str, type[Adapter]] = {
    "ready": Ready,
    "http": HttpAdapter,
    "table": TableAdapter,
    "autogluon": AutoGluonAdapter,
    "lightgbm": LightGBMAdapter,
    "xgboost": XGBoostAdapter,
    "catboost": CatBoostAdapter,
    "huggingface": HuggingFaceAdapter,
    "torch": TorchAdapter,
    "onnx": OnnxAdapter,
    "sklearn": SklearnAdapter,
    "callable": CallableAdapter,
}
"""Every adapter in the order they are asked: those that recognise less come first."""


def adopt(source: Any, *, task: Task, trust: bool = False, name: str | None = None) -> Teacher | Trainable:
    """Make a Teacher of a fitted model, or a Trainable of an unfitted one.

    Parameters
    ----------
    source
        A fitted model or an unfitted estimator of any of the libraries in `TEACHERS`, a function of the rows,
        the path of a model file, a table of probabilities, a web address.
    task
        What it is to predict.
    trust
        Whether files that run code when they are opened (pickles) may be opened.
    name
        Name of the teacher; None takes it from the source.

    Raises
    ------
    UserError
        If nothing recognises ``source``, or it cannot answer the task.
    """
    if isinstance(source, type):
        raise UserError(
            f"A teacher is an object, got the class {source.__name__}.", hint=f"Pass {source.__name__}(...)."
        )
    path = path_of(source)
    if path is not None:
        if not path.exists():
            raise UserError(f"There is no teacher at {str(path)!r}: wanted an existing file.")
        opener = OPENERS.get(extension(path))
        if opener is not None:
            source, name = opener(path, trust), name or path.stem
    for adapter in _adapters():
        if adapter.recognises(source):
            return adapter.adopt(source, task=task, trust=trust, name=name)
    what = f"the file {str(path)!r}" if path is not None else f"an object of type {type(source).__name__}"
    raise UserError(
        f"No adapter knows {what}: wanted something for one of {', '.join(TEACHERS)}.",
        hint="A function that takes the rows and returns probabilities always works.",
    )


def adopt_all(sources: Sequence[Any], *, task: Task, trust: bool = False) -> list[Teacher | Trainable]:
    """`adopt` each source; a name that was given before gets ``-2``, ``-3``, ….

    Raises
    ------
    UserError
        If there is no source, or `adopt` refuses one.
    """
    if not sources:
        raise UserError("Wanted at least one teacher, got none.")
    teachers: list[Teacher | Trainable] = []
    taken: set[str] = set()
    for source in sources:
        teacher = adopt(source, task=task, trust=trust)
        name, count = teacher.name, 1
        while name in taken:
            count += 1
            name = f"{teacher.name}-{count}"
        taken.add(name)
        teachers.append(renamed(teacher, name))
    return teachers


def _adapters() -> Iterator[type[Adapter]]:
    for entry in entry_points(group="potstill.teachers"):
        try:
            yield entry.load()
        except Exception as error:
            raise UserError(
                f"The teacher adapter {entry.name!r} ({entry.value}) could not be loaded: {error}",
                hint="It comes from another package; update or remove that.",
            ) from error
    yield from TEACHERS.values()
