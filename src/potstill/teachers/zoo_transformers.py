"""Transformers of the default ensemble for texts: a pretrained encoder, fine-tuned in several ways."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import numpy as np

from potstill.artifact.wordpiece import WordPiece
from potstill.modalities.pretrained_pieces import wordpiece_of
from potstill.modalities.text import joined_texts
from potstill.networks.bert_folder import default_checkpoint, read_shape
from potstill.teachers.digests import digest, file_digest
from potstill.teachers.zoo_member import VERSION, Scale, pace_of
from potstill.types import Dataset, Floats, Task, Trainable

if TYPE_CHECKING:
    from potstill.teachers.zoo_fine_tuning import Classifier

__all__ = ["TransformerMember", "default_checkpoint", "transformer_members"]

MOST_PIECES = 128
"""Of a text; what comes after is not read."""

OPERATIONS_PER_S = 1.8e11
"""Multiplications and additions that one core does each second, training or answering, in bfloat16 where the
processor multiplies matrices of those; how much slower others are is measured."""

MOST_EPOCHS, MOST_EPOCHS_MANY = 4, 8
"""Epochs at most, with up to ten classes and with more."""

LEAST_EPOCHS_MANY = 2
"""With more than ten classes and fewer epochs than this, a head alone, fitted to the end, is better."""

ENOUGH_EPOCHS = 2
"""Epochs that a member should have: where time is shorter, there are fewer members."""

FEWEST_MEMBERS = 2

LEAST_FITTING = 0.15
"""Part of a member's time that is for its fit, however many rows it is asked about."""

_BEGINNING_S = 6.0
_PACE_PIECES, _PACE_STEPS = 900, 2


class TransformerMember(msgspec.Struct, frozen=True, kw_only=True):
    """An encoder of BERT's kind with a head, fitted once, on all texts.

    Parameters
    ----------
    name
        Name in the ensemble.
    checkpoint
        Folder of the pretrained encoder; None: a small one of random weights, on pieces of its own.
    pooling
        The vector of a text: the mean of its pieces' (``"mean"``), or the first piece's (``"first"``).
    learning_rate, layer_decay, dropout
        Of the last layer, what it is multiplied with from layer to layer downwards, and of all layers.
    epochs
        Passes over the rows; 0 leaves the encoder as it is and fits the head alone.
    frozen
        Of each three layers so many, from the beginning, are left as they are.
    keeps_encoder
        Whether students are to begin with its fine-tuned encoder.
    limit_s
        Seconds that the epochs may take: on a machine that is busy otherwise, training ends by the clock.
        None for as long as they take.
    """

    name: str
    checkpoint: str | None
    pooling: Literal["mean", "first"] = "mean"
    learning_rate: float = 1e-4
    layer_decay: float = 0.9
    dropout: float = 0.1
    epochs: int = MOST_EPOCHS
    frozen: int = 0
    keeps_encoder: bool = False
    limit_s: float | None = None

    @property
    def fingerprint(self) -> str:
        import torch

        recipe = msgspec.structs.replace(self, checkpoint=None, limit_s=None)
        encoder = "none" if self.checkpoint is None else _encoder_digest(self.checkpoint)
        return digest(VERSION, type(self).__name__, msgspec.json.encode(recipe), encoder, torch.__version__)

    def fit(self, dataset: Dataset, *, seed: int) -> FittedTransformerMember:
        return self.fit_whole(dataset, seed=seed)

    def fit_whole(self, dataset: Dataset, *, seed: int) -> FittedTransformerMember:
        """Fit on all rows of ``dataset``.

        Raises
        ------
        UserError
            The checkpoint cannot be read.
        """
        from potstill.teachers.zoo_fine_tuning import fitted_classifier

        assert dataset.labels is not None
        scale = Scale.of(dataset.labels, dataset.task, whole=True)
        labels = scale.own(dataset.labels)
        texts = joined_texts(dataset.rows, dataset.schema)
        seed = int(digest(self.name, str(seed))[:7], 16)
        classifier = fitted_classifier(self, texts, labels, dataset.weight, dataset.task, seed=seed)
        data = digest(*texts, np.ascontiguousarray(labels).tobytes())
        fingerprint = digest(self.fingerprint, str(seed), data)
        return FittedTransformerMember(self.name, fingerprint, classifier, scale)

    def seconds(self, n_rows: int, n_pieces: float) -> float:
        """Seconds of one core that a fit on so many rows takes.

        Parameters
        ----------
        n_rows
            To learn from.
        n_pieces
            Of a text, on average.
        """
        if self.checkpoint is None:
            layers, a_layer = FRESH_LAYERS, 12 * FRESH_WIDTH**2
        else:
            shape = read_shape(self.checkpoint)
            layers, a_layer = shape.layers, 4 * shape.width**2 + 2 * shape.width * shape.inner
        learnt = layers - self.frozen * layers // 3 if self.epochs else 0
        # A layer's gradients cost twice what its answers do.
        passes = self.epochs * (layers + 2 * learnt) if self.epochs else layers
        return n_rows * n_pieces * passes * 2 * a_layer / OPERATIONS_PER_S


