"""Rows from conditional distributions: some features of each row are drawn anew, given all its others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import narwhals as nw
import numpy as np
from sklearn.tree import ExtraTreeRegressor

from potstill.transfer.augment.blocks import find_blocks, one_hot_groups
from potstill.transfer.augment.coding import Coded, code_column
from potstill.transfer.augment.near import embed
from potstill.transfer.augment.rows import Column, draw_new_rows, spread_parents
from potstill.types import TABLE_KINDS, ColumnKind, Dataset, Floats, Ints

_MOST_TREE_ROWS = 20_000


class Conditional(msgspec.Struct, frozen=True):
    """Draws from conditional distributions that trees have learned.

    For each block of columns that belong together (see `blocks.find_blocks`) one tree learns to tell its
    values from all other columns. Each new row starts as a copy of a parent; block after block, with the
    row's own probability, is replaced by that of a random real row in the leaf that the row, as it is by
    then, falls into. So values stay real ones and only what a tree found to matter ties them together. No
    new row equals a real one or another new one; where the columns leave no room for that, there are fewer
    rows than asked for.

    Parameters
    ----------
    leaf_rows
        Real rows in a leaf at least.
    redrawn
        Probabilities that a block is drawn anew; each new row has one of them.

    References
    ----------
    Reiter: Using CART to generate partially synthetic public use microdata, J. Official Statistics 2005.
    Fakoor et al.: Fast, accurate, and simple models for tabular data via augmented distillation, NeurIPS
    2020, section 4 (Gibbs sampling for distillation).
    """

    name: ClassVar[str] = "conditional"
    reads: ClassVar[frozenset[ColumnKind]] = TABLE_KINDS
    leaf_rows: int = 10
    redrawn: tuple[float, ...] = (0.15, 0.3, 0.5)

    def augment(self, dataset: Dataset, n_rows: int, *, seed: int) -> tuple[nw.DataFrame[Any], Ints]:
        """At most ``n_rows`` new rows, and ``(n,)`` the position of each one's parent in ``dataset``."""
        columns = [code_column(dataset.rows[column.name], column.kind) for column in dataset.schema.columns]
        if n_rows < 1 or len(dataset) < 3 or not columns:
            return dataset.rows.head(0), np.empty(0, dtype=np.int64)
        rng = np.random.default_rng(seed)
        parents = spread_parents(len(dataset), n_rows, rng)
        draft = _Draft(columns, _learn(columns, self.leaf_rows, rng), parents, self.redrawn)
        return draw_new_rows(dataset, columns, draft, rng)


@dataclass(frozen=True)
class _Leaves:
    """A block, the other columns, and the tree that tells the one from the others.

    Parameters
    ----------
    block, others
        Positions of columns.
    tree
        None where there are no other columns: then all rows are in one leaf.
    rows, start, count
        Real rows sorted by leaf; for each leaf the first of its rows there, and their number.
    """

    block: list[int]
    others: list[int]
    tree: ExtraTreeRegressor | None
    rows: Ints
    start: Ints
    count: Ints

    def pick(self, features: Floats, rng: np.random.Generator) -> Ints:
        """A real row out of each row's leaf, at random."""
        leaf = _apply(self.tree, features[:, self.others])
        donors: Ints = self.rows[self.start[leaf] + rng.integers(0, self.count[leaf])]
        return donors


class _Draft:
    """New rows as positions of real ones: whence each block comes."""

    def __init__(
        self, columns: Sequence[Coded], learned: Sequence[_Leaves], parents: Ints, redrawn: Sequence[float]
    ) -> None:
        self._columns = columns
        self._learned = learned
        self._features = _features(columns)
        self._redrawn = redrawn
        self.parents = parents
        self._source = np.tile(parents, (len(columns), 1))

    def draw(self, index: Ints, *, again: bool, rng: np.random.Generator) -> None:
        """Draw the new rows at ``index``; in each at least one block is drawn anew."""
        if again:
            self.parents[index] = rng.integers(0, len(self._features), len(index))
        probability = max(self._redrawn) if again else rng.choice(self._redrawn, len(index))
        self._source[:, index] = self.parents[index]
        features = self._features[self.parents[index]]
        surely = rng.integers(0, len(self._learned), len(index))
        for block in rng.permutation(len(self._learned)):
            leaves = self._learned[block]
            anew = np.flatnonzero((rng.random(len(index)) < probability) | (surely == block))
            if not len(anew):
                continue
            donors = leaves.pick(features[anew], rng)
            for position in leaves.block:
                self._source[position, index[anew]] = donors
                features[anew, position] = self._features[donors, position]

    def columns(self, index: Ints) -> list[Column]:
        """The values of the new rows at ``index``, column by column."""
        sources = self._source[:, index]
        return [
            Column(column, column.values[source], column.codes[source], source)
            for column, source in zip(self._columns, sources, strict=True)
        ]


def _learn(columns: Sequence[Coded], leaf_rows: int, rng: np.random.Generator) -> list[_Leaves]:
    n = len(columns[0].values)
    seen = np.sort(rng.choice(n, min(n, _MOST_TREE_ROWS), replace=False))
    features = _features(columns)
    learned = []
    for block in find_blocks(columns):
        others = [position for position in range(len(columns)) if position not in block]
        tree = None
        if others:
            part = [columns[position] for position in block]
            told = embed(part, one_hot_groups(part, seen), rng)
            tree = ExtraTreeRegressor(
                min_samples_leaf=leaf_rows, max_features=1.0, random_state=int(rng.integers(2**31))
            ).fit(features[seen][:, others], told[seen])
        leaf = _apply(tree, features[:, others])
        count = np.bincount(leaf)
        learned.append(_Leaves(block, others, tree, np.argsort(leaf), np.cumsum(count) - count, count))
    return learned


def _features(columns: Sequence[Coded]) -> Floats:
    """``(n, p)`` float32: numbers by rank, missing below all, names by code."""
    return np.stack(
        [
            (np.where(np.isnan(column.values), -1.0, column.ranks) if column.ordered else column.codes)
            for column in columns
        ],
        axis=1,
    ).astype(np.float32)


def _apply(tree: ExtraTreeRegressor | None, features: Floats) -> Ints:
    if tree is None:
        return np.zeros(len(features), dtype=np.int64)
    return np.asarray(tree.apply(features), dtype=np.int64)
