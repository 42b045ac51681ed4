"""A multilayer perceptron with embeddings for numbers and for categories."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec
import numpy as np
import torch

from potstill.graph import GraphBuilder
from potstill.students.mlp_training import ROWS_AT_ONCE, Judge, Lesson, Schedule, train_network
from potstill.students.network import Inputs, NetworkShape, build_network, forward, initial_weights
from potstill.students.numeric_scaling import NumericScaling, fit_numeric_scaling
from potstill.students.rows import labelled_rows
from potstill.students.targets import blended_targets, is_linear_in_targets, mean_target
from potstill.types import (
    Examples,
    FeatureSpec,
    FittedStudent,
    Floats,
    Ints,
    Objective,
    Progress,
    Silent,
    Task,
    Tensors,
)

SMALLEST_PRIOR = 1e-6


class MLP(msgspec.Struct, frozen=True):
    """Dense layers with ReLU over scaled numbers, periodic embeddings and category embeddings.

    Parameters
    ----------
    hidden
        Widths of the hidden layers at size 1.
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
    size
        The dial: multiplies the number of weights, so widths by its square root.

    References
    ----------
    Gorishniy et al. (2022), On Embeddings for Numerical Features in Tabular Deep Learning.
    Holzmüller et al. (2024), Better by Default: Strong Pre-Tuned MLPs.
    """

    name: ClassVar[str] = "mlp"
    keeps_monotone: ClassVar[bool] = False

    hidden: tuple[int, ...] = (256, 256)
    numeric_embedding: Literal["periodic"] | None = "periodic"
    embedding: int = 8
    dropout: float = 0.1
    learning_rate: float = 4e-3
    weight_decay: float = 0.1
    epochs: int | None = None
    batch_size: int | None = None
    size: float = 1.0

    def resized(self, size: float) -> MLP:
        """The same family at another size."""
        return msgspec.structs.replace(self, size=size)

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
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> tuple[FittedStudent, int]:
        """Fit; see `potstill.types.Student.fit`. The effort is the number of epochs."""
        scaling = fit_numeric_scaling(_numeric(train))
        shape = self._shape(scaling, spec, task)
        generator = torch.Generator(device).manual_seed(seed)
        targets = blended_targets(train, task.n_outputs)
        start = mean_target(targets, train.weight)
        if task.is_classification:
            start = np.log(np.clip(start, SMALLEST_PRIOR, None))
        inputs = _inputs(train.tensors, scaling, shape, device)
        numbers = inputs.numbers.cpu().numpy()
        weights = initial_weights(shape, numbers, start, torch.Generator().manual_seed(seed))
        weights = {name: weight.to(device) for name, weight in weights.items()}
        judge = None
        if valid is not None and effort is None:
            judge = _judge(labelled_rows(valid), scaling, shape, device)
        schedule = self._schedule(len(train), effort)
        tracker = progress or Silent()
        tracker.start("training", schedule.epochs)
        lesson = _lesson(train, inputs, targets, objective, device)
        trained, best_epoch = train_network(
            weights, lesson, judge, schedule=schedule, generator=generator, progress=tracker
        )
        arrays = {name: weight.cpu().numpy() for name, weight in trained.items()}
        if shape.cardinalities:
            _fill_untrained(arrays["embedding"], train.tensors["categorical"], shape)
        return FittedMLP(scaling=scaling, shape=shape, weights=arrays), best_epoch

    def _shape(self, scaling: NumericScaling, spec: FeatureSpec, task: Task) -> NetworkShape:
        factor = math.sqrt(self.size)
        return NetworkShape(
            n_numeric=len(scaling.median),
            n_indicators=len(scaling.indicated),
            cardinalities=spec.cardinalities,
            embedding=self.embedding,
            embeds_numbers=self.numeric_embedding == "periodic" and len(scaling.median) > 0,
            hidden=tuple(max(2, round(width * factor)) for width in self.hidden),
            n_outputs=task.n_outputs,
        )

    def _schedule(self, n_rows: int, effort: int | None) -> Schedule:
        batch_size = self.batch_size or int(2 ** np.clip(np.round(np.log2(n_rows / 100)), 6, 10))
        epochs = effort or self.epochs or int(np.clip(600_000 / n_rows, 12, 60))
        return Schedule(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            patience=max(8, epochs // 4),
        )


@dataclass(frozen=True)
class FittedMLP:
    """A fitted network.

    Parameters
    ----------
    scaling
        Of the numbers.
    shape
        Sizes of the network.
    weights
        Its weights by name, see `potstill.students.network.Weights`.
    """

    scaling: NumericScaling
    shape: NetworkShape
    weights: Mapping[str, Floats]

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return sum(weight.size for weight in self.weights.values())

    def logits(self, tensors: Tensors) -> Floats:
        """``(n, K)`` float32, see `potstill.types.FittedStudent`."""
        weights = {name: torch.from_numpy(weight) for name, weight in self.weights.items()}
        inputs = _inputs(tensors, self.scaling, self.shape, "cpu")
        with torch.no_grad():
            chunks = torch.split(torch.arange(len(inputs)), ROWS_AT_ONCE)
            answered = [forward(weights, inputs.take(rows)).numpy() for rows in chunks]
        return np.concatenate([np.zeros((0, self.shape.n_outputs), dtype=np.float32), *answered])

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        """Add the network, see `potstill.types.FittedStudent`."""
        numbers, indicators, levels = None, None, None
        if self.shape.n_numeric:
            numbers, indicators = self.scaling.build(graph, tensors["numeric"])
        if self.shape.cardinalities:
            levels = graph.node("Add", tensors["categorical"], graph.constant(self.shape.offsets))
        return build_network(graph, self.weights, numbers=numbers, indicators=indicators, levels=levels)


def _numeric(examples: Examples) -> Floats:
    empty: Floats = np.zeros((len(examples), 0), dtype=np.float32)
    numeric: Floats = examples.tensors.get("numeric", empty)
    return numeric


def _inputs(tensors: Tensors, scaling: NumericScaling, shape: NetworkShape, device: str) -> Inputs:
    n_rows = len(next(iter(tensors.values())))
    empty: Floats = np.zeros((n_rows, 0), dtype=np.float32)
    numbers, indicators = scaling.encode(tensors["numeric"]) if shape.n_numeric else (empty, empty)
    levels: Ints = np.zeros((n_rows, 0), dtype=np.int64)
    if shape.cardinalities:
        levels = tensors["categorical"] + shape.offsets
    return Inputs(
        numbers=torch.from_numpy(numbers).to(device),
        indicators=torch.from_numpy(indicators).to(device),
        levels=torch.from_numpy(levels).to(device),
    )


def _lesson(train: Examples, inputs: Inputs, targets: Floats, objective: Objective, device: str) -> Lesson:
    linear = is_linear_in_targets(train, objective)
    labels = train.labels.astype(np.float32) if train.labels.dtype.kind == "f" else train.labels
    return Lesson(
        inputs=inputs,
        targets=torch.from_numpy(targets if linear else train.teacher_probs).to(device),
        labels=torch.from_numpy(labels).to(device),
        hard_weight=torch.from_numpy(train.hard_weight).to(device),
        weight=torch.from_numpy(train.weight).to(device),
        objective=None if linear else objective,
    )


def _judge(valid: Examples, scaling: NumericScaling, shape: NetworkShape, device: str) -> Judge:
    labels = valid.labels.astype(np.float32) if valid.labels.dtype.kind == "f" else valid.labels
    return Judge(
        inputs=_inputs(valid.tensors, scaling, shape, device),
        labels=torch.from_numpy(labels).to(device),
        weight=torch.from_numpy(valid.weight).to(device),
    )


def _fill_untrained(embedding: Floats, ids: Ints, shape: NetworkShape) -> None:
    """Give level ids that no training row had the mean embedding of their column's rows, in place."""
    for column, (offset, cardinality) in enumerate(zip(shape.offsets, shape.cardinalities, strict=True)):
        counts = np.bincount(ids[:, column], minlength=cardinality)
        table = embedding[offset : offset + cardinality]
        table[counts == 0] = np.average(table, axis=0, weights=counts)
