"""A small network of depthwise convolutions for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from potstill.networks.convolution import Layer, depthwise_layers
from potstill.students.convolutional_student import ConvolutionalPlan, fit_convolutional, scaled_width
from potstill.students.stored_weights import Storage
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


class DepthwiseCNN(msgspec.Struct, frozen=True):
    """Stages of blocks that widen pixel by pixel, look around channel by channel, and narrow again.

    Parameters
    ----------
    stem
        Channels at full resolution at size 1.
    widths
        Channels of each stage at size 1.
    blocks
        Blocks of each stage.
    expansion
        How many times wider a block is inside.
    learning_rate, weight_decay
        Of the training (AdamW, linear warm-up, cosine to 0, averaged weights).
    epochs
        Passes over the rows at most. None: the fewer, the more rows there are.
    batch_size
        Rows of a step. None: the more, the more rows there are.
    shift
        How far pictures are moved about in training, as a part of their sides.
    flips
        Whether half of the pictures are mirrored in training. None: where mirrored pictures of a class look
        like that class.
    mixing
        Share of the batches in which pictures are mixed, or pasted on each other, two by two.
    weights
        How the file keeps them; the student computes with what it keeps.
    size
        The dial: multiplies the number of weights, so widths by its square root.

    References
    ----------
    Sandler et al. (2018), MobileNetV2: Inverted Residuals and Linear Bottlenecks.
    """

    name: ClassVar[str] = "depthwise"
    keeps_monotone: ClassVar[bool] = False
    larger: ClassVar[tuple[float, ...]] = (2.0,)
    kin: ClassVar[str] = "networks"
    climbs: ClassVar[int] = 1
    reads: ClassVar[frozenset[ColumnKind]] = frozenset({"image"})

    stem: int = 16
    widths: tuple[int, ...] = (24, 40, 68)
    blocks: tuple[int, ...] = (1, 2, 2)
    expansion: int = 4
    learning_rate: float = 0.012
    weight_decay: float = 0.05
    epochs: int | None = None
    batch_size: int | None = None
    shift: float = 0.1
    flips: bool | None = None
    mixing: float = 0.0
    weights: Storage = "float16"
    size: float = 1.0

    def resized(self, size: float) -> DepthwiseCNN:
        """The same family at another size."""
        return msgspec.structs.replace(self, size=size)

    def variants(self) -> tuple[Student, ...]:
        """Other settings of the same size worth a trial, the most promising first."""
        return (
            msgspec.structs.replace(self, learning_rate=self.learning_rate / 2),
            msgspec.structs.replace(self, mixing=0.5),
            msgspec.structs.replace(self, flips=False),
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
        plan = ConvolutionalPlan(
            layers=self._layers,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            batch_size=self.batch_size,
            shift=self.shift,
            flips=self.flips,
            mixing=self.mixing,
            weights=self.weights,
        )
        return fit_convolutional(
            plan,
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

    def _layers(self, shape: Sequence[int]) -> list[Layer]:
        widths = [scaled_width(width, self.size) for width in self.widths]
        stem = scaled_width(self.stem, self.size)
        return depthwise_layers(shape, stem=stem, widths=widths, blocks=self.blocks, expansion=self.expansion)
