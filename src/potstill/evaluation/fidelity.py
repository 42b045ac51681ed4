"""Where the student and the teacher differ, and by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.evaluation.metrics import EPS
from potstill.types import Doubles, Ints


def agreement(
    student: NDArray[Any], teacher: NDArray[Any], weight: NDArray[Any] | None = None
) -> dict[str, float]:
    """How alike the student's and the teacher's answers are, ``(n, K)`` probabilities or ``(n, 1)`` values.

    Returns
    -------
    dict
        ``argmax``: share of rows with the same most probable class. ``total_variation``: mean of half the
        summed absolute differences, in [0, 1]. ``kl``: mean KL(teacher ‖ student), nats, clipped at 1e-7.
        For values ``rmse`` (target's unit) and ``correlation`` (left out for constant answers).
    """
    if student.ndim == 1 or student.shape[1] == 1:
        a, b = student.reshape(-1).astype(np.float64), teacher.reshape(-1).astype(np.float64)
        mean_a, mean_b = np.average(a, weights=weight), np.average(b, weights=weight)
        covariance = np.average((a - mean_a) * (b - mean_b), weights=weight)
        spread = np.sqrt(
            np.average((a - mean_a) ** 2, weights=weight) * np.average((b - mean_b) ** 2, weights=weight)
        )
        scores = {"rmse": float(np.sqrt(np.average(np.square(a - b), weights=weight)))}
        return scores | ({"correlation": float(covariance / spread)} if spread > 0.0 else {})
    p, q = teacher.astype(np.float64), student.astype(np.float64)
    ratio = np.log(np.clip(p, EPS, 1.0)) - np.log(np.clip(q, EPS, 1.0))
    return {
        "argmax": float(np.average(p.argmax(axis=1) == q.argmax(axis=1), weights=weight)),
        "total_variation": float(np.average(distance(student, teacher), weights=weight)),
        "kl": float(np.average((p * ratio).sum(axis=1), weights=weight)),
    }


def distance(student: NDArray[Any], teacher: NDArray[Any]) -> Doubles:
    """Total variation of the two answers of each row, ``(n,)`` in [0, 1]; absolute difference for values."""
    differences = np.abs(student.astype(np.float64) - teacher.astype(np.float64)).reshape(len(student), -1)
    apart: Doubles = differences.sum(axis=1) / (2 if differences.shape[1] > 1 else 1)
    return apart


def disagreements(student: NDArray[Any], teacher: NDArray[Any], n: int = 12) -> Ints:
    """Indices of the ``n`` rows whose answers are furthest apart (`distance`), furthest first."""
    return np.argsort(-distance(student, teacher), kind="stable")[:n].astype(np.int64)
