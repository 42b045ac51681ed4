"""Potstill: one small model in place of an ensemble too heavy to ship.

`load` and `Model` need numpy and ONNX Runtime alone; everything that trains is imported when it is first
asked for, and needs the extra ``potstill[train]``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from potstill.artifact import Model, load
from potstill.errors import ArtifactError, GateFailed, PotstillError, UserError
from potstill.types import Budget

if TYPE_CHECKING:
    from potstill import students
    from potstill.distillation import Recipe, Result, distill
    from potstill.estimators import DistilledClassifier, DistilledRegressor
    from potstill.teachers import HttpTeacher, SoftTargetTable

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "Budget",
    "DistilledClassifier",
    "DistilledRegressor",
    "GateFailed",
    "HttpTeacher",
    "Model",
    "PotstillError",
    "Recipe",
    "Result",
    "SoftTargetTable",
    "UserError",
    "distill",
    "load",
    "students",
]

_TRAINING_HALF = {
    "DistilledClassifier": "potstill.estimators",
    "DistilledRegressor": "potstill.estimators",
    "HttpTeacher": "potstill.teachers",
    "Recipe": "potstill.distillation",
    "Result": "potstill.distillation",
    "SoftTargetTable": "potstill.teachers",
    "distill": "potstill.distillation",
}


def __getattr__(name: str) -> Any:
    try:
        if name == "students":
            return import_module("potstill.students")
        if name in _TRAINING_HALF:
            return getattr(import_module(_TRAINING_HALF[name]), name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"potstill.{name} needs {error.name}, which is not installed.",
            hint='pip install "potstill[train]"',
        ) from error
    raise AttributeError(f"module 'potstill' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
