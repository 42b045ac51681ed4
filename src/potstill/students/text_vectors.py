"""Vectors of texts that a fine-tuned encoder gives: what students are drawn to beside the answers."""

from __future__ import annotations

import time

import msgspec
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from potstill.modalities.vocabulary import read_vocabulary
from potstill.networks.bert import BertShape, Weights, rows_for
from potstill.networks.bert_folder import read_bert, read_shape, read_weights
from potstill.networks.fine_tuning import Pieces, answers
from potstill.types import FeatureSpec

ROWS_AT_ONCE = 512

LEAST_VARIANCE = 1e-12


def pretrained(
    checkpoint: str, tuned: str | None, spec: FeatureSpec, positions: int
) -> tuple[BertShape, Weights]:
    """The whole encoder for the word pieces of ``spec`` and texts of ``positions`` pieces.

    Parameters
    ----------
    checkpoint
        Folder of a pretrained encoder of BERT's kind.
    tuned
        File of its weights after fine-tuning; the same folder, or None, for those in the folder.
    """
    if tuned is None or tuned == checkpoint:
        whole, weights = read_bert(checkpoint)
    else:
        whole, weights = read_shape(checkpoint), read_weights(tuned)
    weights["word"] = rows_for(weights["word"], read_vocabulary(checkpoint).pieces, spec.pieces)
    weights["position"] = weights["position"][:positions]
    shape = msgspec.structs.replace(whole, pieces=len(spec.pieces), positions=len(weights["position"]))
    return shape, weights


def text_vectors(
    checkpoint: str, tuned: str, pieces: Pieces, spec: FeatureSpec, limit_s: float | None
) -> NDArray[np.float16]:
    """``(n, H)``: the mean of the last layer over the pieces of each text, by one core.

    Parameters
    ----------
    checkpoint, tuned
        As in `pretrained`.
    pieces
        ``(n, P)`` as in ``tensors["pieces"]``.
    limit_s
        Seconds; None for as long as it takes. Texts for which there is no time have NaN, the last first.
    """
    begin = time.monotonic()
    shape, weights = pretrained(checkpoint, tuned, spec, pieces.shape[1])
    found = np.full((len(pieces), shape.width), np.nan, dtype=np.float16)
    with threadpool_limits(limits=1):
        for start in range(0, len(pieces), ROWS_AT_ONCE):
            if limit_s is not None and time.monotonic() - begin > limit_s:
                break
            some = slice(start, start + ROWS_AT_ONCE)
            found[some] = answers(weights, shape, pieces[some], "mean", exact=False)
    return found


def variance(vectors: Tensor) -> float:
    """Mean over the dimensions of the variance of ``(n, H)`` vectors."""
    return max(float(vectors.var(dim=0, correction=0).mean()), LEAST_VARIANCE)
