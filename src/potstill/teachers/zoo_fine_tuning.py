"""How the transformers of the default ensemble are fitted, and how they answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch
from torch import Tensor

from potstill.artifact.wordpiece import WordPiece
from potstill.modalities.pretrained_pieces import fresh_wordpiece
from potstill.networks.bert import BertShape, Pooling, Weights, initial_bert
from potstill.networks.bert_folder import read_bert
from potstill.networks.dense_head import MANY_CLASSES, fitted_head, losses_of, random_head
from potstill.networks.fine_tuning import Course, Pieces, answers, fine_tuning
from potstill.networks.precision import cores
from potstill.teachers.lessons import mass_of, targets_of
from potstill.teachers.zoo_transformers import FRESH_LAYERS, FRESH_WIDTH, MOST_PIECES, tokenizer_for
from potstill.types import Doubles, Floats, Labels, Task

if TYPE_CHECKING:
    from potstill.teachers.zoo_transformers import TransformerMember


@dataclass(frozen=True, eq=False)
class Classifier:
    """A fine-tuned encoder with its head and its tokenizer."""

    wordpiece: WordPiece
    shape: BertShape
    weights: Weights
    pooling: Pooling

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return sum(weight.numel() for weight in self.weights.values())

    def logits(self, texts: Sequence[str]) -> Floats:
        """``(n, K)`` float32."""
        return answers(self.weights, self.shape, self.wordpiece.ids(texts), self.pooling, exact=False)


def fitted_classifier(
    member: TransformerMember,
    texts: Sequence[str],
    labels: Labels,
    weight: Doubles | None,
    task: Task,
    *,
    seed: int,
) -> Classifier:
    """Fit the member on ``texts`` and their labels (standardised values for regression), on one core."""
    with cores(1):
        generator = torch.Generator().manual_seed(seed)
        wordpiece, shape, weights = _begun(member, texts, generator)
        pieces = wordpiece.ids(texts)
        targets = targets_of(labels, task)
        mass = mass_of(weight, len(targets))
        if member.checkpoint is None or (member.epochs and targets.shape[1] < MANY_CLASSES):
            weights |= random_head(shape.width, torch.zeros(targets.shape[1]), generator)
        else:
            vectors = torch.from_numpy(answers(weights, shape, pieces, member.pooling, exact=False))
            weights |= fitted_head(vectors, targets, mass)
        if member.epochs:
            weights = _fine_tuned(member, shape, weights, pieces, targets, mass, seed)
        return Classifier(wordpiece, shape, weights, member.pooling)


def step_s(member: TransformerMember, n_rows: int, n_pieces: int) -> float:
    """Seconds of one core for a step of fine-tuning on ``n_rows`` texts of noise, after a first one."""
    with cores(1):
        generator = torch.Generator().manual_seed(0)
        _, shape, weights = _begun(member, [], generator)
        weights |= random_head(shape.width, torch.zeros(2), generator)
        pieces = np.random.default_rng(0).integers(1, shape.pieces, (n_rows, min(n_pieces, shape.positions)))
        targets, mass = torch.eye(2)[torch.arange(n_rows) % 2], torch.ones(n_rows)
        once = msgspec.structs.replace(member, epochs=1)
        _fine_tuned(once, shape, weights, pieces, targets, mass, seed=0)
        begin = time.perf_counter()
        _fine_tuned(member, shape, weights, pieces, targets, mass, seed=0)
        return (time.perf_counter() - begin) / member.epochs


def _begun(
    member: TransformerMember, texts: Sequence[str], generator: torch.Generator
) -> tuple[WordPiece, BertShape, Weights]:
    """Tokenizer and encoder before training."""
    if member.checkpoint is not None:
        return tokenizer_for(member.checkpoint), *read_bert(member.checkpoint)
    wordpiece = fresh_wordpiece(texts, max_pieces=MOST_PIECES)
    shape = BertShape(
        width=FRESH_WIDTH,
        layers=FRESH_LAYERS,
        heads=4,
        inner=4 * FRESH_WIDTH,
        pieces=len(wordpiece.vocab),
        positions=MOST_PIECES,
    )
    return wordpiece, shape, initial_bert(shape, generator)


def _fine_tuned(
    member: TransformerMember,
    shape: BertShape,
    weights: Weights,
    pieces: Pieces,
    targets: Tensor,
    mass: Tensor,
    seed: int,
) -> Weights:
    """Encoder and head after training; pieces that the texts do not have keep their rows."""
    used = np.union1d(np.unique(pieces), [0])
    rows = torch.from_numpy(used)
    narrow = {**weights, "word": weights["word"][rows]}
    course = Course(
        epochs=member.epochs,
        learning_rate=member.learning_rate,
        layer_decay=member.layer_decay,
        dropout=member.dropout,
        pooling=member.pooling,
        frozen=member.frozen * shape.layers // 3,
        time_limit_s=member.limit_s,
    )

    def loss(logits: Tensor, chosen: Tensor) -> Tensor:
        return (losses_of(logits, targets[chosen]) * mass[chosen]).mean()

    small = msgspec.structs.replace(shape, pieces=len(used))
    for _ in fine_tuning(narrow, small, np.searchsorted(used, pieces), loss, course=course, seed=seed):
        pass
    tuned = {name: weight.detach() for name, weight in narrow.items()}
    tuned["word"] = weights["word"].index_copy(0, rows, tuned["word"])
    return tuned
