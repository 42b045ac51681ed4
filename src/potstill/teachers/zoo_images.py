"""The default ensemble for pictures: convolutional networks of several shapes that learn in several ways."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.modalities.image import ImageEncoder
from potstill.teachers.digests import digest
from potstill.teachers.zoo_member import VERSION
from potstill.types import Dataset, Doubles, Floats, Labels, Task, Trainable

PICTURE_OPERATIONS_PER_S = 7e10
"""Multiplications and additions that one core does each second in training, in bfloat16."""

TRAINING_FACTOR, ANSWERS_FACTOR = 3.0, 2.3
"""What a picture takes in training, and to be answered (twice, once mirrored), in forward passes."""

MOST_EPOCHS, FEWEST_EPOCHS = 60, 2

_BEGINNING_S = 5.0
_LEAST_PICTURES = 25_000
"""Pictures times epochs that a member should see at least: where time is shorter, there are fewer members."""

_FEWEST_MEMBERS = 2


class ConvolutionalMember(msgspec.Struct, frozen=True, kw_only=True):
    """A residual network, fitted once, on all pictures.

    Parameters
    ----------
    name
        Name in the ensemble.
    widths
        Channels of the stages; each halves the resolution but the first.
    depth
        Blocks of a stage.
    stem_stride
        2 halves the resolution before the first stage.
    mixing
        What is done to pictures in training beside shifts and mirroring: ``none``, ``mixup`` (two are
        blended), ``cutmix`` (one gets a rectangle of another) or ``cutout`` (a rectangle goes black).
    learning_rate, weight_decay, smoothing, batch_size, epochs
        Of the training; ``smoothing`` is the weight of the uniform distribution in the labels.
    """

    name: str
    widths: tuple[int, ...]
    depth: int = 1
    stem_stride: int = 1
    mixing: Literal["none", "mixup", "cutmix", "cutout"] = "none"
    learning_rate: float = 0.15
    weight_decay: float = 5e-4
    smoothing: float = 0.05
    batch_size: int = 128
    epochs: int = MOST_EPOCHS

    @property
    def fingerprint(self) -> str:
        import torch

        return digest(VERSION, type(self).__name__, msgspec.json.encode(self).decode(), torch.__version__)

    def operations(self, shape: Sequence[int]) -> float:
        """Multiplications and additions of one forward pass for a picture of ``shape``."""
        from potstill.networks.convolution import residual_blocks

        blocks = residual_blocks(
            self.widths, channels=shape[2], stem_stride=self.stem_stride, depth=self.depth
        )
        height, width, total = shape[0], shape[1], 0.0
        for block in blocks:
            stride = max(layer.stride for layer in block.layers)
            height, width = math.ceil(height / stride), math.ceil(width / stride)
            for layer in (*block.layers, *([block.past] if block.past else [])):
                per_pixel = layer.kernel**2 * layer.inputs * layer.outputs / layer.groups
                total += 2 * height * width * per_pixel
        return total

    def within(
        self, seconds: float, n_rows: int, n_answers: int, shape: Sequence[int]
    ) -> ConvolutionalMember:
        """The same member with as many epochs as ``seconds`` of one core suffice for."""
        forward_s = self.operations(shape) / PICTURE_OPERATIONS_PER_S
        left_s = seconds - ANSWERS_FACTOR * forward_s * n_answers
        epochs = int(left_s / (TRAINING_FACTOR * forward_s * n_rows))
        return msgspec.structs.replace(self, epochs=max(FEWEST_EPOCHS, min(MOST_EPOCHS, epochs)))

    def fit(self, dataset: Dataset, *, seed: int) -> FittedConvolutionalMember:
        return self.fit_whole(dataset, seed=seed)

    def fit_whole(self, dataset: Dataset, *, seed: int) -> FittedConvolutionalMember:
        """Fit on all pictures of ``dataset``."""
        from potstill.teachers.zoo_convolution import fit_network

        assert dataset.labels is not None
        encoder = ImageEncoder(dataset.schema)
        labels: Labels = dataset.labels
        center, spread = 0.0, 1.0
        if not dataset.task.is_classification:
            center, spread = float(np.mean(labels)), float(np.std(labels)) or 1.0
            labels = ((labels - center) / spread).astype(np.float64)
        pixels = encoder.encode(dataset.rows)["pixels"]
        seed = int(digest(self.name, str(seed))[:7], 16)
        network = fit_network(self, pixels, labels, dataset.weight, dataset.task, seed=seed)
        fingerprint = digest(self.fingerprint, str(seed), pixels.tobytes()[:1_000_000].hex())
        return FittedConvolutionalMember(
            self.name, fingerprint, encoder, network, dataset.task, center, spread
        )


@dataclass(frozen=True, eq=False)
class FittedConvolutionalMember:
    """A fitted member: what it answers for a picture is the mean of that and of its mirror image."""

    name: str
    fingerprint: str
    encoder: ImageEncoder
    network: Any
    task: Task
    center: float
    spread: float

    @property
    def size_bytes(self) -> int:
        """Four bytes for each of its parameters."""
        return 4 * self.n_parameters

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return sum(weight.numel() for weight in self.network.parameters())

    def predict(self, dataset: Dataset) -> Floats:
        """Probabilities ``(n, K)`` in the order of the task's classes, or values ``(n, 1)``."""
        from potstill.teachers.zoo_convolution import answers

        pixels: NDArray[np.uint8] = self.encoder.encode(dataset.rows)["pixels"]
        logits = answers(self.network, pixels)
        if not self.task.is_classification:
            return (logits * self.spread + self.center).astype(np.float32)
        shifted: Doubles = np.exp(
            logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-1e30)
        )
        probs: Floats = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
        return probs

    def predict_out_of_fold(self, dataset: Dataset) -> Floats:
        """NaN: it was fitted on all rows."""
        return np.full((len(dataset), self.task.n_outputs), np.nan, dtype=np.float32)


