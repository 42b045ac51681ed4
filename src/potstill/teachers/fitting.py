"""Fitting estimators of the scikit-learn contract: seeds, labels, weights."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.teachers.answers import speaking_for
from potstill.types import Dataset


def seeded(estimator: Any, seed: int) -> Any:
    """An unfitted copy of ``estimator`` with every ``random_state``, nested ones too, drawn from ``seed``.

    Each gets a number of its own, so that members of one ensemble stay different from each other.
    """
    from sklearn.base import clone

    if getattr(estimator, "get_params", None) is None:
        return copy.deepcopy(estimator)
    fresh = clone(estimator)
    keys = sorted(k for k in fresh.get_params(deep=True) if k.rpartition("__")[2] == "random_state")
    draws = np.random.SeedSequence(seed).generate_state(max(len(keys), 1))
    return fresh.set_params(**{key: int(draw >> 1) for key, draw in zip(keys, draws, strict=False)})


def innermost(estimator: Any) -> Any:
    """The model at the end of a pipeline, inside a search or another wrapper."""
    while getattr(estimator, "get_params", None) is not None:
        inner = final_step(estimator)
        if inner is estimator:
            # A forest has an attribute ``estimator`` too, but only a wrapper takes it as a parameter.
            inner = estimator.get_params(deep=False).get("estimator")
        if inner is None or isinstance(inner, str | type):
            return estimator
        estimator = inner
    return estimator


def final_step(estimator: Any) -> Any:
    """The last step of a pipeline; any other estimator is its own."""
    steps = getattr(estimator, "steps", None)
    return final_step(steps[-1][1]) if steps else estimator


def target_of(dataset: Dataset) -> NDArray[Any]:
    """``(n,)`` the labels as the caller wrote them (classes, not their indices), or the values."""
    labels = np.asarray(dataset.labels)
    return np.asarray(dataset.task.classes)[labels] if dataset.task.is_classification else labels


def compact_target(dataset: Dataset) -> tuple[NDArray[Any], tuple[Any, ...]]:
    """Labels as 0…k-1 over the k classes that occur, and those classes; some libraries take nothing else."""
    present, codes = np.unique(np.asarray(dataset.labels), return_inverse=True)
    return codes, tuple(dataset.task.classes[index] for index in present)


def fit(estimator: Any, rows: Any, target: NDArray[Any], *, weight: NDArray[Any] | None, teacher: str) -> Any:
    """Fit ``estimator`` in place, with sample weights where it takes them.

    Raises
    ------
    UserError
        If the estimator refuses the rows.
    """
    key = weight_key(estimator) if weight is not None else None
    with speaking_for(
        teacher,
        f"be fitted on {len(target)} rows",
        hint="Put what the columns need (encoding, imputing) before the estimator, in a Pipeline.",
    ):
        if key is None:
            return estimator.fit(rows, target)
        return estimator.fit(rows, target, **{key: weight})


def weight_key(estimator: Any) -> str | None:
    """Keyword under which ``fit`` takes sample weights (``step__sample_weight`` in a pipeline), or None."""
    steps = getattr(estimator, "steps", None)
    if steps:
        name, last = steps[-1]
        inner = weight_key(last)
        return None if inner is None else f"{name}__{inner}"
    parameters = inspect.signature(estimator.fit).parameters
    if "sample_weight" in parameters:
        return "sample_weight"
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    wrapped = [member for _, member in getattr(estimator, "estimators", None) or () if member != "drop"]
    single = getattr(estimator, "estimator", None)
    members = [*wrapped, *([] if single is None else [single])]
    keys = {weight_key(member) for member in members}
    return keys.pop() if len(keys) == 1 else None
