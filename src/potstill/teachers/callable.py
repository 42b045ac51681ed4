"""Functions of the rows, and objects that can be called with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import narwhals as nw

from potstill.teachers.answers import checked, speaking_for
from potstill.teachers.digests import code_digest, digest
from potstill.teachers.rows import native
from potstill.types import Dataset, Floats, Task, Teacher, Trainable

_VERSION = "1"


@dataclass(frozen=True, eq=False)
class CallableTeacher:
    """A function of the rows, which come as the caller's own frame or array.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    function
        Returns probabilities ``(n, K)`` in the order of the task's classes as an array or nested lists, or a
        frame with a column for each class (named as the classes, in any order; positional if no name is a
        class); for two classes also ``(n,)``, the probability of the second; for regression ``(n,)`` values.
    """

    name: str
    fingerprint: str
    function: Callable[[Any], Any]

    def predict(self, dataset: Dataset) -> Floats:
        task = dataset.task
        with speaking_for(self.name, "answer the rows"):
            values = self.function(native(dataset))
        labels = None
        frame = nw.from_native(values, pass_through=True, eager_only=True)
        if isinstance(frame, nw.DataFrame):
            names = list(values.columns) if frame.implementation.is_pandas() else frame.columns
            if task.is_classification and {str(n) for n in names} & {str(label) for label in task.classes}:
                labels = names
            values = frame.to_numpy()
        return checked(values, task=task, n_rows=len(dataset), teacher=self.name, labels=labels)


class CallableAdapter:
    """Adapter of anything that can be called."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        return callable(source)

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:  # noqa: ARG003
        named = str(getattr(source, "__name__", type(source).__name__))
        name = name or ("function" if named.startswith("<") else named)
        return CallableTeacher(name, digest("callable", _VERSION, code_digest(source, name)), source)
