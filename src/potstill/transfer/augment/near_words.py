"""Which words are used alike: by what stands to their left and to their right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_matrix

from potstill.types import Floats, Ints

MOST_WORDS = 8_000
"""Words that have neighbours, the most frequent."""

FEWEST = 3
"""Times that a word must be met to have any."""

CONTEXTS = 600
"""Words, the most frequent, that are told apart in what stands around."""

_WORDS_AT_ONCE = 1_000


def near_words(texts: Sequence[Sequence[str]], k: int) -> Mapping[str, list[str]]:
    """For each frequent word the ``k`` others that are met between the same words, the nearest first.

    Parameters
    ----------
    texts
        Each a sequence of words.
    k
        Near words of each.

    References
    ----------
    Levy, Goldberg, Dagan (2015), Improving Distributional Similarity with Lessons Learned from Word
    Embeddings (positive pointwise mutual information, smoothed).
    """
    counts = Counter(word for words in texts for word in words)
    known = [word for word, count in counts.most_common(MOST_WORDS) if count >= FEWEST]
    if len(known) < 2:
        return {}
    vectors = _context_vectors(texts, {word: at for at, word in enumerate(known)})
    near: dict[str, list[str]] = {}
    for start in range(0, len(known), _WORDS_AT_ONCE):
        alike = vectors[start : start + _WORDS_AT_ONCE] @ vectors.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -1.0
        best = np.argsort(-alike, axis=1, kind="stable")[:, :k]
        for word, row, at in zip(known[start:], alike, best, strict=False):
            near[word] = [known[other] for other in at if row[other] > 0]
    return near


def _context_vectors(texts: Sequence[Sequence[str]], position: Mapping[str, int]) -> Floats:
    """``(V, 2 C)``, of length 1: how much more often than by chance each word is to the left and right."""
    n_contexts = min(CONTEXTS, len(position)) + 1
    rows, columns = _neighbours(texts, position, n_contexts)
    shape = (len(position), 2 * n_contexts)
    together = coo_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape).toarray()
    chance = np.power(together.sum(axis=0), 0.75)
    chance /= max(chance.sum(), 1e-9)
    share = together / np.maximum(together.sum(axis=1, keepdims=True), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        vectors: Floats = np.maximum(np.nan_to_num(np.log(share / chance), neginf=0.0), 0).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return vectors


def _neighbours(
    texts: Sequence[Sequence[str]], position: Mapping[str, int], n_contexts: int
) -> tuple[Ints, Ints]:
    """Each known word with each frequent word beside it: rows, and columns of its place and side.

    The last context is the edge of a text.
    """
    rows, columns = [], []
    edge = n_contexts - 1
    for words in texts:
        ids = [edge, *(position.get(word, -1) for word in words), edge]
        for left, word, right in zip(ids, ids[1:-1], ids[2:], strict=False):
            if word < 0:
                continue
            for side, other in enumerate((left, right)):
                if 0 <= other < n_contexts:
                    rows.append(word)
                    columns.append(side * n_contexts + other)
    return np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)
