"""What live rows will be held against: counted where the rows are, carried in the Card."""

from __future__ import annotations

import numpy as np

from potstill.artifact import Calibration, Reference
from potstill.distillation.prepare import Prepared
from potstill.export import input_batches
from potstill.monitoring.reference import column_histograms, with_answers
from potstill.training.candidates import Candidate
from potstill.types import Dataset

COUNTED_ROWS = 100_000
"""Rows of a part that are counted at most, evenly spread over it: more would move no bin visibly."""


def column_reference(prepared: Prepared) -> Reference:
    """The student's columns in the training and validation rows."""
    rows = [_spread(prepared.parts[part]).rows for part in ("train", "valid")]
    inputs = (batch for each in rows for batch in input_batches(each, prepared.schema))
    return Reference(n_rows=sum(map(len, rows)), columns=column_histograms(inputs, prepared.schema))


def answered_reference(
    candidate: Candidate, prepared: Prepared, calibration: Calibration, *, columns: Reference
) -> Reference:
    """``columns``, with what a candidate answers to the validation rows.

    Parameters
    ----------
    candidate
        What ships, as it was before it was fitted on these rows too: what a model has learned from it
        answers too surely.
    calibration
        Of its answers.
    """
    valid = prepared.parts["valid"]
    answered = calibration.apply(candidate.fitted.logits(prepared.tensors["valid"]))
    return with_answers(columns, valid.task, answered, valid.labels)


def foreseen_reference(prepared: Prepared) -> Reference:
    """One as long as that of any candidate: with answers to the validation rows that stand in for its own."""
    valid, columns = prepared.parts["valid"], column_reference(prepared)
    if valid.task.is_classification:
        draws = np.random.default_rng(0).dirichlet(np.ones(valid.task.n_outputs), len(valid))
        return with_answers(columns, valid.task, draws.astype(np.float32), valid.labels)
    assert valid.labels is not None
    return with_answers(columns, valid.task, valid.labels.reshape(-1, 1).astype(np.float32), valid.labels)


def _spread(dataset: Dataset) -> Dataset:
    if len(dataset) <= COUNTED_ROWS:
        return dataset
    return dataset.take(np.linspace(0, len(dataset) - 1, COUNTED_ROWS).astype(np.int64))
