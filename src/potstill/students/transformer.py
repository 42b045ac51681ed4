"""A transformer of few layers, with those of a pretrained encoder to begin from where there is one."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec

from potstill.networks.bert import BertShape, Pooling
from potstill.networks.bert_folder import begun_with
from potstill.students.stored_weights import Storage
from potstill.students.transformer_student import TransformerPlan, fit_transformer
from potstill.types import (
    ColumnKind,
    Examples,
    FeatureSpec,
    FittedStudent,
    Objective,
    Progress,
    Student,
    Task,
)

HEAD_WIDTH = 32
"""Width of a head of attention, about."""


class Transformer(msgspec.Struct, frozen=True):
    """An encoder of BERT's kind over word pieces, the mean of its vectors, and one dense layer.

    Parameters
    ----------
    checkpoint
        Folder of a pretrained encoder of BERT's kind: its embeddings and ``layers`` of its layers, spread
        evenly, are what training begins with. None: random weights, of ``width``.
    tuned
        File of weights (safetensors) to begin with in place of the checkpoint's: those of the same encoder
        after a teacher was fine-tuned from it. Or the folder of a teacher's own encoder, in place of the
        checkpoint.
    matching
        Weight, beside the loss of the answers, of how far its vectors of the texts are from those of the
        whole tuned encoder; 0 for none. Without such an encoder it is of no account.
    attention
        Weight of how far the vectors of its pieces, and what they attend to, are from that encoder's in every
        layer; 0 for none. It takes the time of one pass of the whole encoder for each text.
    layers
        At size 1; of a pretrained encoder as many as it has at most.
    width
        Of the vectors at size 1 where there is no checkpoint.
    pooling
        The vector of a text: the mean of its pieces' (``"mean"``), or the first piece's (``"first"``).
    learning_rate, head_rate, dropout
        Of the training (AdamW, linear warm-up, linear decay to 0); ``head_rate`` is the dense layer's.
    epochs
        Passes over the rows at most. None: the fewer, the more text there is.
    batch_size
        Rows of a step.
    weights
        How the file keeps them; the student computes with what it keeps.
    size
        The dial. With a checkpoint it multiplies the number of layers; without, the number of weights in a
        layer, so ``width`` by its square root.

    References
    ----------
    Sanh et al. (2019), DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter. Jiao et
    al. (2020), TinyBERT: Distilling BERT for Natural Language Understanding (hidden states matched).
    """

    name: ClassVar[str] = "transformer"
    keeps_monotone: ClassVar[bool] = False
    larger: ClassVar[tuple[float, ...]] = (4 / 3,)
    kin: ClassVar[str] = "transformer"
    climbs: ClassVar[int] = 1
    reads: ClassVar[frozenset[ColumnKind]] = frozenset({"text"})

    checkpoint: str | None = None
    tuned: str | None = None
    matching: float = 1.0
    attention: float = 0.0
    layers: int = 3
    width: int = 128
    pooling: Pooling = "mean"
    learning_rate: float | None = None
    head_rate: float = 1e-3
    dropout: float = 0.1
    epochs: int | None = None
    batch_size: int = 32
    weights: Storage = "int8"
    size: float = 1.0

    def resized(self, size: float) -> Transformer:
        """The same family at another size."""
        return msgspec.structs.replace(self, size=size)

    def variants(self) -> tuple[Student, ...]:
        """Other settings of the same size worth a trial, the most promising first."""
        return (msgspec.structs.replace(self, learning_rate=2 * self._rate),)

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
        return fit_transformer(
            self.plan(spec),
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

    @property
    def _rate(self) -> float:
        if self.learning_rate is not None:
            return self.learning_rate
        return 2e-4 if begun_with(self.checkpoint, self.tuned) is not None else 1e-3

    def plan(self, spec: FeatureSpec) -> TransformerPlan:
        """How it is fitted on texts of the pieces of ``spec``."""
        checkpoint = begun_with(self.checkpoint, self.tuned)
        factor = 1.0 if checkpoint is not None else math.sqrt(self.size)
        layers = self.layers if checkpoint is None else max(1, round(self.layers * self.size))
        heads = max(1, round(self.width * factor / HEAD_WIDTH))
        width = heads * max(1, round(self.width * factor / heads))
        fresh = BertShape(width=width, layers=layers, heads=heads, inner=4 * width, pieces=len(spec.pieces))
        return TransformerPlan(
            checkpoint=checkpoint,
            tuned=self.tuned,
            matching=self.matching,
            attention=self.attention,
            fresh=fresh,
            pooling=self.pooling,
            learning_rate=self._rate,
            head_rate=self.head_rate,
            dropout=self.dropout,
            epochs=self.epochs,
            batch_size=self.batch_size,
            weights=self.weights,
        )
