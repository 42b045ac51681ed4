"""Picking rows of examples."""

from __future__ import annotations

import numpy as np

from potstill.types import Bools, Examples


def is_labelled(examples: Examples) -> Bools:
    """``(n,)`` whether a row has a label of its own."""
    labels = examples.labels
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0


def labelled_rows(examples: Examples) -> Examples:
    """The rows that have a label of their own."""
    keep = is_labelled(examples)
    if keep.all():
        return examples
    return Examples(
        tensors={name: tensor[keep] for name, tensor in examples.tensors.items()},
        teacher_probs=examples.teacher_probs[keep],
        labels=examples.labels[keep],
        hard_weight=examples.hard_weight[keep],
        weight=examples.weight[keep],
    )
