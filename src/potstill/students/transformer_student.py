"""What `Transformer` does: from examples to a fitted encoder with its head, and from there to ONNX."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from torch import Tensor

from potstill.graph import GraphBuilder
from potstill.networks.bert import (
    BertShape,
    Pooling,
    Weights,
    initial_bert,
    some_layers,
    spread_layers,
)
from potstill.networks.dense_head import MANY_CLASSES, fitted_head, random_head
from potstill.networks.fine_tuning import Course, Loss, Pieces, answers, fine_tuning
from potstill.objectives import blended
from potstill.students.network_training import Epochs, calibrated_loss
from potstill.students.rows import labelled_rows
from potstill.students.stored_weights import Storage, rounded, rounded_rows
from potstill.students.targets import blended_targets, is_linear_in_targets, mean_target
from potstill.students.text_vectors import pretrained
from potstill.students.transformer_graph import build_transformer, stored
from potstill.students.transformer_guide import Mentor
from potstill.types import (
    Examples,
    FeatureSpec,
    Floats,
    Objective,
    Progress,
    Silent,
    Task,
    Tensors,
)

SMALLEST_PRIOR = 1e-6
PIECES_SEEN = 700_000
"""Pieces of text, time after time: what makes a fit of three layers take some three minutes of one core."""

FEWEST_EPOCHS, MOST_EPOCHS = 3, 20

HEAD_ROWS = 4_000
"""Rows by which the head on a pretrained encoder is fitted before training."""


@dataclass(frozen=True)
class TransformerPlan:
    """A transformer to be fitted.

    Parameters
    ----------
    checkpoint
        Folder of a pretrained encoder, or None.
    tuned
        File of its weights after fine-tuning; the same folder where these are in it; or None.
    matching, attention
        Weights of how far it is from the tuned encoder, see `Mentor.loss`; 0 for none.
    fresh
        Sizes where there is no checkpoint; with one its ``layers`` count.
    pooling, learning_rate, head_rate, dropout, epochs, batch_size
        As in `Course`; None for epochs: by the amount of text.
    weights
        How the file keeps them.
    """

    checkpoint: str | None
    tuned: str | None
    matching: float
    attention: float
    fresh: BertShape
    pooling: Pooling
    learning_rate: float
    head_rate: float
    dropout: float
    epochs: int | None
    batch_size: int
    weights: Storage

    def initial(
        self, spec: FeatureSpec, positions: int, generator: torch.Generator
    ) -> tuple[BertShape, Weights]:
        """The encoder before training, for the word pieces of ``spec`` and texts of ``positions`` pieces."""
        if self.checkpoint is None:
            shape = msgspec.structs.replace(self.fresh, positions=positions)
            return shape, initial_bert(shape, generator)
        whole, weights = pretrained(self.checkpoint, self.tuned, spec, positions)
        kept = spread_layers(min(self.fresh.layers, whole.layers), whole.layers)
        return msgspec.structs.replace(whole, layers=len(kept)), some_layers(weights, kept)

    def guide(
        self, spec: FeatureSpec, pieces: Pieces, weight: Floats, rows: Tensor, known: Floats | None = None
    ) -> Mentor | None:
        """The tuned encoder, to be drawn to.

        Parameters
        ----------
        spec
            Has the word pieces.
        pieces
            ``(n, P)`` of the texts to learn from, as rows of ``rows``.
        weight
            ``(n,)`` of these texts.
        rows
            ``(U,)`` rows of the embedding table that the texts need.
        known
            ``(n, H)`` its vectors of them, see `potstill.students.text_vectors`, where it was asked before.

        Returns
        -------
        None where there is no such encoder, or no weight.
        """
        if self.checkpoint is None or self.tuned is None or not (self.matching or self.attention):
            return None
        whole, weights = pretrained(self.checkpoint, self.tuned, spec, pieces.shape[1])
        weights["word"] = weights["word"][rows]
        return Mentor.of(
            weights,
            whole,
            spread_layers(min(self.fresh.layers, whole.layers), whole.layers),
            pieces,
            weight,
            known if self.pooling == "mean" else None,
            pooling=self.pooling,
            matching=self.matching,
            attention=self.attention,
        )

    def course(self, n_pieces: int, effort: int | None, time_limit_s: float | None) -> Course:
        """The training on texts of this many pieces together."""
        planned = effort.planned if isinstance(effort, Epochs) else effort
        by_text = int(np.clip(round(PIECES_SEEN / max(n_pieces, 1)), FEWEST_EPOCHS, MOST_EPOCHS))
        return Course(
            epochs=planned or self.epochs or by_text,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            head_rate=self.head_rate,
            dropout=self.dropout,
            pooling=self.pooling,
            time_limit_s=time_limit_s,
            stop_after=effort,
        )


def fit_transformer(
    plan: TransformerPlan,
    train: Examples,
    valid: Examples | None,
    *,
    spec: FeatureSpec,
    task: Task,
    objective: Objective,
    seed: int,
    effort: int | None,
    time_limit_s: float | None,
    progress: Progress | None,
) -> tuple[FittedTransformer, int]:
    """Fit; see `potstill.types.Student.fit`. The effort is the number of epochs."""
    pieces = train.tensors["pieces"]
    generator = torch.Generator().manual_seed(seed)
    shape, weights = plan.initial(spec, pieces.shape[1], generator)
    targets = blended_targets(train, task.n_outputs)
    if plan.checkpoint is None or targets.shape[1] < MANY_CLASSES:
        weights |= random_head(shape.width, _start(targets, train.weight, task), generator)
    else:
        weights |= _fitted_head(weights, shape, train, targets, plan.pooling, generator)
    course = plan.course(int(np.count_nonzero(pieces)), effort, time_limit_s)
    judge = None if valid is None or effort is not None else labelled_rows(valid)
    tracker = progress or Silent()
    tracker.start("training", course.epochs)
    best, best_loss, best_epoch = None, math.inf, Epochs(course.stop_after or course.epochs, course.epochs)
    patience = max(2, course.epochs // 3)
    learnt = _LearntRows.of(weights, pieces)
    told = learnt.pieces(pieces)
    training = fine_tuning(
        learnt.weights,
        msgspec.structs.replace(shape, pieces=len(learnt.rows)),
        told,
        _loss_of(train, targets, objective),
        course=course,
        seed=seed,
        guide=plan.guide(spec, told, train.weight, learnt.rows, train.tensors.get("vectors")),
    )
    for epoch, share in enumerate(training, start=1):
        tracker.advance()
        if judge is None:
            continue
        whole = learnt.whole()
        loss = _judged(whole, shape, judge, plan.pooling)
        if loss < best_loss:
            best, best_loss = whole, loss
            best_epoch = Epochs(epoch, round(epoch / share))
        elif epoch - best_epoch >= patience:
            break
    kept = _rounded(learnt.whole() if best is None else best, plan.weights)
    return FittedTransformer(shape, kept, plan.pooling, plan.weights), best_epoch


@dataclass(frozen=True, eq=False)
class _LearntRows:
    """A network of which only those pieces are trained that there are texts of; the others stay as they are.

    Parameters
    ----------
    weights
        Of the network, with these rows of the embedding table alone.
    table
        ``(V, H)`` the whole table before training.
    rows
        ``(U,)`` ascending.
    """

    weights: Weights
    table: Tensor
    rows: Tensor

    @classmethod
    def of(cls, weights: Weights, pieces: Pieces) -> _LearntRows:
        rows = torch.from_numpy(np.union1d(np.unique(pieces), [0]).astype(np.int64))
        return cls({**weights, "word": weights["word"][rows]}, weights["word"], rows)

    def pieces(self, pieces: Pieces) -> Pieces:
        """Rows of the whole table as rows of the trained one."""
        return np.searchsorted(self.rows.numpy(), pieces)

    def whole(self) -> Weights:
        """The network as it is now, in memory of its own."""
        trained = {name: weight.detach().clone() for name, weight in self.weights.items()}
        return {**trained, "word": self.table.index_copy(0, self.rows, trained["word"])}


@dataclass(frozen=True)
class FittedTransformer:
    """A fitted transformer.

    Parameters
    ----------
    shape
        Its sizes.
    weights
        By name, see `potstill.networks.bert.Weights`, already rounded as the file keeps them.
    pooling
        How a text's vector is made.
    storage
        How the file keeps the weights.
    """

    shape: BertShape
    weights: Mapping[str, Floats]
    pooling: Pooling
    storage: Storage

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return sum(weight.size for weight in self.weights.values())

    def logits(self, tensors: Tensors) -> Floats:
        """``(n, K)`` float32, see `potstill.types.FittedStudent`."""
        weights = {name: torch.from_numpy(weight) for name, weight in self.weights.items()}
        pieces = tensors["pieces"][:, : self.shape.positions]
        return answers(weights, self.shape, pieces, self.pooling)

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        """Add the network, see `potstill.types.FittedStudent`."""
        return build_transformer(
            graph,
            self.weights,
            self.shape,
            pieces=tensors["pieces"],
            pooling=self.pooling,
            storage=self.storage,
        )


def _fitted_head(
    weights: Weights,
    shape: BertShape,
    train: Examples,
    targets: Floats,
    pooling: Pooling,
    generator: torch.Generator,
) -> Weights:
    """A dense layer that suits the encoder as it is, by some of the rows: training has less to undo."""
    rows = torch.randperm(len(train), generator=generator)[:HEAD_ROWS].numpy()
    vectors = answers(weights, shape, train.tensors["pieces"][rows], pooling, exact=False)
    mass = torch.from_numpy(train.weight[rows])
    return fitted_head(torch.from_numpy(vectors), torch.from_numpy(targets[rows]), mass / mass.mean())


def _start(targets: Floats, weight: Floats, task: Task) -> Tensor:
    """The head's bias ``(K,)`` before training: the best constant answer."""
    mean = torch.from_numpy(mean_target(targets, weight))
    return mean.clamp(min=SMALLEST_PRIOR).log() if task.is_classification else mean


