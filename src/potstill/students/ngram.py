"""Words and pairs of neighbours with short vectors: kilobytes."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec

from potstill.students.bag_student import BagPlan, fit_bag
from potstill.students.stored_weights import Storage
from potstill.types import (
    TABLE_KINDS,
    ColumnKind,
    Examples,
    FeatureSpec,
    FittedStudent,
    Objective,
    Progress,
    Student,
    Task,
)


class NGram(msgspec.Struct, frozen=True):
    """The most telling words and, by their hash, pairs of neighbours; short vectors, added up.

    Parameters
    ----------
    words
        Words that are known, at size 1.
    word_dim
        Length of a word's vector, at size 1.
    pairs
        Hashes of pairs, at size 1; 0 for words alone.
    pair_dim
        Length of a pair's vector.
    hidden
        Widths of the hidden layers; none is a linear model.
    dropout, learning_rate, weight_decay
        Of the training (AdamW, linear warm-up, cosine to 0, averaged weights).
    word_dropout
        Part of the words that are left out at each step.
    epochs
        Passes over the rows at most. None: the fewer, the more rows there are.
    batch_size
        Rows of a step. None: the more, the more rows there are.
    weights
        How the file keeps them; the student computes with what it keeps.
    size
        The dial: multiplies the number of weights; words and pairs, and their vectors, by its square root.

    References
    ----------
    Joulin et al. (2017), Bag of Tricks for Efficient Text Classification.
    """

    name: ClassVar[str] = "ngram"
    keeps_monotone: ClassVar[bool] = False
    larger: ClassVar[tuple[float, ...]] = (4.0,)
    kin: ClassVar[str] = "ngrams"
    climbs: ClassVar[int] = 1
    reads: ClassVar[frozenset[ColumnKind]] = TABLE_KINDS | {"text"}

    words: int = 4_000
    word_dim: int = 16
    pairs: int = 4_000
    pair_dim: int = 8
    hidden: tuple[int, ...] = ()
    dropout: float = 0.1
    word_dropout: float = 0.15
    learning_rate: float = 0.01
    weight_decay: float = 0.1
    epochs: int | None = None
    batch_size: int | None = None
    weights: Storage = "int8"
    size: float = 1.0

    def resized(self, size: float) -> NGram:
        """The same family at another size."""
        return msgspec.structs.replace(self, size=size)

    def variants(self) -> tuple[Student, ...]:
        """Other settings of the same size worth a trial, the most promising first."""
        return (
            msgspec.structs.replace(self, hidden=(64,)),
            msgspec.structs.replace(self, word_dropout=0.3, dropout=0.2),
            msgspec.structs.replace(self, learning_rate=self.learning_rate / 3),
        )

    def fit(
        self,
        train: Examples,
        valid: Examples | None,
        *,
        spec: FeatureSpec,
        task: Task,
        objective: Objective,
        seed: int,
        effort: int | None = None,
        time_limit_s: float | None = None,
        device: str = "cpu",  # noqa: ARG002
        progress: Progress | None = None,
    ) -> tuple[FittedStudent, int]:
        """Fit; see `potstill.types.Student.fit`. The effort is the number of epochs."""
        return fit_bag(
            self._plan(),
            train,
            valid,
            spec=spec,
            task=task,
            objective=objective,
            seed=seed,
            effort=effort,
            time_limit_s=time_limit_s,
            progress=progress,
        )

    def _plan(self) -> BagPlan:
        factor = math.sqrt(self.size)
        return BagPlan(
            n_words=max(8, round(self.words * factor)),
            word_dim=max(1, round(self.word_dim * factor)),
            n_buckets=round(self.pairs * factor),
            pair_dim=max(1, round(self.pair_dim * factor)),
            window=1,
            n_units=0,
            level_dim=8,
            hidden=self.hidden,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            word_dropout=self.word_dropout,
            epochs=self.epochs,
            batch_size=self.batch_size,
            weights=self.weights,
        )
