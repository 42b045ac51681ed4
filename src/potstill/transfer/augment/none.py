"""No synthetic rows: what every augmenter has to beat."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import narwhals as nw
import numpy as np

from potstill.types import ALL_KINDS, ColumnKind, Dataset, Ints


class NoRows(msgspec.Struct, frozen=True):
    """Makes nothing, whatever is asked for."""

    name: ClassVar[str] = "none"
    reads: ClassVar[frozenset[ColumnKind]] = ALL_KINDS

    def augment(
        self,
        dataset: Dataset,
        n_rows: int,  # noqa: ARG002
        *,
        seed: int,  # noqa: ARG002
    ) -> tuple[nw.DataFrame[Any], Ints]:
        """An empty frame of the same columns, and no parents."""
        return dataset.rows.head(0), np.empty(0, dtype=np.int64)
