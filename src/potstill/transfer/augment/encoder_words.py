"""Which words mean alike, as a pretrained encoder has it: also words that no text has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from potstill.modalities.pretrained_pieces import wordpiece_of
from potstill.modalities.text import whole_words
from potstill.networks.bert_folder import read_bert
from potstill.networks.fine_tuning import answers

MOST_OFFERED = 12_000
"""Words of the encoder's vocabulary that others may be exchanged for, the most frequent of the language."""

MOST_PIECES = 8
_WORDS_AT_ONCE = 1_000


def alike_words(checkpoint: str, words: Sequence[str], k: int) -> Mapping[str, list[str]]:
    """For each of ``words`` the ``k`` others whose vectors are nearest, the nearest first.

    Others are ``words`` too, and the most frequent ones of the encoder's vocabulary.

    Parameters
    ----------
    checkpoint
        Folder of an encoder of BERT's kind.
    words
        Different words in small letters.
    k
        Near words of each.

    Raises
    ------
    UserError
        There is no such encoder.
    """
    tokenizer = wordpiece_of(checkpoint, max_pieces=MOST_PIECES)
    offered = list(dict.fromkeys([*words, *whole_words(tokenizer)[:MOST_OFFERED]]))
    shape, weights = read_bert(checkpoint)
    vectors = answers(weights, shape, tokenizer.ids(offered), "mean", exact=False)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    most = min(k, len(offered) - 1)
    near: dict[str, list[str]] = {}
    for start in range(0, len(words), _WORDS_AT_ONCE):
        alike = vectors[start : min(start + _WORDS_AT_ONCE, len(words))] @ vectors.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -2.0
        best = np.argpartition(-alike, most - 1, axis=1)[:, :most] if most else np.empty((len(alike), 0), int)
        order = np.argsort(-np.take_along_axis(alike, best, axis=1), axis=1, kind="stable")
        for word, row in zip(words[start:], np.take_along_axis(best, order, axis=1), strict=False):
            near[word] = [offered[other] for other in row]
    return near
