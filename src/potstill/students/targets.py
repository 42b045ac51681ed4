"""What a student is taught, row by row."""

from __future__ import annotations

import numpy as np

from potstill.types import Examples, Floats, Objective


def is_linear_in_targets(examples: Examples, objective: Objective) -> bool:
    """Whether the blended loss is, up to a constant, the plain loss against one blended target.

    So it is with `KD` at temperature 1, with `MSE`, and wherever labels alone count.
    """
    labels_alone = bool((examples.hard_weight == 1).all())
    return labels_alone or objective.name == "mse" or (objective.name == "kd" and objective.temperature == 1)


def blended_targets(examples: Examples, n_outputs: int) -> Floats:
    """``(n, K)`` float32 ``λ label + (1 − λ) teacher``; labels one-hot, or ``(n, 1)`` values."""
    weight = examples.hard_weight[:, None]
    labels = examples.labels
    if labels.dtype.kind == "f":
        hard = np.nan_to_num(labels)[:, None]
    else:
        hard = (np.arange(n_outputs) == labels[:, None]).astype(np.float64)
    # The twin's examples need no teacher: whatever stands there must not leak through 0 · NaN.
    soft = np.where(weight == 1, 0, examples.teacher_probs)
    return np.asarray(weight * hard + (1 - weight) * soft, dtype=np.float32)


def mean_target(targets: Floats, weight: Floats) -> Floats:
    """``(K,)`` float32 weighted mean of targets."""
    return np.average(targets, axis=0, weights=weight).astype(np.float32)
