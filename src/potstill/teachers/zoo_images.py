"""The default ensemble for pictures: convolutional networks of several shapes that learn in several ways."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.modalities.image import ImageEncoder
from potstill.teachers.digests import digest
from potstill.teachers.zoo_member import VERSION, Scale, pace_of
from potstill.types import Dataset, Floats, Task, Trainable

if TYPE_CHECKING:
    from potstill.networks.convolution import Layer
    from potstill.teachers.zoo_convolution import Network

S_PER_PRODUCT, S_PER_VALUE = 4e-12, 2.4e-9
"""Seconds of one core for a multiplication and addition, and for a number that a layer puts out, in a forward
pass in bfloat16, where the processor multiplies matrices of those; how much slower others are is measured."""

S_PER_WEIGHT = 2.5e-9
"""Seconds of one core in which a step changes one weight."""

TRAINING_FACTOR, ANSWERS_FACTOR = 3.0, 1.2
"""What a picture takes in training, and to be answered (twice, once mirrored), in forward passes."""

MOST_EPOCHS, FEWEST_EPOCHS = 100, 2

MANY_EPOCHS = 30
"""With fewer epochs in the first course nothing is mixed, pictures are moved about less and the learning rate
is lower: what is learnt from views far from the pictures is learnt slowly."""

SHORT_SHIFT, SHORT_RATE = 0.04, 1 / 3
"""How far pictures are then moved, at most, and the part of the learning rate."""

SMOOTHING, SMOOTHED_ROWS = 0.1, 20_000
"""Weight of the uniform distribution in the labels where no pictures are mixed, and pictures up to which that
is done: more are not learnt by heart in so few epochs."""

_BEGINNING_S, _PACE_STEPS, _PACE_TIMES = 5.0, 8, 3
LEAST_PICTURES, LEAST_PASSES = 100_000, 20
"""Pictures times epochs that a member should see at least for each of its snapshots, or epochs where pictures
are few."""

WIDE_PICTURES, WIDE_PASSES = 480_000, 30
"""The same for a member of full width: where time is shorter, members are narrower and see more."""

_ENOUGH, _ENOUGH_PASSES = 2, 15
"""Times as many a member should see, and epochs: where time is shorter, fewer members learn longer, and each
answers by several snapshots of itself. Where it is longer, members are more: they know their own training
pictures less by heart than a few that learn longer, and students learn more from their answers."""

_FEWEST_MEMBERS, _NETWORKS = 2, 5
"""Members, and networks that answer together, at least."""

_LIGHTER = (1.0, 0.7, 0.5, 0.35)
"""Parts of their channels that members keep, tried one after the other until all of them have time enough."""


class ConvolutionalMember(msgspec.Struct, frozen=True, kw_only=True):
    """A convolutional network, fitted once, on all pictures.

    Parameters
    ----------
    name
        Name in the ensemble.
    stem, widths, blocks
        As in `potstill.networks.convolution.residual_layers`: most weights are where the resolution is low
        and they cost little.
    expansion
        Of a network of depthwise convolutions; None for a residual one.
    mixing, mixed_share
        What is done to pictures in training beside shifts and mirroring: ``none``, ``mixup`` (two shine
        through each other), ``cutmix`` (one gets a rectangle of another) or ``cutout`` (a black one); and in
        which part of the steps.
    shift
        How far pictures are moved about in training, as a part of their sides.
    learning_rate, weight_decay, smoothing, batch_size, epochs
        Of the training; ``smoothing`` is the weight of the uniform distribution in the labels.
    snapshots
        Courses of the training: at the end of each its learning rate is 0, and the network then is one of
        those whose mean the member answers.
    """

    name: str
    stem: int = 16
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    expansion: int | None = None
    mixing: Literal["none", "mixup", "cutmix", "cutout"] = "none"
    mixed_share: float = 0.5
    shift: float = 0.125
    learning_rate: float = 0.012
    weight_decay: float = 0.05
    smoothing: float = 0.0
    batch_size: int = 64
    epochs: int = MOST_EPOCHS
    snapshots: int = 1

    @property
    def fingerprint(self) -> str:
        import torch

        return digest(VERSION, type(self).__name__, msgspec.json.encode(self).decode(), torch.__version__)

    def layers(self, shape: Sequence[int]) -> list[Layer]:
        """Its convolutions for pictures of ``shape`` ``(height, width, channels)``."""
        from potstill.networks.convolution import depthwise_layers, residual_layers

        if self.expansion is None:
            return residual_layers(shape, stem=self.stem, widths=self.widths, blocks=self.blocks)
        return depthwise_layers(
            shape, stem=self.stem, widths=self.widths, blocks=self.blocks, expansion=self.expansion
        )

    def forward_s(self, shape: Sequence[int]) -> float:
        """Seconds of one core for one forward pass of a picture of ``shape``."""
        from potstill.networks.convolution import work_of

        work = work_of(self.layers(shape), shape, n_outputs=1)
        return S_PER_PRODUCT * work.products + S_PER_VALUE * work.values

    def within(
        self, seconds: float, n_rows: int, n_answers: int, shape: Sequence[int]
    ) -> ConvolutionalMember:
        """The same member with the epochs there is time for.

        Where they are few its pictures vary less, and it has fewer snapshots.
        """
        from potstill.teachers.zoo_convolution import Courses

        left_s = seconds - self.cost_s(shape, 0, n_answers)
        epochs = int(left_s / self.cost_s(shape, n_rows, 0))
        epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, epochs))
        snapshots = max(1, min(self.snapshots, epochs * n_rows // least_pictures(n_rows)))
        if Courses(epochs, snapshots).ends[0] >= MANY_EPOCHS:
            return msgspec.structs.replace(self, epochs=epochs, snapshots=snapshots)
        smoothing = SMOOTHING if n_rows <= SMOOTHED_ROWS else 0.0
        return msgspec.structs.replace(
            self,
            epochs=epochs,
            snapshots=snapshots,
            mixing="none",
            smoothing=smoothing,
            shift=min(self.shift, SHORT_SHIFT),
            learning_rate=SHORT_RATE * self.learning_rate,
        )

    def cost_s(self, shape: Sequence[int], n_seen: float, n_answers: int) -> float:
        """Seconds of one core to learn from so many pictures, once an epoch each, and to answer some."""
        answers = ANSWERS_FACTOR * self.forward_s(shape) * n_answers * self.snapshots
        return self.training_s(shape) * n_seen + answers

    def training_s(self, shape: Sequence[int]) -> float:
        """Seconds of one core for one picture in training."""
        from potstill.networks.convolution import work_of

        weights = work_of(self.layers(shape), shape, n_outputs=1).weights
        return TRAINING_FACTOR * self.forward_s(shape) + S_PER_WEIGHT * weights / self.batch_size

    def fit(self, dataset: Dataset, *, seed: int) -> FittedConvolutionalMember:
        return self.fit_whole(dataset, seed=seed)

    def fit_whole(self, dataset: Dataset, *, seed: int) -> FittedConvolutionalMember:
        """Fit on all pictures of ``dataset``."""
        from potstill.teachers.zoo_convolution import fit_network

        assert dataset.labels is not None
        encoder = ImageEncoder(dataset.schema)
        scale = Scale.of(dataset.labels, dataset.task, whole=True)
        pixels = encoder.encode(dataset.rows)["pixels"]
        seed = int(digest(self.name, str(seed))[:7], 16)
        labels = scale.own(dataset.labels)
        network = fit_network(self, pixels, labels, dataset.weight, dataset.task, seed=seed)
        fingerprint = digest(self.fingerprint, str(seed), pixels.tobytes(), labels.tobytes())
        return FittedConvolutionalMember(self.name, fingerprint, encoder, network, scale)


@dataclass(frozen=True, eq=False)
class FittedConvolutionalMember:
    """A fitted member: it answers the mean of a picture and of its mirror image, if they look alike."""

    name: str
    fingerprint: str
    encoder: ImageEncoder
    network: Network
    scale: Scale

    @property
    def size_bytes(self) -> int:
        """Four bytes for each of its parameters."""
        return 4 * self.n_parameters

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return self.network.n_parameters

    def predict(self, dataset: Dataset) -> Floats:
        """Probabilities ``(n, K)`` in the order of the task's classes, or values ``(n, 1)``."""
        pixels: NDArray[np.uint8] = self.encoder.encode(dataset.rows)["pixels"]
        return self.scale.of_logits(self.network.logits(pixels))

    def predict_out_of_fold(self, dataset: Dataset) -> Floats:
        """NaN: it was fitted on all rows."""
        return np.full((len(dataset), dataset.task.n_outputs), np.nan, dtype=np.float32)


