"""Gradients of the blended loss for LightGBM, which asks for them round by round.

LightGBM keeps scores class after class, so everything here is ``(K, n)``: no transposed copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from potstill.objectives import blended
from potstill.students.targets import is_linear_in_targets, mean_target
from potstill.types import Doubles, Examples, Floats, Objective

SMALLEST_PRIOR = 1e-6

Gradients: TypeAlias = Callable[[Doubles, Any], tuple[Floats, Floats]]
"""LightGBM's contract: raw scores (and its Dataset) to gradient and Hessian, both shaped like the scores."""


@dataclass(frozen=True)
class BoostingLoss:
    """What LightGBM is asked to minimise.

    Parameters
    ----------
    objective
        A loss of LightGBM's own by name, or the gradients of one of ours.
    targets
        ``(n,)`` the targets of LightGBM's own loss; zeros where the gradients know theirs.
    start
        ``(n_scores,)`` scores before the first round: those of the weighted mean target.
    """

    objective: str | Gradients
    targets: Floats
    start: Floats

    @property
    def n_scores(self) -> int:
        """Scores of a row, which is also trees a round: one for two classes."""
        return len(self.start)


def boosting_loss(examples: Examples, targets: Floats, objective: Objective) -> BoostingLoss:
    """Choose the cheapest exact form of the blended loss.

    Parameters
    ----------
    examples
        The training rows.
    targets
        `blended_targets` of them.
    objective
        The soft loss.
    """
    mean = mean_target(targets, examples.weight)
    n_outputs = len(mean)
    if n_outputs == 1:
        return BoostingLoss("regression", targets[:, 0].copy(), mean)
    log_prior = np.log(np.clip(mean, SMALLEST_PRIOR, None))
    start = log_prior[1:] - log_prior[0] if n_outputs == 2 else log_prior
    linear = is_linear_in_targets(examples, objective)
    if n_outputs == 2 and linear:
        return BoostingLoss("cross_entropy", targets[:, 1].copy(), start)
    if linear or objective.name == "kd":
        temperature = 1.0 if linear else objective.temperature
        gradients = kd_gradients(examples, temperature, len(start))
    else:
        gradients = autograd_gradients(examples, objective, len(start))
    return BoostingLoss(gradients, np.zeros(len(examples), dtype=np.float32), start)


def label_log_loss(scores: Doubles, examples: Examples) -> float:
    """Weighted mean log-loss of the labels under raw scores, ``(n, K)``, or ``(n,)`` for two classes."""
    logits = _class_major(scores)
    logits -= logits.max(axis=0)
    losses = np.log(np.exp(logits).sum(axis=0)) - logits[examples.labels, np.arange(len(examples))]
    return float(np.average(losses, weights=examples.weight))


def kd_gradients(examples: Examples, temperature: float, n_scores: int) -> Gradients:
    """Gradients of ``λ CE + (1 − λ) KD`` in closed form, for ``n_scores`` scores a row (1: the second's).

    ``λ (softmax(z) − onehot) + (1 − λ) T (softmax(z/T) − p_T)``, and for the Hessian ``K/(K−1) p (1 − p)``,
    as LightGBM's own softmax has it.
    """
    n_classes = examples.teacher_probs.shape[1]
    weight, lam = examples.weight, examples.hard_weight
    hot = np.arange(n_classes)[:, None] == examples.labels
    pull = weight * (lam * hot + (1 - lam) * temperature * np.where(lam == 1, 0, examples.teacher_probs.T))
    pull = pull[-n_scores:].astype(np.float32)
    hard_scale, soft_scale = (weight * lam).astype(np.float32), (weight * (1 - lam)).astype(np.float32)

    def gradients(scores: Doubles, _: Any) -> tuple[Floats, Floats]:
        z = _class_major(scores)
        hessian = np.zeros((n_scores, z.shape[1]), dtype=np.float32)
        gradient = -pull
        for scale, degree in ((hard_scale, 1.0), (soft_scale, temperature)):
            if not scale.any():
                continue
            probs = _softmax(z / np.float32(degree))[-n_scores:]
            gradient += scale * np.float32(degree) * probs
            probs -= probs * probs
            hessian += scale * probs
        return _as_scores(gradient), _as_scores(_scaled(hessian, n_classes))

    return gradients


def autograd_gradients(examples: Examples, objective: Objective, n_scores: int) -> Gradients:
    """Gradients of any blended objective by automatic differentiation; Hessian as in `kd_gradients`."""
    n_classes = examples.teacher_probs.shape[1]
    teacher, labels = torch.from_numpy(examples.teacher_probs), torch.from_numpy(examples.labels)
    weight, lam = torch.from_numpy(examples.weight), torch.from_numpy(examples.hard_weight)

    def gradients(scores: Doubles, _: Any) -> tuple[Floats, Floats]:
        logits = torch.from_numpy(np.ascontiguousarray(_class_major(scores).T)).requires_grad_()
        loss = (weight * blended(objective, logits, teacher, labels, lam)).sum()
        (slope,) = torch.autograd.grad(loss, logits)
        with torch.no_grad():
            probs = torch.softmax(logits, dim=1)
            softened = torch.softmax(logits / objective.temperature, dim=1)
            curve = lam[:, None] * probs * (1 - probs) + (1 - lam[:, None]) * softened * (1 - softened)
            curve *= weight[:, None]
        gradient = np.ascontiguousarray(slope.numpy().T[-n_scores:])
        hessian = np.ascontiguousarray(curve.numpy().T[-n_scores:])
        return _as_scores(gradient), _as_scores(_scaled(hessian, n_classes))

    return gradients


def _class_major(scores: Doubles) -> Floats:
    """``(K, n)`` float32 logits of scores; one score a row is the second of two, the first being 0."""
    if scores.ndim == 2:
        return scores.T.astype(np.float32)
    return np.stack([np.zeros_like(scores), scores]).astype(np.float32)


def _softmax(logits: Floats) -> Floats:
    shifted: Floats = logits - logits.max(axis=0)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=0)
    return shifted


def _scaled(hessian: Floats, n_classes: int) -> Floats:
    """With two classes and one score the Hessian is exact; with a score for each class it is a bound."""
    if len(hessian) > 1:
        hessian *= np.float32(n_classes / (n_classes - 1))
    np.maximum(hessian, np.float32(1e-16), out=hessian)
    return hessian


def _as_scores(values: Floats) -> Floats:
    return values.T if len(values) > 1 else values[0]
