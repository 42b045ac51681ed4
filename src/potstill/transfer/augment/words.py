"""Texts with some words left out or replaced, and texts put together from two."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import narwhals as nw
import numpy as np

from potstill.data.columns import arrow_column, to_texts
from potstill.transfer.augment.rows import spread_parents
from potstill.types import TABLE_KINDS, ColumnKind, Dataset, Ints

_TRIES = 6
_ALTERNATIVES = 30
"""Words that are remembered for each place between two others."""


class WordSwaps(msgspec.Struct, frozen=True):
    """New texts out of real ones: words replaced by what stands between the same neighbours elsewhere, words
    left out, and the beginning of one text with the end of another.

    Other columns are the parent's. No new text equals a real one or another new one; where that does not
    succeed, there are fewer rows than asked for.

    Parameters
    ----------
    dropped, replaced
        Part of the words that are left out, and that are replaced.
    joined
        Part of the new texts that are put together from two.

    References
    ----------
    Tang et al. (2019), Distilling Task-Specific Knowledge from BERT into Simple Neural Networks.
    """

    name: ClassVar[str] = "words"
    reads: ClassVar[frozenset[ColumnKind]] = TABLE_KINDS | {"text"}
    dropped: float = 0.1
    replaced: float = 0.15
    joined: float = 0.3

    def augment(self, dataset: Dataset, n_rows: int, *, seed: int) -> tuple[nw.DataFrame[Any], Ints]:
        """At most ``n_rows`` new rows, and ``(n,)`` the position of each one's parent in ``dataset``."""
        names = [column.name for column in dataset.schema.columns if column.kind == "text"]
        if n_rows < 1 or len(dataset) < 2 or not names:
            return dataset.rows.head(0), np.empty(0, dtype=np.int64)
        rng = np.random.default_rng(seed)
        parents = spread_parents(len(dataset), n_rows, rng)
        texts = {name: _texts(dataset, name) for name in names}
        between = {name: _between(texts[name]) for name in names}
        seen = set(zip(*texts.values(), strict=True))
        made: list[tuple[str, ...]] = []
        kept = []
        for row, parent in enumerate(parents.tolist()):
            for _ in range(_TRIES):
                new = tuple(self._changed(texts[name], parent, between[name], rng) for name in names)
                if new not in seen:
                    seen.add(new)
                    made.append(new)
                    kept.append(row)
                    break
        parents = parents[kept]
        frame = nw.maybe_reset_index(dataset.rows[parents, :])
        native = nw.get_native_namespace(frame)
        columns = [
            nw.new_series(name, list(values), nw.String, backend=native)
            for name, values in zip(names, zip(*made, strict=True), strict=True)
        ]
        return frame.with_columns(*columns), parents

    def _changed(
        self,
        texts: Sequence[str],
        parent: int,
        between: dict[tuple[str, str], list[str]],
        rng: np.random.Generator,
    ) -> str:
        words = texts[parent].split()
        if len(words) > 1 and rng.random() < self.joined:
            other = texts[int(rng.integers(0, len(texts)))].split()
            if other:
                cut, at = rng.uniform(0.3, 0.8), rng.uniform(0.2, 0.7)
                return " ".join([*words[: max(1, round(cut * len(words)))], *other[round(at * len(other)) :]])
        chance = rng.random(len(words))
        changed = []
        for at, word in enumerate(words):
            if chance[at] < self.dropped and len(words) > 2:
                continue
            if chance[at] > 1 - self.replaced:
                place = (words[at - 1] if at else "", words[at + 1] if at + 1 < len(words) else "")
                found = between.get(place, ())
                word = found[rng.integers(0, len(found))] if found else word  # noqa: PLW2901
            changed.append(word)
        return " ".join(changed)


def _texts(dataset: Dataset, name: str) -> list[str]:
    texts: list[str] = to_texts(arrow_column(dataset.rows, name), name).fill_null("").to_pylist()
    return texts


def _between(texts: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """For each two words, what stands between them somewhere, the most frequent only."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for text in texts:
        words = ["", *text.split(), ""]
        for before, word, after in zip(words, words[1:], words[2:], strict=False):
            found[before, after][word] += 1
    return {
        place: [word for word, _ in counted.most_common(_ALTERNATIVES)]
        for place, counted in found.items()
        if len(counted) > 1
    }
