"""What `ResidualCNN` and `DepthwiseCNN` share: from examples to a fitted network, and from there to ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor

from potstill.graph import GraphBuilder
from potstill.modalities.views import mirrors_alike
from potstill.students.convolutional import (
    Layer,
    as_stored,
    build_network,
    folded,
    initial_weights,
)
from potstill.students.convolutional_training import (
    Judge,
    Pictures,
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
MOST_PICTURES_SEEN = 600_000
"""Rows times epochs: what makes a fit of small pictures take a few minutes of one core."""

PIXELS_OF_SMALL = 32 * 32
WIDTH_STEP = 4


@dataclass(frozen=True)
class ConvolutionalPlan:
    """A network to be fitted: what the families of convolutional networks share.

    Parameters
    ----------
    layers
        Height, width and channels of the pictures to the network's layers.
    learning_rate, weight_decay, epochs, batch_size
        As in `Schedule`; None for the last two: by the number of rows.
    shift, flips, mixing
        As in `Views`; ``shift`` as a part of the pictures' sides; ``flips`` None for where mirrored pictures
        look like their labels.
    weights
        How the file keeps them.
    """

    layers: Callable[[int, int, int], list[Layer]]
    learning_rate: float
    weight_decay: float
    epochs: int | None
    batch_size: int | None
    shift: float
    flips: bool | None
    mixing: float
    weights: Storage

    def schedule(self, n_rows: int, pixels: int, effort: int | None, time_limit_s: float | None) -> Schedule:
        """The training on this many rows of so many pixels."""
        batch_size = self.batch_size or int(2 ** np.clip(np.round(np.log2(n_rows / 100)), 4, 7))
        seen = MOST_PICTURES_SEEN * min(1.0, PIXELS_OF_SMALL / pixels)
        planned = effort.planned if isinstance(effort, Epochs) else effort
        epochs = planned or self.epochs or int(np.clip(seen / n_rows, 8, 100))
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
    height, width, channels = spec.image
    layers = plan.layers(height, width, channels)
    mean, spread = pixel_scale(train.tensors["pixels"])
    targets = blended_targets(train, task.n_outputs)
    generator = torch.Generator().manual_seed(seed)
    weights = initial_weights(layers, _start(targets, train.weight, task), generator)

    def inputs(examples: Examples) -> Pictures:
        return _pictures(examples.tensors["pixels"], mean, spread, device)

    judge = None
    if valid is not None and effort is None:
        known = labelled_rows(valid)
        labels = known.labels.astype(np.float32) if known.labels.dtype.kind == "f" else known.labels
        told = (torch.from_numpy(array).to(device) for array in (labels, known.weight))
        judge = Judge(inputs(known), *told)
    schedule = plan.schedule(len(train), height * width, effort, time_limit_s)
    tracker = progress or Silent()
    tracker.start("training", schedule.epochs)
    trained, best_epoch = train_convolutional(
        layers,
        {name: _laid_out(weight.to(device)) for name, weight in weights.items()},
        Lesson.of(train, inputs(train), task=task, objective=objective, device=device),
        judge,
        schedule=schedule,
        changes=plan.views(train),
        generator=generator,
        progress=tracker,
    )
    arrays = {name: weight.cpu().numpy() for name, weight in folded(layers, trained).items()}
    fitted = FittedConvolutional(
        layers=tuple(layers),
        weights=as_stored(arrays, plan.weights),
        mean=mean,
        spread=spread,
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
        inputs = _pictures(tensors["pixels"], self.mean, self.spread, "cpu")
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


def pixel_scale(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """``(C,)`` mean and standard deviation of the channels, the latter 1 where nothing varies."""
    counts = [np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(pixels.shape[3])]
    values, total = np.arange(256.0), max(1, pixels[..., 0].size)
    mean = np.array([count @ values / total for count in counts])
    spread = np.sqrt([count @ (values - m) ** 2 / total for count, m in zip(counts, mean, strict=True)])
    return mean.astype(np.float32), np.where(spread > 0, spread, 1).astype(np.float32)


def _laid_out(weight: Tensor) -> Tensor:
    """Kernels with the channels last in memory, as pictures are."""
    return weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight


def _pictures(pixels: NDArray[np.uint8], mean: Floats, spread: Floats, device: str) -> Pictures:
    given = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in (pixels, mean, spread))
    return Pictures(*given)


def _start(targets: Floats, weight: Floats, task: Task) -> Floats:
    """The last bias before training: the best constant answer."""
    mean = mean_target(targets, weight)
    return np.log(np.clip(mean, SMALLEST_PRIOR, None)) if task.is_classification else mean
