"""Small convolutional networks for pictures: with residual blocks, or with depthwise convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
import torch

from potstill.networks.convolution import Block, ConvolutionalNetwork, depthwise_blocks, residual_blocks
from potstill.students.convolution import FittedConvolutional
from potstill.students.convolution_training import PictureLesson, train_convolutional
from potstill.students.network_training import Epochs, Schedule
from potstill.students.rows import labelled_rows
from potstill.students.stored_weights import Storage
from potstill.students.targets import blended_targets, mean_target
from potstill.types import (
    ColumnKind,
    Examples,
    FeatureSpec,
    FittedStudent,
    Floats,
    Objective,
    Progress,
    Silent,
    Student,
    Task,
)

LARGE_SIDE = 40
"""Pictures with longer sides are looked at with half the resolution from the first layer on."""

MOST_PICTURES_SEEN = 1_500_000
"""Pictures times epochs where no clock limits a fit."""

SMALLEST_PRIOR = 1e-6
_WIDTH_STEP = 4


class ResidualCNN(msgspec.Struct, frozen=True):
    """Residual blocks of two 3 x 3 convolutions, each width at half the resolution of the one before.

    Parameters
    ----------
    widths
        Channels of each stage at size 1.
    depth
        Blocks of a stage.
    learning_rate, weight_decay
        Of the training: SGD with momentum, linear warm-up, half a cosine to 0.
    mixup
        Largest part of another picture that is blended into each in training; 0 for none.
    flips
        Whether pictures may be mirrored in training: not where left and right mean something.
    epochs
        Passes over the pictures; None: the fewer, the more there are.
    batch_size
        Pictures of a step.
    weights
        How the file keeps them; the student computes with what it keeps.
    size
        The dial: multiplies the number of weights, so widths by its square root.

    References
    ----------
    He, Zhang, Ren, Sun (2016), Deep Residual Learning for Image Recognition.
    """

    name: ClassVar[str] = "residual"
    keeps_monotone: ClassVar[bool] = False
    larger: ClassVar[tuple[float, ...]] = (2.0,)
    kin: ClassVar[str] = "networks"
    climbs: ClassVar[int] = 1
    reads: ClassVar[frozenset[ColumnKind]] = frozenset({"image"})

    widths: tuple[int, ...] = (16, 32, 80)
    depth: int = 1
    learning_rate: float = 0.15
    weight_decay: float = 5e-4
    mixup: float = 0.0
    flips: bool = True
    epochs: int | None = None
    batch_size: int = 128
    weights: Storage = "float16"
    size: float = 1.0

    def resized(self, size: float) -> ResidualCNN:
        """The same family at another size."""
        return msgspec.structs.replace(self, size=size)

    def variants(self) -> tuple[Student, ...]:
        """Other settings of the same size worth a trial, the most promising first."""
        return _variants(self)

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
        height, width, channels = spec.image
        blocks = residual_blocks(
            _scaled(self.widths, self.size),
            channels=channels,
            stem_stride=2 if max(height, width) > LARGE_SIDE else 1,
            depth=self.depth,
        )
        return _fit(
            self, blocks, train, valid, task, objective, seed, effort, time_limit_s, progress or Silent()
        )


class DepthwiseCNN(msgspec.Struct, frozen=True):
    """Convolutions of each channel alone, and between them convolutions of one pixel across the channels.

    Parameters
    ----------
    widths
        Channels of each stage at size 1; every stage but the first halves the resolution.
    depth
        Pairs of convolutions of a stage.
    learning_rate, weight_decay, mixup, flips, epochs, batch_size, weights, size
        As in `ResidualCNN`.

    References
    ----------
    Howard et al. (2017), MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications.
    """

    name: ClassVar[str] = "depthwise"
    keeps_monotone: ClassVar[bool] = False
    larger: ClassVar[tuple[float, ...]] = (2.0,)
    kin: ClassVar[str] = "networks"
    climbs: ClassVar[int] = 1
    reads: ClassVar[frozenset[ColumnKind]] = frozenset({"image"})

    widths: tuple[int, ...] = (32, 64, 128, 192)
    depth: int = 2
    learning_rate: float = 0.15
    weight_decay: float = 5e-4
    mixup: float = 0.0
    flips: bool = True
    epochs: int | None = None
    batch_size: int = 128
    weights: Storage = "float16"
    size: float = 1.0

    def resized(self, size: float) -> DepthwiseCNN:
        """The same family at another size."""
        return msgspec.structs.replace(self, size=size)

    def variants(self) -> tuple[Student, ...]:
        """Other settings of the same size worth a trial, the most promising first."""
        return _variants(self)

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
        blocks = depthwise_blocks(
            _scaled(self.widths, self.size),
            channels=spec.image[2],
            stem_stride=2 if max(spec.image[:2]) > LARGE_SIDE else 1,
            depth=self.depth,
        )
        return _fit(
            self, blocks, train, valid, task, objective, seed, effort, time_limit_s, progress or Silent()
        )


def _scaled(widths: Sequence[int], size: float) -> list[int]:
    """Widths times the square root of ``size``, in steps of a few channels."""
    factor = math.sqrt(size)
    return [max(_WIDTH_STEP, round(width * factor / _WIDTH_STEP) * _WIDTH_STEP) for width in widths]


def _variants(part: Any) -> tuple[Student, ...]:
    """With mixup, without mirroring, and with other rates."""
    mixup = 0.0 if part.mixup else 0.5
    return (
        msgspec.structs.replace(part, mixup=mixup),
        msgspec.structs.replace(part, flips=not part.flips),
        msgspec.structs.replace(part, learning_rate=part.learning_rate / 3),
    )


def _fit(
    part: ResidualCNN | DepthwiseCNN,
    blocks: Sequence[Block],
    train: Examples,
    valid: Examples | None,
    task: Task,
    objective: Objective,
    seed: int,
    effort: int | None,
    time_limit_s: float | None,
    progress: Progress,
) -> tuple[FittedStudent, int]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ConvolutionalNetwork(blocks, task.n_outputs)
    _begin_with_the_mean(network, blended_targets(train, task.n_outputs), train.weight, task)
    schedule = _schedule(part, len(train), effort, time_limit_s)
    progress.start("training", schedule.epochs)
    best = train_convolutional(
        network,
        PictureLesson.of(train, objective, task, mixup=part.mixup, flips=part.flips),
        labelled_rows(valid) if valid is not None and effort is None else None,
        schedule=schedule,
        generator=torch.Generator().manual_seed(seed),
        progress=progress,
    )
    return FittedConvolutional.of(network, part.weights), best


def _schedule(
    part: ResidualCNN | DepthwiseCNN, n_rows: int, effort: int | None, time_limit_s: float | None
) -> Schedule:
    planned = effort.planned if isinstance(effort, Epochs) else effort
    by_rows = int(np.clip(MOST_PICTURES_SEEN / n_rows, 10, 200))
    epochs = planned or part.epochs or by_rows
    return Schedule(
        epochs=epochs,
        batch_size=min(part.batch_size, max(16, n_rows // 8)),
        learning_rate=part.learning_rate,
        weight_decay=part.weight_decay,
        dropout=0.0,
        patience=epochs,
        time_limit_s=time_limit_s,
        stop_after=effort,
    )


def _begin_with_the_mean(network: ConvolutionalNetwork, targets: Floats, weight: Floats, task: Task) -> None:
    """The last bias before training: the best constant answer."""
    mean = mean_target(targets, weight)
    start = np.log(np.clip(mean, SMALLEST_PRIOR, None)) if task.is_classification else mean
    with torch.no_grad():
        network.head.bias.copy_(torch.from_numpy(np.asarray(start, dtype=np.float32)))
