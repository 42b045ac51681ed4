"""Near neighbours in mixed columns: a space in which distance makes sense, and a fast search in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from potstill.transfer.augment.coding import Coded
from potstill.types import Floats, Ints

_NAME_DIMENSIONS = 8
_RANDOM_PAIR = 1 / 6
"""Mean squared difference of two uniform ranks: what every column contributes between random rows."""
_LEAST_MISMATCH = 0.3
_JITTER = 1e-3


def embed(columns: Sequence[Coded], groups: Sequence[Sequence[int]], rng: np.random.Generator) -> Floats:
    """Place rows in a space: numbers by rank, names by a vector for each level, so that columns weigh alike.

    Parameters
    ----------
    groups
        One-hot groups of columns, each counted as the one column of names that it is.

    Returns
    -------
    points : (n, D) float32
    """
    grouped = {position for group in groups for position in group}
    axes: list[Floats] = []
    for group in groups:
        flags = np.stack([columns[position].values for position in group])
        codes = np.where(flags.any(axis=0), flags.argmax(axis=0) + 1, 0)
        axes.append(_names(codes, rng))
    for position, column in enumerate(columns):
        if position in grouped:
            continue
        if not column.ordered:
            axes.append(_names(column.codes, rng))
            continue
        missing = np.isnan(column.values)
        axes.append(np.where(missing, 0.5, column.ranks)[:, None].astype(np.float32))
        if missing.any():
            axes.append((missing[:, None] * 0.5).astype(np.float32))
    points = np.concatenate(axes, axis=1)
    # Equal rows must not always find the same neighbours.
    jittered: Floats = points + rng.normal(0, _JITTER, points.shape).astype(np.float32)
    return jittered


def nearest(points: Floats, k: int, rng: np.random.Generator, *, leaf_rows: int = 2_048) -> Ints:
    """The ``k`` nearest other points of each point, ``(n, k)``, in no order.

    Exact up to ``leaf_rows`` points. Beyond, space is halved at random until each leaf has at most so many,
    and neighbours are sought within the leaf: time grows with ``n``, not its square.

    References
    ----------
    Dasgupta, Freund: Random projection trees and low dimensional manifolds, STOC 2008.
    """
    n = len(points)
    found = np.empty((n, k), dtype=np.int64)
    pending = [np.arange(n)]
    while pending:
        members = pending.pop()
        if len(members) <= leaf_rows:
            found[members] = members[_nearest_in_leaf(points[members], k)]
            continue
        first, second = rng.choice(members, 2, replace=False)
        along = points[members] @ (points[first] - points[second])
        order = np.argpartition(along, len(members) // 2)
        pending += [members[order[: len(members) // 2]], members[order[len(members) // 2 :]]]
    return found


def _nearest_in_leaf(points: Floats, k: int) -> Ints:
    centred = points - points.mean(axis=0)
    norms = np.square(centred).sum(axis=1)
    distances = norms[None, :] - 2 * (centred @ centred.T)
    np.fill_diagonal(distances, np.inf)
    return np.argpartition(distances, k - 1, axis=1)[:, :k]


def _names(codes: Ints, rng: np.random.Generator) -> Floats:
    n_codes = int(codes.max()) + 1
    if n_codes <= _NAME_DIMENSIONS:
        vectors = np.eye(n_codes)
    else:
        vectors = rng.normal(0, 1 / np.sqrt(_NAME_DIMENSIONS), (n_codes, _NAME_DIMENSIONS))
    shares = np.bincount(codes) / len(codes)
    mismatch = max(1 - float(shares @ shares), _LEAST_MISMATCH)
    # Two different levels are at squared distance 2 before scaling.
    scaled: Floats = (vectors * np.sqrt(_RANDOM_PAIR / mismatch / 2)).astype(np.float32)
    return scaled[codes]
