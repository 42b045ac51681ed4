"""What `NGram` and `Static` share: from examples to a fitted bag of words, and from there to ONNX."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from potstill.graph import GraphBuilder
from potstill.modalities.text import spellings
from potstill.networks.dense_head import MANY_CLASSES
from potstill.students.bag_hints import HintedLesson, Hints
from potstill.students.bag_of_words import (
    FIRST_KNOWN,
    NOTHING,
    UNKNOWN,
    BagInputs,
    BagShape,
    build_network,
    folded,
    initial_weights,
    stored,
)
from potstill.students.bag_training import BagJudge, forward_in_chunks, train_bag
from potstill.students.network_training import Epochs, Lesson, Schedule
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
MOST_EXAMPLES_SEEN, MOST_SEEN_MANY = 400_000, 1_200_000
"""Rows times epochs, with up to ten classes and with more, where each has fewer rows to be learnt from."""

RARE = 3.0
"""A word is worth as little as if it had been met so often more, and meant nothing then."""

VECTORS_SHARE = 0.25
"""Part of a fit's time in which an encoder is asked for words' vectors at most."""

WordVectors = Callable[[tuple[str, ...], int, float | None], Floats]
"""Words, most frequent first, a length D and seconds, None for no limit, to ``(V, D)`` vectors."""


@dataclass(frozen=True)
class BagPlan:
    """A bag of words to be fitted: the hyper-parameters that both families share.

    Parameters
    ----------
    n_words
        Words that are known at most; the most useful ones.
    word_dim, n_buckets, pair_dim, window, n_units, level_dim, hidden
        As in `BagShape`.
    learning_rate, weight_decay, dropout, epochs, batch_size
        As in `Schedule`; None for the last two: by the number of rows.
    word_dropout
        Part of the words that are left out at each step.
    weights
        How the file keeps them.
    vectors
        Where words begin; None for random vectors.
    matching
        Weight of how far a linear function of what the last layer sees is from ``tensors["vectors"]``, where
        there are any.
    """

    n_words: int
    word_dim: int
    n_buckets: int
    pair_dim: int
    window: int
    n_units: int
    level_dim: int
    hidden: tuple[int, ...]
    learning_rate: float
    weight_decay: float
    dropout: float
    word_dropout: float
    epochs: int | None
    batch_size: int | None
    weights: Storage
    vectors: WordVectors | None = None
    matching: float = 0.0

    def schedule(
        self, n_rows: int, n_outputs: int, effort: int | None, time_limit_s: float | None
    ) -> Schedule:
        """The training on this many rows."""
        seen = MOST_EXAMPLES_SEEN if n_outputs < MANY_CLASSES else MOST_SEEN_MANY
        batch_size = self.batch_size or int(2 ** np.clip(np.round(np.log2(n_rows / 100)), 5, 9))
        planned = effort.planned if isinstance(effort, Epochs) else effort
        epochs = planned or self.epochs or int(np.clip(seen / n_rows, 5, 30))
        return Schedule(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            patience=max(5, epochs // 3),
            time_limit_s=time_limit_s,
            stop_after=effort,
        )


def fit_bag(
    plan: BagPlan,
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
) -> tuple[FittedBag, int]:
    """Fit; see `potstill.types.Student.fit`. The effort is the number of epochs."""
    targets = blended_targets(train, task.n_outputs)
    kept = useful_words(train.tensors["words"], targets, train.weight, len(spec.words), plan.n_words)
    scaling = fit_numeric_scaling(train.tensors["numeric"])
    reading = Reading(spec.words, kept, scaling, spec.cardinalities)
    shape = BagShape(
        n_words=FIRST_KNOWN + len(kept),
        word_dim=plan.word_dim,
        n_buckets=plan.n_buckets,
        pair_dim=plan.pair_dim,
        window=plan.window,
        n_units=plan.n_units,
        n_numbers=scaling.width,
        cardinalities=spec.cardinalities,
        level_dim=plan.level_dim,
        hidden=plan.hidden,
        n_outputs=task.n_outputs,
    )
    hints = Hints.of(train.tensors["vectors"]) if plan.matching and "vectors" in train.tensors else None
    start = mean_target(targets, train.weight)
    if task.is_classification:
        start = np.log(np.clip(start, SMALLEST_PRIOR, None))
    weights = initial_weights(shape, start, torch.Generator().manual_seed(seed))
    if hints is not None:
        hints.add_outputs(weights, torch.Generator().manual_seed(seed + 1))
    if plan.vectors is not None:
        begin = time.monotonic()
        asking_s = None if time_limit_s is None else VECTORS_SHARE * time_limit_s
        vectors = plan.vectors(spec.words, plan.word_dim, asking_s)
        weights["words"][FIRST_KNOWN:] = torch.from_numpy(vectors[kept])
        if time_limit_s is not None:
            time_limit_s = max(time_limit_s / 2, time_limit_s - (time.monotonic() - begin))
        weights["words"][UNKNOWN] = 0
    schedule = plan.schedule(len(train), task.n_outputs, effort, time_limit_s)
    tracker = progress or Silent()
    tracker.start("training", schedule.epochs)
    lesson = Lesson.of(train, reading.inputs(train.tensors), task=task, objective=objective, device="cpu")
    trained, best_epoch = train_bag(
        weights,
        lesson if hints is None else HintedLesson(lesson, hints, plan.matching),
        _judge(valid, reading, task.n_outputs) if valid is not None and effort is None else None,
        schedule=schedule,
        word_dropout=plan.word_dropout,
        generator=torch.Generator().manual_seed(seed),
        progress=tracker,
    )
    if hints is not None:
        trained = hints.without_outputs(trained)
    arrays = {name: weight.detach().numpy() for name, weight in folded(trained).items()}
    whole = {name: rounded(weight, stored(name, plan.weights)) for name, weight in arrays.items()}
    return FittedBag(reading, whole, plan.weights), best_epoch


def useful_words(words: Ints, targets: Floats, weight: Floats, n_known: int, most: int) -> Ints:
    """Ascending positions, among the ``n_known`` words, of the ``most`` that tell most about the targets.

    A word is worth the more, the more rows it is in and the more their mean target differs from that of all.

    Parameters
    ----------
    words
        ``(n, T)`` ids as in `potstill.types.Tensors`.
    targets, weight
        ``(n, K)`` and ``(n,)``.
    """
    if n_known <= most:
        return np.arange(n_known)
    row, _ = found = np.nonzero(words >= FIRST_KNOWN)
    at = words[found] - FIRST_KNOWN
    away = weight[:, None] * (targets - np.average(targets, axis=0, weights=weight))
    unit = np.maximum(targets.std(axis=0), 1e-6)
    sums = np.stack(
        [np.bincount(at, (column / scale)[row], n_known) for column, scale in zip(away.T, unit, strict=True)]
    )
    worth = np.square(sums).sum(axis=0) / (np.bincount(at, minlength=n_known) + RARE)
    return np.sort(np.argsort(-worth, kind="stable")[:most])


@dataclass(frozen=True)
class Reading:
    """From tensors to the network's inputs, in numpy and as ONNX nodes.

    Parameters
    ----------
    words
        The words of the tensors' ids.
    kept
        ``(V,)`` ascending positions of those that the network knows.
    scaling, cardinalities
        Of numbers and of categories.
    """

    words: tuple[str, ...]
    kept: Ints
    scaling: NumericScaling
    cardinalities: tuple[int, ...]

    def inputs(self, tensors: Tensors) -> BagInputs:
        """Encoded rows as the network takes them."""
        row_of = np.full(FIRST_KNOWN + len(self.words), UNKNOWN, dtype=np.int64)
        row_of[NOTHING] = NOTHING
        row_of[FIRST_KNOWN + self.kept] = np.arange(FIRST_KNOWN, FIRST_KNOWN + len(self.kept))
        numbers = np.concatenate(self.scaling.encode(tensors["numeric"]), axis=1)
        return BagInputs(
            words=torch.from_numpy(row_of[tensors["words"]]),
            numbers=torch.from_numpy(numbers.astype(np.float32)),
            levels=torch.from_numpy(tensors["categorical"] + self._offsets),
        )

    def build_words(self, graph: GraphBuilder, words: str) -> str:
        """Add the node from words ``(n, T)`` to rows of the words' table."""
        known = [spellings(self.words[at]) for at in self.kept.tolist()]
        pairs = [(spelling, row) for row, word in enumerate(known, start=FIRST_KNOWN) for spelling in word]
        return graph.node(
            "LabelEncoder",
            words,
            domain="ai.onnx.ml",
            keys_strings=["", *(spelling for spelling, _ in pairs)],
            values_int64s=[NOTHING, *(row for _, row in pairs)],
            default_int64=UNKNOWN,
        )

    def build_numbers(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str | None:
        """Add the nodes from raw to scaled numbers and indicators; None where there are none."""
        if not self.scaling.width:
            return None
        numbers, indicators = self.scaling.build(graph, tensors["numeric"])
        return numbers if indicators is None else graph.node("Concat", numbers, indicators, axis=1)

    def build_levels(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str | None:
        """Add the node from level ids to rows of the levels' table; None where there are none."""
        if not self.cardinalities:
            return None
        return graph.node("Add", tensors["categorical"], graph.constant(self._offsets))

    @property
    def _offsets(self) -> Ints:
        return np.cumsum([0, *self.cardinalities], dtype=np.int64)[:-1]


@dataclass(frozen=True)
class FittedBag:
    """A fitted bag of words.

    Parameters
    ----------
    reading
        From tensors to the network's inputs.
    weights
        By name, see `potstill.students.bag_of_words.Weights`, already rounded as the file keeps them.
    storage
        How the file keeps them.
    """

    reading: Reading
    weights: Mapping[str, Floats]
    storage: Storage

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return sum(weight.size for weight in self.weights.values())

    def logits(self, tensors: Tensors) -> Floats:
        """``(n, K)`` float32, see `potstill.types.FittedStudent`."""
        weights = {name: torch.from_numpy(weight) for name, weight in self.weights.items()}
        return forward_in_chunks(weights, self.reading.inputs(tensors)).numpy()

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        """Add the network, see `potstill.types.FittedStudent`."""
        return build_network(
            graph,
            self.weights,
            storage=self.storage,
            words=self.reading.build_words(graph, tensors["words"]),
            numbers=self.reading.build_numbers(graph, tensors),
            levels=self.reading.build_levels(graph, tensors),
        )


def _judge(valid: Examples, reading: Reading, n_outputs: int) -> BagJudge:
    known = labelled_rows(valid)
    labels = known.labels.astype(np.float32) if known.labels.dtype.kind == "f" else known.labels
    return BagJudge(
        inputs=reading.inputs(known.tensors),
        labels=torch.from_numpy(labels),
        weight=torch.from_numpy(known.weight),
        n_outputs=n_outputs,
    )
