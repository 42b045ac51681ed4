"""The old ensemble, asked while the small model serves: a function of rows, or an address."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import msgspec
import numpy as np

from potstill.artifact import Model
from potstill.artifact.columns import Feeds
from potstill.artifact.probes import probe_rows
from potstill.errors import UserError
from potstill.types import Floats, Task

Row: TypeAlias = Mapping[str, Any]
Ask: TypeAlias = Callable[[Sequence[Row]], Floats]
"""Takes rows, each a mapping of column to value; gives ``(n, K)`` probabilities in the order of the task's
classes, or ``(n, 1)`` values. May raise: it is then not answered."""

_MAX_ANSWER_BYTES = 64_000_000


class EnsembleFailed(Exception):
    """The ensemble gave no usable answer; the text says what happened."""


@final
@dataclass(frozen=True)
class HttpEnsemble:
    """An ensemble behind an address that takes ``{"instances": [{column: value}, …]}``.

    It answers ``{"predictions": […]}``: a list of probabilities a row, or an object of label to probability,
    or a number a row for regression.

    Parameters
    ----------
    url
        Begins with ``http://`` or ``https://``.
    task
        What is predicted.
    timeout_s
        Longest wait.
    token_env
        Environment variable with a bearer token; empty for none.

    Raises
    ------
    UserError
        The address is none, or the variable is not set.
    """

    url: str
    task: Task
    timeout_s: float = 10.0
    token_env: str = ""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise UserError(
                f"Wanted an address of the ensemble, got {self.url!r}.", hint="Begin with http://."
            )
        if self.token_env and not os.environ.get(self.token_env):
            raise UserError(
                f"The environment variable {self.token_env!r} with the ensemble's token is not set."
            )

    def __call__(self, rows: Sequence[Row]) -> Floats:
        """Answers to the rows.

        Raises
        ------
        EnsembleFailed
            No answer came, or one that is not understood.
        """
        headers = {"content-type": "application/json"}
        if self.token_env:
            headers["authorization"] = f"Bearer {os.environ.get(self.token_env, '')}"
        body = msgspec.json.encode({"instances": rows})
        request = urllib.request.Request(self.url, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                content = response.read(_MAX_ANSWER_BYTES + 1)
        except (OSError, ValueError) as error:
            raise EnsembleFailed(f"{type(error).__name__}: {error}") from None
        if len(content) > _MAX_ANSWER_BYTES:
            raise EnsembleFailed(f"The answer is longer than {_MAX_ANSWER_BYTES:,} bytes.")
        try:
            predictions = msgspec.json.decode(content, type=_Answer).predictions
        except msgspec.MsgspecError as error:
            raise EnsembleFailed(f"The answer is not understood: {error}.") from None
        return checked_answers([_in_order(each, self.task) for each in predictions], len(rows), self.task)


class _Answer(msgspec.Struct):
    predictions: list[Any]


def _in_order(said: Any, task: Task) -> Any:
    if isinstance(said, dict):
        by_label = said.get("probabilities", said)
        if not task.is_classification:
            return [by_label.get("value")]
        return [_probability(by_label, label) for label in task.classes]
    return said if isinstance(said, list) else [said]


def _probability(by_label: Any, label: Any) -> float:
    names = [str(label), str(label).lower()] if isinstance(label, bool) else [str(label)]
    for name in names:
        if name in by_label:
            return float(by_label[name])
    raise EnsembleFailed(f"The answer has no probability of {label!r}.")


def checked_answers(values: Any, n_rows: int, task: Task) -> Floats:
    """``(n, K)`` float32 answers.

    Raises
    ------
    EnsembleFailed
        They are of another shape, not finite, or no probabilities.
    """
    try:
        answers: Floats = np.asarray(values, dtype=np.float32).reshape(n_rows, -1)
    except (ValueError, TypeError) as error:
        raise EnsembleFailed(f"The answers are no table of numbers: {error}.") from None
    if answers.shape != (n_rows, task.n_outputs):
        raise EnsembleFailed(f"Wanted answers of shape {(n_rows, task.n_outputs)}, got {answers.shape}.")
    if not np.isfinite(answers).all():
        raise EnsembleFailed("Some answers are not finite.")
    if task.is_classification and (answers.min(initial=0) < -1e-3 or np.abs(answers.sum(1) - 1).max() > 0.01):
        raise EnsembleFailed("The answers are no probabilities: they do not sum to 1.")
    return answers


def told_rows(inputs: Feeds, model: Model) -> list[dict[str, Any]]:
    """The rows of which `potstill.artifact.feeds` made these inputs, as an ensemble may be shown them."""
    columns = probe_rows(inputs, model.schema)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
