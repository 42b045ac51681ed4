"""Rows between any two rows: numbers mixed, everything else from one of the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import narwhals as nw
import numpy as np

from potstill.transfer.augment.blocks import find_blocks
from potstill.transfer.augment.coding import Coded, code_column
from potstill.transfer.augment.rows import Column, draw_new_rows, spread_parents
from potstill.types import TABLE_KINDS, Bools, ColumnKind, Dataset, Doubles, Ints


class Mixup(msgspec.Struct, frozen=True):
    """Mixtures of two random rows, with jitter.

    A new row lies on the way from a parent to a random other row, at most half of it. Numbers with many
    values are mixed, each with some jitter of its own in proportion to how far the two rows are apart, and
    stay within the range of the real ones; blocks of other columns (see `blocks.find_blocks`) come from the
    other row with a probability equal to its part. No new row equals a real one or another new one; where
    the columns leave no room for that, there are fewer rows than asked for.

    Parameters
    ----------
    alpha
        The other row's part is the smaller one of a draw from ``Beta(alpha, alpha)``.
    jitter
        Standard deviation of the jitter, as a part of the way from one row to the other.

    References
    ----------
    Zhang, Cisse, Dauphin, Lopez-Paz: mixup: beyond empirical risk minimization, ICLR 2018.
    """

    name: ClassVar[str] = "mixup"
    reads: ClassVar[frozenset[ColumnKind]] = TABLE_KINDS
    alpha: float = 0.5
    jitter: float = 0.1

    def augment(self, dataset: Dataset, n_rows: int, *, seed: int) -> tuple[nw.DataFrame[Any], Ints]:
        """At most ``n_rows`` new rows, and ``(n,)`` the position of each one's parent in ``dataset``."""
        columns = [code_column(dataset.rows[column.name], column.kind) for column in dataset.schema.columns]
        if n_rows < 1 or len(dataset) < 3 or not columns:
            return dataset.rows.head(0), np.empty(0, dtype=np.int64)
        rng = np.random.default_rng(seed)
        parents = spread_parents(len(dataset), n_rows, rng)
        return draw_new_rows(dataset, columns, _Draft(columns, parents, self.alpha, self.jitter), rng)


class _Draft:
    """New rows by parent and other row: how much of the other, and which of the two gave each block."""

    def __init__(self, columns: Sequence[Coded], parents: Ints, alpha: float, jitter: float) -> None:
        self._columns = columns
        self._blocks = find_blocks(columns)
        self._alpha = alpha
        self._jitter = jitter
        self.parents = parents
        self._others = parents.copy()
        self._taken = np.zeros((len(columns), len(parents)), dtype=np.bool_)
        self._share = np.zeros((len(columns), len(parents)), dtype=np.float32)

    def draw(self, index: Ints, *, again: bool, rng: np.random.Generator) -> None:
        """Draw the new rows at ``index``."""
        n_real = len(self._columns[0].values)
        if again:
            self.parents[index] = rng.integers(0, n_real, len(index))
        self._others[index] = rng.integers(0, n_real, len(index))
        share = rng.beta(self._alpha, self._alpha, len(index))
        # Half and half leaves the most room for new rows.
        share = np.full(len(index), 0.5) if again else np.minimum(share, 1 - share)
        for block in self._blocks:
            taken = rng.random(len(index)) < share
            for position in block:
                self._taken[position, index] = taken
                self._share[position, index] = share + rng.normal(0, self._jitter, len(index))

    def columns(self, index: Ints) -> list[Column]:
        """The values of the new rows at ``index``, column by column."""
        parents, others = self.parents[index], self._others[index]
        return [
            _mixed(column, parents, others, self._taken[position, index], self._share[position, index])
            for position, column in enumerate(self._columns)
        ]


def _mixed(column: Coded, parents: Ints, others: Ints, taken: Bools, share: Any) -> Column:
    source = np.where(taken, others, parents)
    values = column.values[source]
    if not column.continuous:
        return Column(column, values, column.codes[source], source)
    moved: Bools = (parents != others) & ~column.atomic[parents] & ~column.atomic[others]
    own = column.values[parents[moved]]
    mixed = own + share[moved] * (column.values[others[moved]] - own)
    values[moved] = column.settled(np.clip(mixed, *_range(column.values)))
    return Column(column, values, column.codes[source], source, moved)


def _range(values: Doubles) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return float(finite.min()), float(finite.max())
