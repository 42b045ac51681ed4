"""A model's answers to labelled rows, and the labels in its terms."""

from __future__ import annotations

from typing import Any

import numpy as np

from potstill.artifact import Model
from potstill.artifact.values import to_text
from potstill.cli.answers import outputs_of
from potstill.cli.cells import is_missing, label_texts, model_columns
from potstill.cli.rows import Chunk, read_chunks
from potstill.errors import UserError
from potstill.types import Bools, Column, Doubles, Floats, Ints, Labels, Schema


def answered(model: Model, source: str, target: str) -> tuple[Floats, Labels, Bools]:
    """The model's answers to the rows that have a target, those labels, and ``(n,)`` which rows they are.

    Raises
    ------
    UserError
        The target is not among the columns, in no row, or something the model cannot answer.
    """
    outputs: list[Floats] = []
    labels: list[Labels] = []
    kept: list[Bools] = []
    for chunk in read_chunks(source):
        if target not in chunk.columns:
            raise UserError(
                f"{source} has no column {target!r} to compare the answers with.",
                hint=f"Name it with --target; there are: {', '.join(list(chunk.columns)[:12])}.",
            )
        answers = outputs_of(model, chunk, where=source)
        if model.task.is_classification:
            truth: Labels = _class_indices(chunk, target, model, source)
            there = truth >= 0
        else:
            truth = _values(chunk, target, source)
            there = ~np.isnan(truth)
        outputs.append(answers[there])
        labels.append(truth[there])
        kept.append(there)
    if not any(len(each) for each in labels):
        raise UserError(
            f"No row of {source} has a value in {target!r}.", hint="Score rows whose truth is known."
        )
    truths: Any = np.concatenate(labels)
    return np.concatenate(outputs), truths, np.concatenate(kept)


def _class_indices(chunk: Chunk, target: str, model: Model, where: str) -> Ints:
    """``(n,)`` int64 index of each row's class, -1 where the target is missing."""
    index = {to_text(label): place for place, label in enumerate(model.task.classes)}
    values = chunk.columns[target]
    indices = np.full(len(chunk), -1, dtype=np.int64)
    for row, (value, text) in enumerate(zip(values, label_texts(values, set(index)), strict=True)):
        if is_missing(value):
            continue
        if text not in index:
            raise UserError(
                f"{where}, {chunk.unit} {chunk.lines[row]}, column {target!r}: {value!r} is no class.",
                hint=f"The model knows: {', '.join(list(index)[:12])}.",
            )
        indices[row] = index[text]
    return indices


def _values(chunk: Chunk, target: str, where: str) -> Doubles:
    values = model_columns(chunk, Schema((Column(target, "numeric"),)), where=where)[target]
    return np.array(values, dtype=np.float64)
