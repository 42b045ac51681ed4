"""A vector for every word, which may begin where a pretrained encoder sees it."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

import msgspec

from potstill.networks.bert_folder import begun_with
from potstill.students.bag_student import BagPlan, fit_bag
from potstill.students.stored_weights import Storage
from potstill.students.word_vectors import word_vectors
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


class Static(msgspec.Struct, frozen=True):
    """The vectors of a text's words, weighted and added up, and units that look at a few words in a row.

    Parameters
    ----------
    checkpoint
        Folder of a pretrained encoder: every word's vector begins as what it makes of the word alone. None
        for vectors that are learnt from nothing.
    tuned
        File of weights (safetensors) to take in place of the checkpoint's: those of the same encoder after a
        teacher was fine-tuned from it. Or the folder of a teacher's own encoder, in place of the checkpoint.
    matching
        Weight, beside the loss of the answers, of how far a linear function of the last hidden layer is from
        the tuned encoder's vectors of the texts, where these are known; 0 for none.
    words
        Words that are known at most.
    word_dim
        Length of a word's vector, at size 1.
    window
        Words in a row, an odd number, that units look at together.
    units
        Such units, at size 1; 0 for words alone.
    hidden
        Widths of the hidden layers, at size 1; none is a linear model.
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
        The dial: multiplies the lengths of vectors, and so about the number of weights.

    References
    ----------
    Kim (2014), Convolutional Neural Networks for Sentence Classification.
    Tulkens, van Dongen (2024), Model2Vec: Fast State-of-the-Art Static Embeddings.
    """

    name: ClassVar[str] = "static"
    keeps_monotone: ClassVar[bool] = False
    larger: ClassVar[tuple[float, ...]] = (2.0,)
    kin: ClassVar[str] = "static"
    climbs: ClassVar[int] = 1
    reads: ClassVar[frozenset[ColumnKind]] = TABLE_KINDS | {"text"}

    checkpoint: str | None = None
    tuned: str | None = None
    matching: float = 3.0
    words: int = 50_000
    word_dim: int = 128
    window: int = 5
    units: int = 128
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.2
    word_dropout: float = 0.15
    learning_rate: float = 0.002
    weight_decay: float = 0.0
    epochs: int | None = None
    batch_size: int | None = None
    weights: Storage = "int8"
    size: float = 1.0

    def resized(self, size: float) -> Static:
        """The same family at another size."""
        return msgspec.structs.replace(self, size=size)

    def variants(self) -> tuple[Student, ...]:
        """Other settings of the same size worth a trial, the most promising first."""
        return (
            msgspec.structs.replace(self, hidden=()),
            msgspec.structs.replace(self, word_dropout=0.3, dropout=0.3),
            msgspec.structs.replace(self, units=0),
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
        checkpoint = begun_with(self.checkpoint, self.tuned)
        tuned = None if self.tuned == checkpoint else self.tuned
        return BagPlan(
            n_words=self.words,
            word_dim=max(1, round(self.word_dim * self.size)),
            n_buckets=0,
            pair_dim=0,
            window=self.window,
            n_units=round(self.units * math.sqrt(self.size)),
            level_dim=8,
            hidden=tuple(max(2, round(width * math.sqrt(self.size))) for width in self.hidden),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            word_dropout=self.word_dropout,
            epochs=self.epochs,
            batch_size=self.batch_size,
            weights=self.weights,
            matching=0.0 if self.tuned is None else self.matching,
            vectors=None if checkpoint is None else partial(word_vectors, checkpoint, tuned),
        )
