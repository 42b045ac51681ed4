"""Columns that belong together: what changes in one must change in the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from potstill.transfer.augment.coding import Coded
from potstill.types import Ints

_SAMPLE_ROWS, _FEW_ROWS = 20_000, 500
_ONE_HOT_SHARE = 0.95
_SAME_ORDER = 0.95
_MOST_PAIRS = 1_000_000
_LEAST_REPEATS = 20


def find_blocks(columns: Sequence[Coded]) -> list[list[int]]:
    """Group columns into blocks, by position, each column in exactly one.

    Together are: a run of 0/1 columns of which (nearly) always exactly one is 1; a column and another that
    it determines (``education`` and ``education_num``); numbers in nearly the same order (rank correlation
    above .95). Judged on at most 20,000 rows.
    """
    n = len(columns[0].values)
    rows = np.arange(n) if n <= _SAMPLE_ROWS else np.linspace(0, n - 1, _SAMPLE_ROWS).astype(np.int64)
    owner = list(range(len(columns)))
    for group in one_hot_groups(columns, rows):
        for position in group[1:]:
            owner[position] = group[0]
    single = [position for position in range(len(columns)) if owner.count(owner[position]) == 1]
    for first, second in _same_order(columns, single, rows) + _determined(columns, single, rows):
        old, new = owner[second], owner[first]
        owner = [new if value == old else value for value in owner]
    blocks: dict[int, list[int]] = {}
    for position, value in enumerate(owner):
        blocks.setdefault(value, []).append(position)
    return list(blocks.values())


def one_hot_groups(columns: Sequence[Coded], rows: Ints) -> list[list[int]]:
    """Runs of neighbouring 0/1 columns that are never 1 together and of which one nearly always is."""
    groups: list[list[int]] = []
    run: list[int] = []
    ones = np.zeros(len(rows))
    for position, column in enumerate([*columns, None]):
        flags = column.values[rows] if column is not None and column.is_flag else None
        if flags is not None and run and (ones + flags).max() <= 1:
            run.append(position)
            ones = ones + flags
            continue
        if len(run) > 1 and ones.mean() >= _ONE_HOT_SHARE:
            groups.append(run)
        run, ones = ([position], flags) if flags is not None else ([], np.zeros(len(rows)))
    return groups


def _same_order(columns: Sequence[Coded], positions: Sequence[int], rows: Ints) -> list[tuple[int, int]]:
    numbers = [position for position in positions if columns[position].continuous]
    if len(numbers) < 2 or len(rows) < 3:
        return []
    ranks = np.stack([columns[position].ranks[rows] for position in numbers])
    correlation = np.atleast_2d(np.corrcoef(ranks))
    return [
        (numbers[i], numbers[j])
        for i in range(len(numbers))
        for j in range(i + 1, len(numbers))
        if abs(correlation[i, j]) > _SAME_ORDER
    ]


def _determined(columns: Sequence[Coded], positions: Sequence[int], rows: Ints) -> list[tuple[int, int]]:
    most = len(rows) // _LEAST_REPEATS
    few = [position for position in positions if 2 < columns[position].n_codes <= most]
    codes = {position: columns[position].codes[rows].astype(np.int64) for position in few}
    pairs = [
        (first, second)
        for first, second in itertools.combinations(sorted(few), 2)
        if columns[first].n_codes * columns[second].n_codes <= _MOST_PAIRS
    ]
    # What holds for all rows holds for a few of them: most pairs are done with soon.
    for step in (max(1, len(rows) // _FEW_ROWS), 1):
        some = {position: values[::step] for position, values in codes.items()}
        distinct = {position: len(np.unique(values)) for position, values in some.items()}
        pairs = [
            (a, b)
            for a, b in pairs
            if len(np.unique(some[a] * columns[b].n_codes + some[b])) == max(distinct[a], distinct[b])
        ]
    return pairs
