"""What `MLP` and `TabM` share: from examples to a fitted network, and from there to ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from potstill.graph import GraphBuilder
from potstill.students.head_choice import best_heads
from potstill.students.network import (
    Inputs,
    NetworkShape,
    Weights,
    build_network,
    folded,
    initial_weights,
    stored,
    with_heads,
)
from potstill.students.network_training import (
    Epochs,
    Judge,
    Lesson,
    Schedule,
    averaged_logits,
    forward_in_chunks,
    train_network,
)
from potstill.students.numeric_scaling import NumericScaling, fit_numeric_scaling
from potstill.students.rows import labelled_rows
from potstill.students.stored_weights import Storage, rounded
from potstill.students.targets import blended_targets, mean_target
from potstill.types import (
    Examples,
    FeatureSpec,
    Floats,
    Ints,
    Objective,
    Progress,
    Silent,
    Task,
    Tensors,
)

SMALLEST_PRIOR = 1e-6
MOST_EXAMPLES_SEEN = 1_200_000
"""Rows times epochs: what makes a fit take some twenty seconds of one core."""

HEADS_AT_FULL_LENGTH = 4
"""With more heads the epochs are fewer in proportion: every head takes all rows through the hidden layers."""


@dataclass(frozen=True)
class NetworkPlan:
    """A network to be fitted: the hyper-parameters that families of networks share.

    Parameters
    ----------
    hidden
        Widths of the hidden layers.
    embeds_numbers
        Whether numbers have embeddings.
    embedding
        Length of a category's embedding.
    learning_rate, weight_decay, dropout, epochs, batch_size
        As in `Schedule`; None for the last two: by the number of rows.
    weights
        How the file keeps them.
    heads, kept
        Heads that are trained and heads that are kept of them; None for a network without heads.
    """

    hidden: tuple[int, ...]
    embeds_numbers: bool
    embedding: int
    learning_rate: float
    weight_decay: float
    dropout: float
    epochs: int | None
    batch_size: int | None
    weights: Storage
    heads: int | None = None
    kept: int | None = None

    def shape(self, scaling: NumericScaling, spec: FeatureSpec, task: Task) -> NetworkShape:
        """The sizes of the network for these columns."""
        return NetworkShape(
            n_numeric=len(scaling.median),
            n_indicators=len(scaling.indicated),
            cardinalities=spec.cardinalities,
            embedding=self.embedding,
            n_embedded=len(scaling.detailed) if self.embeds_numbers else 0,
            hidden=self.hidden,
            n_outputs=task.n_outputs,
            n_heads=self.heads,
        )

    def schedule(self, n_rows: int, effort: int | None, time_limit_s: float | None) -> Schedule:
        """The training on this many rows."""
        batch_size = self.batch_size or int(2 ** np.clip(np.round(np.log2(n_rows / 100)), 5, 9))
        seen = MOST_EXAMPLES_SEEN * min(1.0, HEADS_AT_FULL_LENGTH / (self.heads or 1))
        planned = effort.planned if isinstance(effort, Epochs) else effort
        epochs = planned or self.epochs or int(np.clip(seen / n_rows, 8, 100))
        return Schedule(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            patience=max(8, epochs // 4),
            time_limit_s=time_limit_s,
            stop_after=effort,
        )


def fit_network(
    plan: NetworkPlan,
    train: Examples,
    valid: Examples | None,
    *,
    spec: FeatureSpec,
    task: Task,
    objective: Objective,
    seed: int,
    effort: int | None,
    time_limit_s: float | None,
    device: str,
    progress: Progress | None,
) -> tuple[FittedNetwork, int]:
    """Fit; see `potstill.types.Student.fit`. The effort is the number of epochs."""
    scaling = fit_numeric_scaling(_numeric(train))
    shape = plan.shape(scaling, spec, task)
    targets = blended_targets(train, task.n_outputs)
    inputs = network_inputs(train.tensors, scaling, shape, device)
    weights = _initial(shape, inputs, _start(targets, train.weight, task), seed, device)
    judge = None
    if valid is not None and effort is None:
        judge = _judge(labelled_rows(valid), scaling, shape, device)
    schedule = plan.schedule(len(train), effort, time_limit_s)
    tracker = progress or Silent()
    tracker.start("training", schedule.epochs)
    trained, best_epoch = train_network(
        weights,
        Lesson.of(train, inputs, task=task, objective=objective, device=device),
        judge,
        schedule=schedule,
        generator=torch.Generator(device).manual_seed(seed),
        progress=tracker,
    )
    if plan.heads is not None and plan.kept is not None:
        trained = with_heads(trained, best_heads(trained, judge, kept=plan.kept))
    arrays = {name: weight.cpu().numpy() for name, weight in folded(trained).items()}
    if shape.cardinalities:
        _fill_untrained(arrays["embedding"], train.tensors["categorical"], shape)
    kept = {name: rounded(weight, stored(name, plan.weights)) for name, weight in arrays.items()}
    return FittedNetwork(scaling=scaling, shape=shape, weights=kept, storage=plan.weights), best_epoch


@dataclass(frozen=True)
class FittedNetwork:
    """A fitted network.

    Parameters
    ----------
    scaling
        Of the numbers.
    shape
        Sizes of the network.
    weights
        Its weights by name, see `potstill.students.network.Weights`, already rounded as the file keeps them.
    storage
        How the file keeps them.
    """

    scaling: NumericScaling
    shape: NetworkShape
    weights: Mapping[str, Floats]
    storage: Storage = "float32"

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return sum(weight.size for weight in self.weights.values())

    def logits(self, tensors: Tensors) -> Floats:
        """``(n, K)`` float32, see `potstill.types.FittedStudent`; the mean of the heads' logits."""
        weights = {name: torch.from_numpy(weight) for name, weight in self.weights.items()}
        inputs = network_inputs(tensors, self.scaling, self.shape, "cpu")
        return averaged_logits(forward_in_chunks(weights, inputs)).numpy()

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        """Add the network, see `potstill.types.FittedStudent`."""
        numbers, detailed, indicators, levels = None, None, None, None
        if self.shape.n_numeric:
            numbers, indicators = self.scaling.build(graph, tensors["numeric"])
            detailed = numbers
            if 0 < self.shape.n_embedded < self.shape.n_numeric:
                detailed = graph.node("Gather", numbers, graph.constant(self.scaling.detailed), axis=1)
        if self.shape.cardinalities:
            levels = graph.node("Add", tensors["categorical"], graph.constant(self.shape.offsets))
        return build_network(
            graph,
            self.weights,
            storage=self.storage,
            numbers=numbers,
            detailed=detailed,
            indicators=indicators,
            levels=levels,
        )


