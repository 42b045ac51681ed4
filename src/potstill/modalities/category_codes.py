"""Categories as numbers for trees: a few columns each, looked up by level id.

Trees that must become ONNX cannot split on sets of levels. Each categorical column is turned into indicators
(few levels) and into the mean target of its level (three levels or more), all of it one table look-up at
inference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from potstill.graph import GraphBuilder
from potstill.types import Doubles, FeatureSpec, Floats, Ints

MAX_INDICATORS = 8
MAX_PROFILE = 6
N_COMPONENTS = 4
SMOOTHING = 10.0
TRUSTED_WEIGHT = 200.0
N_FOLDS = 5


@dataclass(frozen=True)
class CategoryCodes:
    """Fitted codes: feature ``f`` of a row is ``table[ids[column[f]] + offset[f]]``.

    Parameters
    ----------
    column
        ``(P,)`` categorical column each feature reads.
    offset
        ``(P,)`` where the feature's values begin in ``table``.
    table
        Values of all features for all level ids, end to end.
    """

    column: Ints
    offset: Ints
    table: Floats

    def encode(self, ids: Ints) -> Floats:
        """``(n, P)`` float32 features of ``(n, C)`` level ids."""
        codes: Floats = self.table[ids[:, self.column] + self.offset]
        return codes

    def build(self, graph: GraphBuilder, ids: str) -> str:
        """Add the look-up of ``ids``; return the name of the ``(n, P)`` result."""
        picked = graph.node("Gather", ids, graph.constant(self.column), axis=1)
        index = graph.node("Add", picked, graph.constant(self.offset))
        return graph.node("Gather", graph.constant(self.table), index)


def fit_category_codes(
    ids: Ints, targets: Floats, weight: Floats, *, spec: FeatureSpec, seed: int
) -> tuple[CategoryCodes, Floats]:
    """Learn the codes of every categorical column.

    Parameters
    ----------
    ids
        ``(n, C)`` level ids of the training rows.
    targets
        ``(n, D)`` what the student is taught: blended probabilities, or values ``(n, 1)``.
    weight
        ``(n,)`` sample weights.
    spec
        Says how many level ids each column has.
    seed
        Of the folds.

    Returns
    -------
    codes
        For new rows.
    train_codes
        ``(n, P)`` codes of the training rows themselves: the mean target of a level with little weight is
        taken from other folds, so that no row finds its own target among its features.
    """
    profile = _informative_columns(targets)
    folds = np.random.default_rng(seed).integers(0, N_FOLDS, size=len(ids))
    columns: list[int] = []
    tables: list[Floats] = []
    features: list[Floats] = []
    for column, cardinality in enumerate(spec.cardinalities):
        levels = ids[:, column]
        indicators = _indicators(levels, cardinality)
        columns += [column] * len(indicators)
        tables += list(indicators)
        features += list(indicators[:, levels])
        if np.unique(levels).size > 2:
            means, own = _level_means(levels, profile, weight, cardinality=cardinality, folds=folds)
            columns += [column] * means.shape[1]
            tables += list(means.T)
            features += list(own.T)
    sizes = [len(table) for table in tables]
    codes = CategoryCodes(
        column=np.array(columns, dtype=np.int64),
        offset=np.cumsum([0, *sizes[:-1]], dtype=np.int64) if sizes else np.zeros(0, dtype=np.int64),
        table=np.concatenate(tables) if tables else np.zeros(0, dtype=np.float32),
    )
    train_codes = np.stack(features, axis=1) if features else np.zeros((len(ids), 0), dtype=np.float32)
    return codes, train_codes


def _informative_columns(targets: Floats) -> Floats:
    """Of two complementary probabilities one says it all."""
    return targets[:, 1:] if targets.shape[1] == 2 else targets


def _indicators(levels: Ints, cardinality: int) -> Floats:
    """``(I, cardinality)`` one row for each level worth an indicator; none if there are too many levels."""
    present = np.unique(levels)
    known = present[present > 0]
    if len(known) > MAX_INDICATORS + 1 or len(present) < 2:
        return np.zeros((0, cardinality), dtype=np.float32)
    if len(known) == 2 and len(present) == 2:
        known = known[:1]
    indicators: Floats = (known[:, None] == np.arange(cardinality)).astype(np.float32)
    return indicators


def _level_means(
    levels: Ints, profile: Floats, weight: Floats, *, cardinality: int, folds: Ints
) -> tuple[Floats, Floats]:
    """Smoothed mean target of each level ``(cardinality, S)``, and of each training row ``(n, S)``."""
    prior: Doubles = np.average(profile.astype(np.float64), axis=0, weights=weight)
    mass, total = _sums(levels, profile, weight, cardinality)
    means = _smoothed(mass, total, prior)
    basis = _basis(means, mass)
    own = means[levels]
    small = mass[levels] < TRUSTED_WEIGHT
    if small.any():
        for fold in range(N_FOLDS):
            inside = folds == fold
            fold_mass, fold_total = _sums(levels[inside], profile[inside], weight[inside], cardinality)
            others = _smoothed(mass - fold_mass, total - fold_total, prior)
            rows = inside & small
            own[rows] = others[levels[rows]]
    codes: Floats = ((means - prior) @ basis).astype(np.float32)
    own_codes: Floats = ((own - prior) @ basis).astype(np.float32)
    return codes, own_codes


def _sums(levels: Ints, profile: Floats, weight: Floats, cardinality: int) -> tuple[Doubles, Doubles]:
    mass = np.bincount(levels, weights=weight, minlength=cardinality).astype(np.float64)
    columns = [
        np.bincount(levels, weights=weight * profile[:, k], minlength=cardinality)
        for k in range(profile.shape[1])
    ]
    return mass, np.stack(columns, axis=1)


def _smoothed(mass: Doubles, total: Doubles, prior: Doubles) -> Doubles:
    smoothed: Doubles = (total + SMOOTHING * prior) / (mass + SMOOTHING)[:, None]
    return smoothed


def _basis(means: Doubles, mass: Doubles) -> Doubles:
    """Directions ``(D, S)`` in which levels differ: the outputs, or the first principal ones when many."""
    n_outputs = means.shape[1]
    if n_outputs <= MAX_PROFILE:
        return np.eye(n_outputs)
    centred = means - np.average(means, axis=0, weights=mass)
    _, _, directions = np.linalg.svd(np.sqrt(mass)[:, None] * centred, full_matrices=False)
    # An eigenvector's sign is arbitrary: its largest part is made positive.
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])
    basis: Doubles = (signs[:, None] * directions)[:N_COMPONENTS].T
    return basis
