"""Who learns, who chooses, who judges: splits without leaks, and the folds of cross-fitting."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from potstill.data.columns import listed
from potstill.errors import UserError
from potstill.types import Dataset, Doubles, Ints

_STRATA = 10
"""Quantile bins that stand for classes when the target is a number."""

_ROWS_PER_FOLD = 10
_GROUP_DRAWS = 64
"""Random orders of the groups that are tried; the one with the evenest parts is kept."""


@dataclass(frozen=True)
class Split:
    """Positions of the rows of each part, ascending; ``test`` and ``valid`` may be empty."""

    train: Ints
    valid: Ints
    test: Ints


def split(
    dataset: Dataset, *, test_fraction: float, valid_fraction: float, seed: int, time: Doubles | None = None
) -> Split:
    """Divide the rows into train, validation and test.

    By time where ``time`` is given: test is the latest rows, validation the latest of the rest. By group
    where the dataset has groups. At random otherwise. Without time, classes (deciles of a number) are spread
    evenly. Every class is in train.

    Parameters
    ----------
    dataset
        Rows with labels.
    test_fraction, valid_fraction
        Shares of all rows, 0 for none.
    seed
        The same seed gives the same split.
    time
        ``(n,)`` sort key.

    Raises
    ------
    UserError
        There are too few rows, groups or moments, or train would lack a class.
    """
    shares = (1.0 - valid_fraction - test_fraction, valid_fraction, test_fraction)
    n_parts = 1 + sum(share > 0 for share in shares[1:])
    if min(shares[1:]) < 0 or shares[0] <= 0:
        raise UserError(
            f"Wanted fractions for test and validation that leave rows to train on, "
            f"got {test_fraction} and {valid_fraction}.",
            hint="0.2 and 0.2 are usual.",
        )
    if len(dataset) < 2 * n_parts:
        raise UserError(
            f"Wanted at least {2 * n_parts} rows to divide into {n_parts} parts, got {len(dataset)}.",
            hint="give more rows, or a test file of your own.",
        )
    strata = _strata(dataset)
    if time is not None:
        part = _by_time(time, shares, dataset.groups)
    elif dataset.groups is not None:
        part = _by_group(dataset.groups, strata, shares, seed)
    else:
        part = _at_random(strata, shares, seed)
    _check_classes(dataset, part)
    train, valid, test = (np.flatnonzero(part == number).astype(np.int64) for number in range(3))
    return Split(train, valid, test)


def fold_ids(dataset: Dataset, k: int, seed: int) -> Ints:
    """``(n,)`` fold of each row, 0…k'−1, groups kept whole and classes (deciles) spread evenly.

    ``k'`` is ``k`` or less: at least ten rows a fold, and no more folds than groups.

    Raises
    ------
    UserError
        There are fewer than two rows or groups.
    """
    n_units = len(dataset) if dataset.groups is None else len(np.unique(dataset.groups))
    if n_units < 2:
        what = "rows" if dataset.groups is None else "groups"
        raise UserError(f"Wanted at least two {what} to cross-fit, got {n_units}.", hint="give more rows.")
    k = min(max(2, min(k, len(dataset) // _ROWS_PER_FOLD)), n_units)
    strata = _strata(dataset)
    if dataset.groups is None:
        order = _shuffled_by_stratum(strata, np.random.default_rng(seed))
        folds = np.empty(len(dataset), dtype=np.int64)
        folds[order] = np.arange(len(dataset)) % k
        return folds
    # StratifiedGroupKFold refuses when every stratum is smaller than k; then only the groups matter.
    if np.bincount(strata).max() < k:
        strata = np.zeros_like(strata)
    folds = np.full(len(dataset), -1, dtype=np.int64)
    folder = StratifiedGroupKFold(n_splits=k, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, held_out) in enumerate(folder.split(strata, strata, dataset.groups)):
            folds[held_out] = fold
    _, dense = np.unique(folds, return_inverse=True)
    return np.asarray(dense, dtype=np.int64)


def _strata(dataset: Dataset) -> Ints:
    """``(n,)`` class of each row, or the decile of its value; 0 everywhere without labels."""
    labels = dataset.labels
    if labels is None:
        return np.zeros(len(dataset), dtype=np.int64)
    if dataset.task.is_classification:
        return labels.astype(np.int64) + 1
    edges = np.unique(np.nanquantile(labels, np.linspace(0, 1, _STRATA + 1)[1:-1]))
    return np.searchsorted(edges, labels).astype(np.int64)


def _shuffled_by_stratum(strata: Ints, rng: np.random.Generator) -> Ints:
    """All rows, stratum after stratum, in random order within each."""
    shuffled = rng.permutation(len(strata))
    return np.asarray(shuffled[np.argsort(strata[shuffled], kind="stable")], dtype=np.int64)


def _at_random(strata: Ints, shares: tuple[float, ...], seed: int) -> Ints:
    """Give each row a place in [0, 1) that is even within its stratum, and cut there.

    The first row of a stratum is at 0, so in train; the others are each at a random point of their own
    ``1 / size`` of the interval.
    """
    rng = np.random.default_rng(seed)
    order = _shuffled_by_stratum(strata, rng)
    counts = np.bincount(strata)
    rank = np.empty(len(strata))
    rank[order] = np.concatenate([np.arange(count) for count in counts])
    place = (rank + np.where(rank > 0, rng.random(len(strata)), 0.0)) / counts[strata]
    sizes = _sizes(len(strata), shares)
    part = np.empty(len(strata), dtype=np.int64)
    part[np.argsort(place, kind="stable")] = np.repeat(np.arange(3), sizes)
    return part


def _sizes(n_rows: int, shares: tuple[float, ...]) -> Ints:
    """Rows of train, validation and test; a part that is wanted has one at least."""
    valid, test = (max(round(share * n_rows), 1) if share > 0 else 0 for share in shares[1:])
    return np.array([n_rows - valid - test, valid, test], dtype=np.int64)


def _by_time(time: Doubles, shares: tuple[float, ...], groups: NDArray[Any] | None) -> Ints:
    """Earliest rows first; rows of one moment stay together."""
    if groups is not None:
        raise UserError(
            "Wanted a split by time or by group, got both.",
            hint="name one of the two: a group can span both sides.",
        )
    moments, ids = np.unique(time, return_inverse=True)
    wanted = sum(share > 0 for share in shares)
    if len(moments) < wanted:
        raise UserError(
            f"Wanted at least {wanted} different moments in the time column, got {len(moments)}.",
            hint="name another time column, or leave it out.",
        )
    return _cut(np.bincount(ids), shares)[ids]


def _by_group(groups: NDArray[Any], strata: Ints, shares: tuple[float, ...], seed: int) -> Ints:
    """The evenest of many random orders of the groups, cut where the sizes fit."""
    _, ids = np.unique(groups, return_inverse=True)
    counts = np.bincount(ids)
    wanted = sum(share > 0 for share in shares)
    if len(counts) < wanted:
        raise UserError(
            f"Wanted at least {wanted} groups to divide, got {len(counts)}.",
            hint="name another group column, or give a test file of your own.",
        )
    rng = np.random.default_rng(seed)
    expected = np.outer(shares, np.bincount(strata))
    best, lowest = np.zeros(len(counts), dtype=np.int64), np.inf
    for _ in range(_GROUP_DRAWS):
        order = rng.permutation(len(counts))
        drawn = np.empty(len(counts), dtype=np.int64)
        drawn[order] = _cut(counts[order], shares)
        seen = np.bincount(drawn[ids] * expected.shape[1] + strata, minlength=expected.size).reshape(
            expected.shape
        )
        lacking = ((seen[0] == 0) & (seen.sum(0) > 0)).sum() * len(strata)
        unevenness = float(np.abs(seen - expected).sum() + lacking)
        if unevenness < lowest:
            best, lowest = drawn, unevenness
    return best[ids]


def _cut(counts: Ints, shares: tuple[float, ...]) -> Ints:
    """Part of each unit (group, moment) when units of ``counts`` rows lie in a row that ``shares`` cut.

    Every part that is wanted gets a unit at least.
    """
    n_units = len(counts)
    middle = np.cumsum(counts) - counts / 2
    bounds = np.cumsum(shares) * counts.sum()
    first_valid = int(np.searchsorted(middle, bounds[0]))
    first_test = int(np.searchsorted(middle, bounds[1])) if shares[2] > 0 else n_units
    n_test = max(n_units - first_test, int(shares[2] > 0))
    n_valid = max(n_units - n_test - first_valid, 1) if shares[1] > 0 else 0
    n_test = max(min(n_test, n_units - n_valid - 1), int(shares[2] > 0))
    n_valid = min(n_valid, n_units - n_test - 1)
    return np.repeat(np.arange(3), [n_units - n_valid - n_test, n_valid, n_test])


def _check_classes(dataset: Dataset, part: Ints) -> None:
    if not dataset.task.is_classification or dataset.labels is None:
        return
    present = np.unique(dataset.labels[part == 0])
    absent = [label for code, label in enumerate(dataset.task.classes) if code not in present]
    if absent:
        raise UserError(
            f"Wanted every class among the rows to train on, but all rows of {listed(absent)} fall into "
            "validation or test.",
            hint="leave these classes out, or split neither by group nor by time.",
        )