@dataclass(frozen=True, eq=False)
class FittedTransformerMember:
    """A fitted member."""

    name: str
    fingerprint: str
    classifier: Classifier
    scale: Scale

    @property
    def size_bytes(self) -> int:
        """Four bytes for each of its parameters."""
        return 4 * self.n_parameters

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return self.classifier.n_parameters

    def write_encoder(self, path: Path) -> None:
        """Write the encoder's weights, without the head."""
        from potstill.networks.bert_folder import write_weights

        write_weights(path, self.classifier.weights)

    def predict(self, dataset: Dataset) -> Floats:
        """Probabilities ``(n, K)`` in the order of the task's classes, or values ``(n, 1)``."""
        return self.scale.of_logits(self.classifier.logits(joined_texts(dataset.rows, dataset.schema)))

    def predict_out_of_fold(self, dataset: Dataset) -> Floats:
        """NaN: it was fitted on all rows."""
        return np.full((len(dataset), dataset.task.n_outputs), np.nan, dtype=np.float32)


FRESH_LAYERS, FRESH_WIDTH = 2, 128
"""Of a network of random weights: more has nothing to learn from in a few thousand rows."""


class Work(NamedTuple):
    """What the members of an ensemble for texts have to do, in what time.

    Parameters
    ----------
    task
        What is predicted.
    n_rows
        Rows with labels.
    n_answers
        Rows that every member is asked about.
    mean_words, mean_pieces
        Of a text.
    time_s
        Seconds for all fits and answers of all members.
    threads
        Cores there are; each fit uses one, and as many members as cores are at work side by side.
    checkpoint
        Folder of a pretrained encoder, or None.
    pace
        How many times as long as reckoned transformers take here, see `measured_pace`.
    """

    task: Task
    n_rows: int
    n_answers: int
    mean_words: float
    mean_pieces: float
    time_s: float
    threads: int
    checkpoint: str | None
    pace: float = 1.0


