"""What `ResidualCNN` and `DepthwiseCNN` share: from examples to a fitted network, and from there to ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import TensorProto

from potstill.graph import GraphBuilder
from potstill.modalities.mirroring import mirrors_alike
from potstill.networks.convolution import Layer, folded, initial_weights
from potstill.networks.pictures import Pictures, laid_out, pixel_scale
from potstill.students.convolutional import as_stored, build_network
from potstill.students.convolutional_training import (
    Judge,
    Order,
    Views,
    forward_in_chunks,
    train_convolutional,
)
from potstill.students.network_training import Epochs, Lesson, Schedule
from potstill.students.rows import is_labelled, labelled_rows
from potstill.students.stored_weights import Storage
from potstill.students.targets import blended_targets, mean_target
from potstill.types import Examples, FeatureSpec, Floats, Objective, Progress, Silent, Task, Tensors

SMALLEST_PRIOR = 1e-6
MOST_PICTURES_SEEN, MOST_BY_THE_CLOCK = 600_000, 3_000_000
"""Rows times epochs: what makes a fit of small pictures take a few minutes of one core; and where there is a
time limit, which then is what ends a fit."""

MOST_EPOCHS = 150

PIXELS_OF_SMALL = 32 * 32
WIDTH_STEP = 4


@dataclass(frozen=True)
class ConvolutionalPlan:
    """A network to be fitted: what the families of convolutional networks share.

    Parameters
    ----------
    layers
        Shape of the pictures, ``(height, width, channels)``, to the network's layers.
    learning_rate, weight_decay, epochs, batch_size
        As in `Schedule`; None for the last two: by the number of rows.
    shift, flips, mixing
        As in `Views`; ``shift`` as a part of the pictures' sides; ``flips`` None for where mirrored pictures
        look like their labels.
    weights
        How the file keeps them.
    """

    layers: Callable[[Sequence[int]], list[Layer]]
    learning_rate: float
    weight_decay: float
    epochs: int | None
    batch_size: int | None
    shift: float
    flips: bool | None
    mixing: float
    weights: Storage

    def schedule(self, n_rows: int, pixels: int, effort: int | None, time_limit_s: float | None) -> Schedule:
        """The training on this many rows an epoch, of so many pixels."""
        batch_size = self.batch_size or int(2 ** np.clip(np.round(np.log2(n_rows / 100)), 4, 6))
        most = MOST_PICTURES_SEEN if time_limit_s is None else MOST_BY_THE_CLOCK
        seen = most * min(1.0, PIXELS_OF_SMALL / pixels)
        planned = effort.planned if isinstance(effort, Epochs) else effort
        epochs = planned or self.epochs or int(np.clip(seen / n_rows, 8, MOST_EPOCHS))
        return Schedule(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=0.0,
            patience=max(8, epochs // 3),
            time_limit_s=time_limit_s,
            stop_after=effort,
        )

    def views(self, examples: Examples) -> Views:
        """The changes that suit these pictures."""
        pixels, flips = examples.tensors["pixels"], self.flips
        if flips is None:
            known = np.flatnonzero(is_labelled(examples))
            flips = mirrors_alike(pixels[known], examples.labels[known])
        return Views(round(self.shift * min(pixels.shape[1:3])), flips, self.mixing)


def fit_convolutional(
    plan: ConvolutionalPlan,
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
) -> tuple[FittedConvolutional, int]:
    """Fit; see `potstill.types.Student.fit`. The effort is the number of epochs."""
    layers = plan.layers(spec.image)
    scale = pixel_scale(train.tensors["pixels"])
    targets = blended_targets(train, task.n_outputs)
    generator = torch.Generator().manual_seed(seed)
    weights = initial_weights(layers, _start(targets, train.weight, task), generator)

    def inputs(examples: Examples) -> Pictures:
        return Pictures.of(examples.tensors["pixels"], scale, device)

    judge = None
    if valid is not None and effort is None:
        known = labelled_rows(valid)
        labels = known.labels.astype(np.float32) if known.labels.dtype.kind == "f" else known.labels
        told = (torch.from_numpy(array).to(device) for array in (labels, known.weight))
        judge = Judge(inputs(known), *told)
    lesson = Lesson.of(train, inputs(train), task=task, objective=objective, device=device)
    order = Order.of(lesson)
    schedule = plan.schedule(order.n_rows, math.prod(spec.image[:2]), effort, time_limit_s)
    tracker = progress or Silent()
    tracker.start("training", schedule.epochs)
    trained, best_epoch = train_convolutional(
        layers,
        laid_out(weights, device),
        lesson,
        judge,
        order=order,
        schedule=schedule,
        changes=plan.views(train),
        generator=generator,
        progress=tracker,
    )
    arrays = {name: weight.cpu().numpy() for name, weight in folded(layers, trained).items()}
    fitted = FittedConvolutional(
        layers=tuple(layers),
        weights=as_stored(arrays, plan.weights),
        mean=scale[0],
        spread=scale[1],
        storage=plan.weights,
    )
    return fitted, best_epoch


@dataclass(frozen=True)
class FittedConvolutional:
    """A fitted network.

    Parameters
    ----------
    layers
        Its convolutions.
    weights
        Its weights by name, see `potstill.students.convolutional.Weights`, folded and already rounded.
    mean, spread
        ``(C,)`` of the training pictures' pixels.
    storage
        How the file keeps the weights.
    """

    layers: tuple[Layer, ...]
    weights: Mapping[str, Floats]
    mean: Floats
    spread: Floats
    storage: Storage = "float32"

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return sum(weight.size for weight in self.weights.values())

    def logits(self, tensors: Tensors) -> Floats:
        """``(n, K)`` float32, see `potstill.types.FittedStudent`."""
        weights = {name: torch.from_numpy(weight) for name, weight in self.weights.items()}
        inputs = Pictures.of(tensors["pixels"], (self.mean, self.spread))
        answers: Floats = forward_in_chunks(self.layers, weights, inputs).numpy()
        return answers

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        """Add the network, see `potstill.types.FittedStudent`."""
        pixels = graph.node("Cast", tensors["pixels"], to=TensorProto.FLOAT)
        centred = graph.node("Sub", pixels, graph.constant(self.mean))
        scaled = graph.node("Div", centred, graph.constant(self.spread))
        planes = graph.node("Transpose", scaled, perm=[0, 3, 1, 2])
        return build_network(graph, self.layers, self.weights, planes, storage=self.storage)


def scaled_width(width: int, size: float) -> int:
    """Channels of a layer of ``width`` at another ``size``: by its square root, in steps of 4."""
    return max(WIDTH_STEP, WIDTH_STEP * round(width * math.sqrt(size) / WIDTH_STEP))


def _start(targets: Floats, weight: Floats, task: Task) -> Floats:
    """The last bias before training: the best constant answer."""
    mean = mean_target(targets, weight)
    return np.log(np.clip(mean, SMALLEST_PRIOR, None)) if task.is_classification else mean
