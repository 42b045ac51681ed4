"""From values column by column to rows of the caller's own frame, and the test whether they are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from potstill.transfer.augment.coding import Coded
from potstill.types import Bools, Dataset, Doubles, Ints

_TRIES = 6


@dataclass(frozen=True)
class Column:
    """One column of new (or real) rows.

    Parameters
    ----------
    coded
        The real column.
    values
        ``(n,)`` numbers.
    codes
        ``(n,)`` codes of the values where they are real ones.
    source
        ``(n,)`` real row that each value comes from.
    computed
        ``(n,)`` where the value is computed and in no real row; None for nowhere.
    """

    coded: Coded
    values: Doubles
    codes: Ints
    source: Ints
    computed: Bools | None = None


class Draft(Protocol):
    """Rows in the making, which can be drawn again one by one."""

    @property
    def parents(self) -> Ints:
        """``(n_rows,)`` parent of each new row; what is drawn again may have another."""

    def draw(self, index: Ints, *, again: bool, rng: np.random.Generator) -> None:
        """Draw the rows at ``index``; ``again`` where they were no new ones, and should move further."""

    def columns(self, index: Ints) -> list[Column]:
        """The values of the rows at ``index``, column by column."""


def draw_new_rows(
    dataset: Dataset, columns: Sequence[Coded], draft: Draft, rng: np.random.Generator
) -> tuple[nw.DataFrame[Any], Ints]:
    """The rows of ``draft``, those drawn again that equal a real one or each other, and their parents.

    What is still not new after six draws is left out.
    """
    real = np.unique(row_hashes([real_column(column) for column in columns]))
    n_rows = len(draft.parents)
    hashes = np.zeros(n_rows, dtype=np.uint64)
    pending = np.arange(n_rows)
    for attempt in range(_TRIES):
        draft.draw(pending, again=attempt > 0, rng=rng)
        hashes[pending] = row_hashes(draft.columns(pending))
        pending = _not_new(hashes, real)
        if not len(pending):
            break
    kept = np.delete(np.arange(n_rows), pending)
    return assemble(dataset.rows, draft.parents[kept], draft.columns(kept)), draft.parents[kept]


def real_column(coded: Coded) -> Column:
    """The column of the real rows themselves."""
    return Column(coded, coded.values, coded.codes, np.arange(len(coded.values)))


def spread_parents(n: int, n_rows: int, rng: np.random.Generator) -> Ints:
    """``(n_rows,)`` parents among ``n`` rows: each as often as any other, give or take one, shuffled."""
    rounds = [rng.permutation(n) for _ in range(-(-n_rows // n))]
    return np.concatenate(rounds)[:n_rows].astype(np.int64)


def row_hashes(columns: Sequence[Column]) -> NDArray[np.uint64]:
    """``(n,)`` 64-bit hash of each row: equal rows have equal ones, others hardly ever."""
    total = np.zeros(len(columns[0].values), dtype=np.uint64)
    for position, column in enumerate(columns):
        bits = column.values.view(np.uint64) if column.coded.continuous else column.codes.astype(np.uint64)
        total += _mix(bits ^ _mix(np.array([position + 1], dtype=np.uint64)))
    return total


def assemble(rows: nw.DataFrame[Any], parents: Ints, columns: Sequence[Column]) -> nw.DataFrame[Any]:
    """New rows in the caller's own kind of frame, every column of the caller's own type.

    Parameters
    ----------
    rows
        The real rows, all their columns.
    parents
        ``(n,)`` real row from which the columns not in ``columns`` are taken.
    """
    frame = nw.maybe_reset_index(rows[parents, :])
    return frame.with_columns(*(_series(rows[column.coded.name], column) for column in columns))


def _series(real: nw.Series[Any], column: Column) -> nw.Series[Any]:
    taken: nw.Series[Any] = nw.maybe_reset_index(real[column.source.tolist()])
    if column.computed is None or not column.computed.any():
        return taken
    where = np.flatnonzero(column.computed)
    numbers = nw.new_series(
        real.name, column.values[where], nw.Float64, backend=nw.get_native_namespace(real)
    ).cast(real.dtype)
    moved: nw.Series[Any] = taken.scatter(where, numbers)
    return moved


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014): one bit changed changes half of them."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))


def _not_new(hashes: NDArray[np.uint64], real: NDArray[np.uint64]) -> Ints:
    """Positions of rows that equal a real one or an earlier one."""
    repeated = np.ones(len(hashes), dtype=np.bool_)
    repeated[np.unique(hashes, return_index=True)[1]] = False
    return np.flatnonzero(repeated | np.isin(hashes, real))