ZOO_OF_IMAGES = (
    ConvolutionalMember(name="residual", widths=(32, 64, 128, 256), mixing="cutout"),
    ConvolutionalMember(name="residual-coarse", widths=(64, 128, 320), stem_stride=2, mixing="mixup"),
    ConvolutionalMember(name="residual-steep", widths=(32, 96, 288), mixing="cutmix", learning_rate=0.1),
    ConvolutionalMember(name="residual-wide", widths=(48, 96, 192, 384), stem_stride=2, mixing="none"),
    ConvolutionalMember(
        name="residual-deep", widths=(32, 64, 128, 256), depth=2, stem_stride=2, mixing="mixup", smoothing=0.0
    ),
)
"""The members, the most useful first; every one has more than a million parameters."""


def default_image_members(
    *, n_rows: int, n_answers: int, shape: Sequence[int], time_s: float, threads: int
) -> list[Trainable]:
    """The members, each with as many epochs as its part of the time allows.

    Parameters
    ----------
    n_rows
        Pictures with labels.
    n_answers
        Pictures that every member is asked about.
    shape
        Height, width and channels in which they are looked at.
    time_s
        Seconds for all fits and answers of all members; where they are few there are fewer members.
    threads
        Cores there are; as many members are at work side by side.
    """
    core_s = max(time_s - _BEGINNING_S, time_s / 2) * threads
    stride = 2 if max(shape[:2]) > _LARGE_SIDE else 1
    members = [msgspec.structs.replace(each, stem_stride=each.stem_stride * stride) for each in ZOO_OF_IMAGES]
    costs = [each.operations(shape) / PICTURE_OPERATIONS_PER_S for each in members]
    least = [cost * (TRAINING_FACTOR * _LEAST_PICTURES + ANSWERS_FACTOR * n_answers) for cost in costs]
    count = len(members)
    while count > _FEWEST_MEMBERS and sum(least[:count]) > core_s:
        count -= 1
    # Every core is given as many members: the last round must not leave one idle.
    return [
        each.within(core_s / _evened(count, threads), n_rows, n_answers, shape) for each in members[:count]
    ]


_LARGE_SIDE = 40


def _evened(count: int, threads: int) -> float:
    """Equal parts of the time that ``count`` members need on ``threads`` cores side by side."""
    return math.ceil(count / threads) * threads if count > threads else float(threads)
