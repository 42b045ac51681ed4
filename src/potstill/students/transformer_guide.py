"""What a student made of some of an encoder's layers is drawn to: the whole encoder, fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from potstill.networks.bert import BertShape, Encoded, Pooling, Weights, encoded, pooled
from potstill.networks.fine_tuning import Pieces, answers
from potstill.networks.precision import half_precision
from potstill.students.text_vectors import variance
from potstill.types import Floats

VARIANCE_ROWS = 1_000
"""Texts that tell how far apart texts are."""


@dataclass(frozen=True, eq=False)
class Mentor:
    """The whole encoder. It is asked about a text when the student first learns from it, and never again.

    Parameters
    ----------
    weights, shape
        Of the encoder, with the rows of its embedding table that the texts need.
    kept
        Which of its layers the student's began as, in their order.
    mass
        ``(n,)`` weights of the rows.
    pooling
        How a text's vector is made.
    vectors, known
        ``(n, H)`` what it makes of the texts, as far as it was asked: ``(n,)`` whether. Without rows where
        texts are not matched.
    variance
        Of these vectors.
    matching, attention
        Weights of the two losses, see `loss`.

    References
    ----------
    Jiao et al. (2020), TinyBERT: Distilling BERT for Natural Language Understanding. Wang et al. (2020),
    MiniLM: Deep Self-Attention Distillation (attention as distributions).
    """

    weights: Weights
    shape: BertShape
    kept: Sequence[int]
    mass: Tensor
    pooling: Pooling
    vectors: Tensor
    known: Tensor
    variance: float
    matching: float
    attention: float

    @classmethod
    def of(
        cls,
        weights: Weights,
        shape: BertShape,
        kept: Sequence[int],
        pieces: Pieces,
        weight: Floats,
        known: Floats | None = None,
        *,
        pooling: Pooling,
        matching: float,
        attention: float,
    ) -> Mentor:
        """Of an encoder that is asked about ``(n, P)`` pieces; ``weight`` is that of the rows.

        ``known`` ``(n, H)`` are its vectors of the texts it was asked about before; NaN for others.
        """
        n_matched = len(pieces) if matching else 0
        vectors, asked = torch.zeros(n_matched, shape.width), torch.zeros(n_matched, dtype=torch.bool)
        if n_matched and known is not None:
            vectors = torch.from_numpy(np.nan_to_num(known.astype(np.float32)))
            asked = torch.from_numpy(~np.isnan(known[:, 0]))
        apart = 1.0
        if n_matched:
            some = np.linspace(0, n_matched - 1, min(VARIANCE_ROWS, n_matched)).astype(np.int64)
            new = some[~asked[some].numpy()]
            if len(new):
                answered = answers(weights, shape, pieces[new], pooling, exact=False)
                vectors[new], asked[new] = torch.from_numpy(answered), True
            apart = variance(vectors[some])
        return cls(
            weights,
            shape,
            kept,
            torch.from_numpy(weight),
            pooling,
            vectors,
            asked,
            apart,
            matching,
            attention,
        )

    @property
    def wants_scores(self) -> bool:
        """Whether it looks at the scores of attention."""
        return self.attention > 0

    def loss(self, found: Encoded, texts: Tensor, pieces: Tensor, rows: Tensor) -> Tensor:
        """How far the student is from the encoder; see `potstill.networks.fine_tuning.Guide`.

        ``matching`` times the mean squared distance of the texts' vectors, in variances of the encoder's; and
        ``attention`` times, in the mean over the student's layers, the same distance of the pieces' vectors
        after the layer plus the divergence of what each piece attends to from what it attends to there.
        """
        mass = self.mass[rows]
        total = torch.zeros(())
        if self.matching:
            distance = (texts - self._asked(pieces, rows)).square().mean(dim=1) / self.variance
            total = self.matching * (distance * mass).mean()
        if self.attention:
            total = total + self.attention * (self._of_layers(found, pieces) * mass).mean()
        return total

    def _asked(self, pieces: Tensor, rows: Tensor) -> Tensor:
        """``(n, H)`` its vectors of these texts."""
        new = ~self.known[rows]
        if new.any():
            with torch.no_grad(), half_precision():
                found = encoded(self.weights, self.shape, pieces[new])
                self.vectors[rows[new]] = pooled(found.states[-1].float(), pieces[new], self.pooling)
            self.known[rows] = True
        return self.vectors[rows]

    def _of_layers(self, found: Encoded, pieces: Tensor) -> Tensor:
        """``(n,)`` distance of the layers from those of the encoder."""
        with torch.no_grad(), half_precision():
            theirs = encoded(self.weights, self.shape, pieces, with_scores=True)
        there = (pieces != 0).float()
        parts = []
        for layer, old in enumerate(self.kept):
            wanted = theirs.states[old + 1].float()
            apart = (found.states[layer + 1].float() - wanted).square().mean(dim=2)
            distance = apart / variance(wanted[there > 0])
            aims, ours = (
                scores.float().log_softmax(dim=3) for scores in (theirs.scores[old], found.scores[layer])
            )
            divergence = (aims.exp() * (aims - ours)).sum(dim=3).mean(dim=1)
            parts.append((distance + divergence) * there)
        return torch.stack(parts).mean(dim=0).sum(dim=1) / there.sum(dim=1).clamp(min=1)
