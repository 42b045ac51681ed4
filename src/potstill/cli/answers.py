"""A model's answers as columns of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from potstill.artifact import Model
from potstill.artifact.values import to_text
from potstill.cli.cells import model_batches
from potstill.cli.rows import Chunk
from potstill.cli.writers import Columns
from potstill.types import Floats, Label

FILE, PREDICTION = "file", "prediction"


def answers(model: Model, chunk: Chunk, *, only: str | None, where: str) -> Columns:
    """Output columns for the rows of a chunk; those of a folder's pictures begin with their files' paths."""
    probs = outputs_of(model, chunk, where=where)
    given: dict[str, Any] = {FILE: chunk.lines} if chunk.unit == "file" else {}
    if not model.task.is_classification:
        return {**given, PREDICTION: probs[:, 0]}
    classes = model.task.classes
    labels = [classes[place] for place in probs.argmax(axis=1)]
    if only != "proba":
        given[PREDICTION] = labels
    if only != "label":
        given |= {name: probs[:, place] for place, name in enumerate(probability_names(classes))}
    return given


def outputs_of(model: Model, chunk: Chunk, *, where: str) -> Floats:
    """``(n, K)`` probabilities, or ``(n, 1)`` values, for the rows of a chunk.

    Raises
    ------
    UserError
        As `potstill.cli.cells.model_columns`.
    """
    batches = model_batches(chunk, model.schema, where=where)
    return np.concatenate([model.outputs_of(columns) for columns in batches])


def output_names(model: Model, only: str | None) -> list[str]:
    """Names of the output columns, in order."""
    names = [] if only == "proba" else [PREDICTION]
    return names if only == "label" else [*names, *probability_names(model.task.classes)]


def probability_names(classes: Sequence[Label]) -> list[str]:
    """``p_CLASS`` for each class."""
    return [f"p_{to_text(label)}" for label in classes]
