"""What a bag of words is drawn to beside the answers: an encoder's vectors of the same texts.

For as long as it learns it has more outputs, one for each number of such a vector; they are taken off after.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from potstill.students.bag_of_words import BagInputs, Weights
from potstill.students.network_training import Lesson
from potstill.students.text_vectors import variance
from potstill.types import Floats


@dataclass(frozen=True, eq=False)
class Hints:
    """Vectors of texts.

    Parameters
    ----------
    vectors
        ``(n, H)``, mean 0 and variance 1 over all dimensions together; 0 where they are not known.
    known
        ``(n,)`` float, 1 where they are.

    References
    ----------
    Romero et al. (2015), FitNets: Hints for Thin Deep Nets.
    """

    vectors: Tensor
    known: Tensor

    @classmethod
    def of(cls, vectors: Floats) -> Self | None:
        """Of ``(n, H)`` vectors, NaN where they are not known; None where none is."""
        known = ~np.isnan(vectors[:, 0])
        if not known.any():
            return None
        there, whole = torch.from_numpy(known), torch.from_numpy(vectors.astype(np.float32))
        seen = whole[there]
        scaled = (whole - seen.mean(dim=0)) / math.sqrt(variance(seen))
        return cls(scaled.nan_to_num(), there.float())

    def add_outputs(self, weights: Weights, generator: torch.Generator) -> None:
        """Give the network an output for each dimension, after those it has."""
        width, dim = len(weights["logit_weight"]), self.vectors.shape[1]
        more = torch.randn(width, dim, generator=generator) * (0.3 / math.sqrt(width))
        weights["logit_weight"] = torch.cat([weights["logit_weight"], more], dim=1)
        weights["logit_bias"] = torch.cat([weights["logit_bias"], torch.zeros(dim)])

    def without_outputs(self, weights: Weights) -> Weights:
        """The network without the outputs that `add_outputs` gave it."""
        own = len(weights["logit_bias"]) - self.vectors.shape[1]
        cut = {name: weights[name][..., :own].contiguous() for name in ("logit_weight", "logit_bias")}
        return {**weights, **cut}


@dataclass(frozen=True, eq=False)
class HintedLesson:
    """A lesson, and ``matching`` times the mean squared distance from the hints."""

    lesson: Lesson[BagInputs]
    hints: Hints
    matching: float

    @property
    def inputs(self) -> BagInputs:
        return self.lesson.inputs

    def loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        """As `Lesson.loss`, of answers with the outputs for the hints after them."""
        own = logits.shape[1] - self.hints.vectors.shape[1]
        away = (logits[:, own:] - self.hints.vectors[rows]).square().mean(dim=1)
        mass = self.hints.known[rows] * self.lesson.weight[rows]
        return self.lesson.loss(logits[:, :own], rows) + self.matching * (away * mass).mean()
