"""Rows as the members of the default ensemble take them.

Twelve members are fitted on the same folds and asked about the same rows, so the encoded rows of a few data
sets are kept, each as long as its data set lives.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from potstill.modalities.tabular import TabularEncoder
from potstill.types import Dataset, Floats, Ints, Schema

LARGEST = np.float32(1e30)
"""Stands in for infinity, which some libraries refuse; its square overflows a float32."""

_KEPT = 16
"""How many encoded data sets are kept: the folds of one round and the rows they are asked about."""


@dataclass(frozen=True, eq=False)
class Table:
    """Encoded rows.

    Parameters
    ----------
    numeric
        ``(n, F)`` float32, finite or NaN where missing.
    categorical
        ``(n, C)`` int64 level ids: 0 unseen, 1 missing, 2… the levels.
    ranks
        For each categorical column the place of every id in the natural order of its levels (numbers by
        value, text by alphabet), float32, NaN for unseen and missing. Levels such as ``a`` to ``h`` or ``1``
        to ``12`` often have an order worth knowing.
    """

    numeric: Floats
    categorical: Ints
    ranks: tuple[Floats, ...]

    def __len__(self) -> int:
        return len(self.numeric)

    def followed_by(self, other: Table) -> Table:
        """These rows, then those of ``other``, which is of the same encoding."""
        return Table(
            np.concatenate([self.numeric, other.numeric]),
            np.concatenate([self.categorical, other.categorical]),
            self.ranks,
        )

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of ids of each categorical column."""
        return tuple(len(rank) for rank in self.ranks)

    @property
    def ranked(self) -> Floats:
        """``(n, F + C)`` float32: the numbers, then the ranks of the categories."""
        if not self.ranks:
            return self.numeric
        ranked = [rank[self.categorical[:, column]] for column, rank in enumerate(self.ranks)]
        return np.column_stack([self.numeric, *ranked])

    @property
    def native(self) -> Floats:
        """``(n, F + C)`` float32: the numbers, then the categories as 0, 1… (NaN for unseen and missing)."""
        if not self.ranks:
            return self.numeric
        ids = self.categorical.astype(np.float32)
        return np.hstack([self.numeric, np.where(ids < 2, np.float32(np.nan), ids - 2)])


@dataclass(frozen=True, eq=False)
class Encoding:
    """The encoder of one data set and the order of its levels."""

    encoder: TabularEncoder
    ranks: tuple[Floats, ...]

    @classmethod
    def fit(cls, dataset: Dataset) -> Encoding:
        """Fit on ``dataset``."""
        encoder = TabularEncoder.fit(dataset)
        return cls(encoder, _level_ranks(dataset.schema))

    def table(self, dataset: Dataset) -> Table:
        """The encoded rows of ``dataset``."""
        key = id(dataset)
        owner, encoder, table = _TABLES.get(key, (None, None, None))
        if table is not None and owner is not None and owner() is dataset and encoder == self.encoder:
            return table
        tensors = self.encoder.encode(dataset.rows)
        table = Table(np.clip(tensors["numeric"], -LARGEST, LARGEST), tensors["categorical"], self.ranks)
        _TABLES[key] = (weakref.ref(dataset, lambda _: _TABLES.pop(key, None)), self.encoder, table)
        if len(_TABLES) > _KEPT:
            _TABLES.popitem(last=False)
        return table


_TABLES: OrderedDict[int, tuple[weakref.ref[Dataset], TabularEncoder, Table]] = OrderedDict()


def _level_ranks(schema: Schema) -> tuple[Floats, ...]:
    ranks = []
    for column in schema.columns:
        if column.kind == "categorical":
            rank = np.full(2 + len(column.levels), np.nan, np.float32)
            rank[2 + _natural_order(column.levels)] = np.arange(len(column.levels))
            ranks.append(rank)
    return tuple(ranks)


def _natural_order(levels: Sequence[str]) -> Ints:
    try:
        return np.argsort([float(level) for level in levels], kind="stable").astype(np.int64)
    except ValueError:
        return np.array(sorted(range(len(levels)), key=levels.__getitem__), np.int64)
