"""Rows between near neighbours: some features of each row are taken from, or moved towards, rows like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from potstill.transfer.augment.blocks import find_blocks, one_hot_groups
from potstill.transfer.augment.coding import Coded, code_column
from potstill.transfer.augment.near import embed, nearest
from potstill.transfer.augment.rows import Column, draw_new_rows, real_column, row_hashes, spread_parents
from potstill.types import TABLE_KINDS, Bools, ColumnKind, Dataset, Ints

_GROUP_SAMPLE_ROWS = 20_000


class Neighbours(msgspec.Struct, frozen=True):
    """Block-wise exchange with near neighbours, after MUNGE, for numbers and names together.

    Each new row starts as a copy of a parent. Each block of columns that belong together (see
    `blocks.find_blocks`) is taken, with the row's own probability, from one of the parent's near
    neighbours: numbers with many values end up anywhere between the parent's and the neighbour's, all
    others are exchanged. No new row equals a real one or another new one; where the columns leave no room
    for that, there are fewer rows than asked for.

    Parameters
    ----------
    k
        Near neighbours to draw from.
    exchange
        Probabilities that a block is taken from a neighbour; each new row draws one of them.

    References
    ----------
    Bucila, Caruana, Niculescu-Mizil: Model compression, KDD 2006, section 3 (MUNGE).
    """

    name: ClassVar[str] = "neighbours"
    reads: ClassVar[frozenset[ColumnKind]] = TABLE_KINDS
    k: int = 10
    exchange: tuple[float, ...] = (0.15, 0.3, 0.5)

    def augment(self, dataset: Dataset, n_rows: int, *, seed: int) -> tuple[nw.DataFrame[Any], Ints]:
        """At most ``n_rows`` new rows, and ``(n,)`` the position of each one's parent in ``dataset``."""
        columns = [code_column(dataset.rows[column.name], column.kind) for column in dataset.schema.columns]
        if n_rows < 1 or len(dataset) < 3 or not columns:
            return dataset.rows.head(0), np.empty(0, dtype=np.int64)
        rng = np.random.default_rng(seed)
        parents = spread_parents(len(dataset), n_rows, rng)
        near = _near_rows(columns, self.k, rng)
        draft = _Draft(columns, near, parents, self.exchange)
        return draw_new_rows(dataset, columns, draft, rng)


@dataclass(frozen=True)
class _Near:
    """Near neighbours of each of n rows, rows that are equal to it left out."""

    group: Ints
    rows: Ints

    def pick(self, parents: Ints, rng: np.random.Generator) -> Ints:
        """One near neighbour of each parent, at random."""
        return self.rows[self.group[parents], rng.integers(0, self.rows.shape[1], len(parents))]


class _Draft:
    """New rows as positions of real ones: whence each block comes, and how far between the two."""

    def __init__(
        self, columns: Sequence[Coded], near: _Near, parents: Ints, exchange: Sequence[float]
    ) -> None:
        self._columns = columns
        self._blocks = find_blocks(columns)
        self._near = near
        self._exchange = exchange
        self.parents = parents
        self._source = np.tile(parents, (len(self._blocks), 1))
        self._share = np.zeros(self._source.shape, dtype=np.float32)

    def draw(self, index: Ints, *, again: bool, rng: np.random.Generator) -> None:
        """Draw the new rows at ``index``; in each at least one block comes from a neighbour."""
        if again:
            self.parents[index] = rng.integers(0, len(self._columns[0].values), len(index))
        probability = max(self._exchange) if again else rng.choice(self._exchange, len(index))
        parents = self.parents[index]
        surely = rng.integers(0, len(self._blocks), len(index))
        for block in range(len(self._blocks)):
            taken = (rng.random(len(index)) < probability) | (surely == block)
            self._source[block, index] = np.where(taken, self._near.pick(parents, rng), parents)
            self._share[block, index] = rng.random(len(index), dtype=np.float32)

    def columns(self, index: Ints) -> list[Column]:
        """The values of the new rows at ``index``, column by column."""
        made: list[Column | None] = [None] * len(self._columns)
        parents = self.parents[index]
        for block, positions in enumerate(self._blocks):
            source, share = self._source[block, index], self._share[block, index]
            for position in positions:
                made[position] = _between(self._columns[position], parents, source, share)
        return [column for column in made if column is not None]


def _between(column: Coded, parents: Ints, source: Ints, share: NDArray[np.float32]) -> Column:
    values = column.values[source]
    if not column.continuous:
        return Column(column, values, column.codes[source], source)
    moved: Bools = (source != parents) & ~column.atomic[parents] & ~column.atomic[source]
    own = column.values[parents[moved]]
    values[moved] = column.settled(own + share[moved] * (values[moved] - own))
    return Column(column, values, column.codes[source], source, moved)


def _near_rows(columns: Sequence[Coded], k: int, rng: np.random.Generator) -> _Near:
    n = len(columns[0].values)
    hashes = row_hashes([real_column(column) for column in columns])
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    if len(first) < 2:
        return _Near(group, first[:, None])
    sample = (
        np.arange(n)
        if n <= _GROUP_SAMPLE_ROWS
        else np.linspace(0, n - 1, _GROUP_SAMPLE_ROWS).astype(np.int64)
    )
    points = embed(columns, one_hot_groups(columns, sample), rng)[first]
    return _Near(group, first[nearest(points, min(k, len(first) - 1), rng)])