def transformer_members(work: Work) -> list[Trainable]:
    """One to four members, each with as many epochs as its part of the time allows.

    Where time is short the first layers are left as they are, and where it is shorter still all of them:
    then only a head is fitted on its vectors.

    Returns
    -------
    The best first. It keeps its encoder where that is fine-tuned. None where the encoder cannot even be asked
    about all texts in that time.
    """
    n_rows, n_answers, checkpoint = work.n_rows, work.n_answers, work.checkpoint
    n_pieces = work.mean_pieces
    most = (MOST_EPOCHS if work.task.n_outputs <= 10 else MOST_EPOCHS_MANY) * (1 if checkpoint else 3)
    core_s = max(work.time_s - _BEGINNING_S, work.time_s / 2) * work.threads / work.pace
    members = _varied(checkpoint, most)
    epoch_s = msgspec.structs.replace(members[0], epochs=1).seconds(n_rows, n_pieces)
    asked_s = msgspec.structs.replace(members[0], epochs=0).seconds(n_answers, n_pieces)
    count = len(members)
    while (
        count > FEWEST_MEMBERS and (ENOUGH_EPOCHS * epoch_s + asked_s) * _shares(count, work.threads) > core_s
    ):
        count -= 1
    own_s = core_s / _shares(count, work.threads)
    if (
        checkpoint is not None
        and asked_s + msgspec.structs.replace(members[0], epochs=0).seconds(n_rows, n_pieces) > own_s
    ):
        return []  # not even a head would be fitted and asked in time
    seconds = max(own_s - asked_s, LEAST_FITTING * own_s)
    planned = [
        msgspec.structs.replace(_within(member, seconds, n_rows, n_pieces), limit_s=work.pace * seconds)
        for member in members[:count]
    ]
    if not planned[0].epochs:
        return [planned[0]]  # heads on one and the same encoder would answer alike
    keeps = checkpoint is not None
    return [msgspec.structs.replace(planned[0], keeps_encoder=keeps), *planned[1:]]


def measured_pace(checkpoint: str | None, n_pieces: float) -> float:
    """How many times as long as reckoned an encoder learns here: a few steps on noise, some seconds.

    Parameters
    ----------
    checkpoint
        As in `Work`.
    n_pieces
        Of a text.
    """
    from potstill.teachers.zoo_fine_tuning import step_s

    member = TransformerMember(name="pace", checkpoint=checkpoint, epochs=_PACE_STEPS)
    width = max(1, round(n_pieces))
    n_rows = max(1, _PACE_PIECES // width)
    return pace_of(step_s(member, n_rows, width), member.seconds(n_rows, width) / member.epochs)


def _varied(checkpoint: str | None, epochs: int) -> list[TransformerMember]:
    """The members with all the time in the world."""
    rate = 1.0 if checkpoint is not None else 10.0
    decay = 1.0 if checkpoint is None else 0.9

    def member(name: str, **settings: object) -> TransformerMember:
        values = {"layer_decay": decay, "epochs": epochs, **settings}
        values["learning_rate"] = rate * float(values.get("learning_rate", 1e-4))  # type: ignore[arg-type]
        return TransformerMember(name=f"transformer-{name}", checkpoint=checkpoint, **values)  # type: ignore[arg-type]

    return [
        member("mean"),
        member("first", pooling="first", learning_rate=1.5e-4),
        member("slow", learning_rate=6e-5, dropout=0.15),
        member("upper", frozen=1, learning_rate=2e-4, dropout=0.05),
    ]


def _within(member: TransformerMember, seconds: float, n_rows: int, n_pieces: float) -> TransformerMember:
    """The same member with as many epochs as ``seconds`` suffice for, of fewer layers if need be."""
    many = member.checkpoint is not None and member.epochs > MOST_EPOCHS
    least = LEAST_EPOCHS_MANY if many else 1
    frozen = [member.frozen, *range(member.frozen + 1, 3)] if member.checkpoint is not None else [0]
    for part in frozen:
        one = msgspec.structs.replace(member, frozen=part, epochs=1)
        epochs = int(seconds / one.seconds(n_rows, n_pieces))
        if epochs >= least:
            return msgspec.structs.replace(one, epochs=min(member.epochs, epochs))
    return msgspec.structs.replace(member, epochs=0 if member.checkpoint is not None else 1)


def _shares(count: int, threads: int) -> float:
    """Into how many equal parts the time of ``threads`` cores falls where ``count`` members share it."""
    return float(math.ceil(count / threads) * threads)


@lru_cache(maxsize=8)
def _encoder_digest(folder: str) -> str:
    return digest(*(file_digest(Path(folder) / name) for name in ("config.json", "model.safetensors")))


def tokenizer_for(checkpoint: str) -> WordPiece:
    """The tokenizer of ``checkpoint``, cut to the positions that the encoder has."""
    positions = read_shape(checkpoint).positions
    return wordpiece_of(checkpoint, max_pieces=min(MOST_PIECES, positions))