def _loss_of(train: Examples, targets: Floats, objective: Objective) -> Loss:
    """The weighted mean loss of logits ``(n, K)`` for the rows ``(n,)`` of ``train``."""
    weight, hard_weight = torch.from_numpy(train.weight), torch.from_numpy(train.hard_weight)
    labels = torch.from_numpy(_plain_labels(train))
    linear = is_linear_in_targets(train, objective)
    told = torch.from_numpy(targets if linear else train.teacher_probs)

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        if not linear:
            losses = blended(objective, logits, told[rows], labels[rows], hard_weight[rows])
        elif logits.shape[1] == 1:
            losses = (logits - told[rows]).square().sum(dim=1)
        else:
            losses = -(told[rows] * torch.log_softmax(logits, dim=1)).sum(dim=1)
        return (losses * weight[rows]).mean()

    return loss


def _judged(weights: Weights, shape: BertShape, valid: Examples, pooling: Pooling) -> float:
    """`calibrated_loss` of labelled rows."""
    logits = torch.from_numpy(answers(weights, shape, valid.tensors["pieces"], pooling, exact=False))
    return calibrated_loss(logits, torch.from_numpy(_plain_labels(valid)), torch.from_numpy(valid.weight))


def _plain_labels(examples: Examples) -> Floats:
    labels = examples.labels
    return labels.astype(np.float32) if labels.dtype.kind == "f" else labels  # type: ignore[return-value]


def _rounded(weights: Weights, storage: Storage) -> dict[str, Floats]:
    """The weights as the file keeps them."""
    arrays: dict[str, Floats] = {name: weight.detach().numpy() for name, weight in weights.items()}
    kept = {name: rounded(weight, stored(name, storage)) for name, weight in arrays.items()}
    kept["word"] = rounded_rows(arrays["word"], storage)
    return kept