_ONE_EACH = (1, 1, 1, 1)

ZOO_OF_IMAGES = (
    ConvolutionalMember(name="residual", widths=(32, 64, 96, 240), blocks=_ONE_EACH, mixing="cutmix"),
    ConvolutionalMember(name="residual-mixup", widths=(32, 48, 64, 256), blocks=_ONE_EACH, mixing="mixup"),
    ConvolutionalMember(name="residual-wide", widths=(40, 64, 96, 240), blocks=_ONE_EACH, mixing="cutmix"),
    ConvolutionalMember(name="residual-slim", widths=(24, 64, 96, 248), blocks=_ONE_EACH, mixing="mixup"),
    ConvolutionalMember(name="residual-deep", widths=(24, 48, 80, 248), blocks=(2, 1, 1, 1), mixing="cutmix"),
    ConvolutionalMember(
        name="residual-stem", stem=32, widths=(32, 48, 80, 248), blocks=_ONE_EACH, mixing="mixup"
    ),
)
"""The members, the most useful first; every one has about a million and a half of parameters."""


def default_image_members(
    *, n_rows: int, n_answers: int, shape: Sequence[int], time_s: float, threads: int, pace: float = 1.0
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
        Seconds for all fits and answers of all members; where they are few, members are fewer, and narrower.
    threads
        Cores there are; as many members are at work side by side.
    pace
        How many times as long as reckoned everything takes here, see `measured_pace`.
    """
    core_s = max(time_s - _BEGINNING_S, time_s / 2) * threads / pace
    least, wide = least_pictures(n_rows), min(WIDE_PICTURES, WIDE_PASSES * n_rows)
    for factor in _LIGHTER:
        members = [_narrowed(each, factor) for each in ZOO_OF_IMAGES]
        first = members[:_FEWEST_MEMBERS]
        if sum(each.cost_s(shape, wide, n_answers) for each in first) <= core_s:
            break
    count = len(members)
    while True:
        snapshots = math.ceil(_NETWORKS / count)
        members = [msgspec.structs.replace(each, snapshots=snapshots) for each in members[:count]]
        # Every core is given as many members: the last round must not leave one idle.
        share_s = core_s / _evened(count, threads)
        wanted = max(_ENOUGH * least, _ENOUGH_PASSES * n_rows)
        enough = max(each.cost_s(shape, wanted, n_answers) for each in members)
        if count == _FEWEST_MEMBERS or enough <= share_s:
            return [each.within(share_s, n_rows, n_answers, shape) for each in members]
        count -= 1


def measured_pace(shape: Sequence[int]) -> float:
    """How many times as long as reckoned a member learns here: a few steps on noise, a second or two.

    Parameters
    ----------
    shape
        Height, width and channels of the pictures.
    """
    from potstill.teachers.zoo_convolution import fit_network

    member = msgspec.structs.replace(ZOO_OF_IMAGES[0], epochs=1)
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (_PACE_STEPS * member.batch_size, *shape), dtype=np.uint8)
    labels = np.arange(len(pixels)) % 2
    task = Task("binary", "", (0, 1))
    seconds = math.inf
    for _ in range(_PACE_TIMES):  # the first time much is prepared, and others may disturb
        begin = time.perf_counter()
        fit_network(member, pixels, labels, None, task, seed=0)
        seconds = min(seconds, time.perf_counter() - begin)
    return pace_of(seconds, len(pixels) * member.training_s(shape))


def least_pictures(n_rows: int) -> int:
    """Pictures times epochs that a member should see at least for each of its snapshots."""
    return min(LEAST_PICTURES, LEAST_PASSES * n_rows)


def _narrowed(member: ConvolutionalMember, factor: float) -> ConvolutionalMember:
    """The member with fewer channels."""
    widths = tuple(max(8, 4 * round(width * factor / 4)) for width in member.widths)
    return msgspec.structs.replace(member, widths=widths)


def _evened(count: int, threads: int) -> float:
    """Equal parts of the time that ``count`` members need on ``threads`` cores side by side."""
    return math.ceil(count / threads) * threads if count > threads else float(threads)