def network_inputs(tensors: Tensors, scaling: NumericScaling, shape: NetworkShape, device: str) -> Inputs:
    """Encoded rows as the network takes them."""
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
        embedded=torch.from_numpy(scaling.detailed).to(device),
    )


def _initial(shape: NetworkShape, inputs: Inputs, start: Floats, seed: int, device: str) -> Weights:
    numbers = inputs.numbers[:, inputs.embedded].cpu().numpy()
    weights = initial_weights(shape, numbers, start, torch.Generator().manual_seed(seed))
    return {name: weight.to(device) for name, weight in weights.items()}


def _start(targets: Floats, weight: Floats, task: Task) -> Floats:
    """The last bias before training: the best constant answer."""
    mean = mean_target(targets, weight)
    return np.log(np.clip(mean, SMALLEST_PRIOR, None)) if task.is_classification else mean


def _numeric(examples: Examples) -> Floats:
    empty: Floats = np.zeros((len(examples), 0), dtype=np.float32)
    numeric: Floats = examples.tensors.get("numeric", empty)
    return numeric


def _judge(valid: Examples, scaling: NumericScaling, shape: NetworkShape, device: str) -> Judge:
    labels = valid.labels.astype(np.float32) if valid.labels.dtype.kind == "f" else valid.labels
    return Judge(
        inputs=network_inputs(valid.tensors, scaling, shape, device),
        labels=torch.from_numpy(labels).to(device),
        weight=torch.from_numpy(valid.weight).to(device),
    )


def _fill_untrained(embedding: Floats, ids: Ints, shape: NetworkShape) -> None:
    """Give level ids that no training row had the mean embedding of their column's rows, in place."""
    for column, (offset, cardinality) in enumerate(zip(shape.offsets, shape.cardinalities, strict=True)):
        counts = np.bincount(ids[:, column], minlength=cardinality)
        table = embedding[offset : offset + cardinality]
        table[counts == 0] = np.average(table, axis=0, weights=counts)
