"""A multilayer perceptron with embeddings for numbers and for categories."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import msgspec

from potstill.students.network_student import NetworkPlan, fit_network
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


class MLP(msgspec.Struct, frozen=True):
    """Dense layers with ReLU over scaled numbers, periodic embeddings and category embeddings.

    Parameters
    ----------
    hidden
        Widths of the hidden layers at size 1, one at least.
    numeric_embedding
        ``"periodic"`` gives each number 3 to 12 learnt mixtures, beside itself, of sixteen cosines and of
        ramps between its quantiles; None the number alone.
    embedding
        Length of a category's embedding.
    dropout, learning_rate, weight_decay
        Of the training (AdamW, linear warm-up, cosine to 0, averaged weights).
    epochs
        Passes over the rows at most. None: the fewer, the more rows there are.
    batch_size
        Rows of a step. None: the more, the more rows there are.
    weights
        How the file keeps them; the student computes with what it keeps.
    size
        The dial: multiplies the number of weights, so widths by its square root.

    References
    ----------
    Gorishniy et al. (2022), On Embeddings for Numerical Features in Tabular Deep Learning.
    Holzmüller et al. (2024), Better by Default: Strong Pre-Tuned MLPs.
    """

    name: ClassVar[str] = "mlp"
    keeps_monotone: ClassVar[bool] = False
    larger: ClassVar[tuple[float, ...]] = (2.0,)
    kin: ClassVar[str] = "networks"
    climbs: ClassVar[int] = 1
    reads: ClassVar[frozenset[ColumnKind]] = TABLE_KINDS

    hidden: tuple[int, ...] = (256, 256)
    numeric_embedding: Literal["periodic"] | None = "periodic"
    embedding: int = 8
    dropout: float = 0.1
    learning_rate: float = 0.3
    weight_decay: float = 0.02
    epochs: int | None = None
    batch_size: int | None = None
    weights: Storage = "float16"
    size: float = 1.0

    def resized(self, size: float) -> MLP:
        """The same family at another size."""
        return msgspec.structs.replace(self, size=size)

    def variants(self) -> tuple[Student, ...]:
        """Other settings of the same size worth a trial, the most promising first."""
        return (
            msgspec.structs.replace(self, learning_rate=self.learning_rate / 3),
            msgspec.structs.replace(self, dropout=0.3, weight_decay=5 * self.weight_decay),
            msgspec.structs.replace(self, dropout=0.0, weight_decay=self.weight_decay / 2),
            msgspec.structs.replace(self, numeric_embedding=None),
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
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> tuple[FittedStudent, int]:
        """Fit; see `potstill.types.Student.fit`. The effort is the number of epochs."""
        return fit_network(
            self._plan(),
            train,
            valid,
            spec=spec,
            task=task,
            objective=objective,
            seed=seed,
            effort=effort,
            time_limit_s=time_limit_s,
            device=device,
            progress=progress,
        )

    def _plan(self) -> NetworkPlan:
        factor = math.sqrt(self.size)
        return NetworkPlan(
            hidden=tuple(max(2, round(width * factor)) for width in self.hidden),
            embeds_numbers=self.numeric_embedding == "periodic",
            embedding=self.embedding,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            epochs=self.epochs,
            batch_size=self.batch_size,
            weights=self.weights,
        )
