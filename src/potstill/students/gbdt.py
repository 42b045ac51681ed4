"""Boosted trees: LightGBM with a true soft-label loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import lightgbm
import msgspec
import numpy as np

from potstill.graph import GraphBuilder
from potstill.students.boosting_loss import BoostingLoss, boosting_loss, label_log_loss
from potstill.students.forest import Forest, read_forest
from potstill.students.rows import labelled_rows
from potstill.students.targets import blended_targets
from potstill.students.tree_features import TreeFeatures, fit_tree_features
from potstill.types import (
    Examples,
    FeatureSpec,
    FittedStudent,
    Floats,
    Objective,
    Progress,
    Silent,
    Student,
    Task,
    Tensors,
)


class GBDT(msgspec.Struct, frozen=True):
    """Gradient-boosted trees.

    Parameters
    ----------
    rounds
        Boosting rounds at most. None: 400 for one score a row, fewer the more classes there are, since every
        class takes a tree each round.
    leaves
        Leaves of a tree at most.
    learning_rate
        Shrinkage. None: the smaller, the more rounds there are.
    min_data_in_leaf, l2, feature_fraction, bagging_fraction, max_bin
        As LightGBM names them (`l2` is ``lambda_l2``).
    size
        The dial: multiplies ``rounds × leaves``, the square root of it each.
    """

    name: ClassVar[str] = "gbdt"

    rounds: int | None = None
    leaves: int = 31
    learning_rate: float | None = None
    min_data_in_leaf: int = 20
    l2: float = 0.1
    feature_fraction: float = 0.8
    bagging_fraction: float = 1.0
    max_bin: int = 255
    size: float = 1.0

    def resized(self, size: float) -> GBDT:
        """The same family at another size."""
        return msgspec.structs.replace(self, size=size)

    def variants(self) -> tuple[Student, ...]:
        return ()

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
        """Fit; see `potstill.types.Student.fit`. The effort is the number of rounds."""
        targets = blended_targets(train, task.n_outputs)
        features, train_features = fit_tree_features(train, targets, spec=spec, seed=seed)
        loss = boosting_loss(train, targets, objective)
        rounds = effort or self._rounds(loss.n_scores)
        tracker = progress or Silent()
        tracker.start("boosting", rounds)
        callbacks: list[Any] = [lambda _: tracker.advance()]
        data = _boosting_data(train_features, loss.targets, train.weight, loss.start)
        judged = labelled_rows(valid) if valid is not None and effort is None else None
        if judged is not None:
            callbacks.append(lightgbm.early_stopping(max(10, rounds // 8), verbose=False))
        booster = lightgbm.train(
            self._parameters(loss, seed),
            data,
            num_boost_round=rounds,
            valid_sets=[] if judged is None else [_judging_data(judged, features, loss, data)],
            feval=_metric(judged, loss),
            callbacks=callbacks,
        )
        best = booster.best_iteration if judged is not None else booster.current_iteration()
        base = np.concatenate([np.zeros(task.n_outputs - loss.n_scores, dtype=np.float32), loss.start])
        text = booster.model_to_string(num_iteration=best)
        return FittedGBDT(features=features, model_text=text, base=base), best

    def _rounds(self, n_scores: int) -> int:
        rounds = self.rounds or 400 * n_scores**-0.7
        return max(1, round(rounds * math.sqrt(self.size)))

    def _parameters(self, loss: BoostingLoss, seed: int) -> dict[str, Any]:
        rounds = self._rounds(loss.n_scores)
        return {
            "objective": loss.objective,
            "metric": loss.objective if isinstance(loss.objective, str) else "None",
            "num_class": loss.n_scores,
            "learning_rate": self.learning_rate or min(0.3, 1.2 / math.sqrt(rounds)),
            "num_leaves": max(2, round(self.leaves * math.sqrt(self.size))),
            "min_data_in_leaf": self.min_data_in_leaf,
            "lambda_l2": self.l2,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": int(self.bagging_fraction < 1),
            "max_bin": self.max_bin,
            "boost_from_average": False,
            "seed": seed % 2**31,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }


@dataclass(frozen=True)
class FittedGBDT:
    """Fitted boosted trees.

    Parameters
    ----------
    features
        What the trees split on.
    model_text
        LightGBM's own text form of the trees.
    base
        ``(K,)`` float32 scores before the first tree.
    """

    features: TreeFeatures
    model_text: str
    base: Floats

    @property
    def n_parameters(self) -> int:
        """Thresholds and leaf values."""
        return len(self.forest.node)

    @cached_property
    def forest(self) -> Forest:
        """The trees as arrays."""
        return read_forest(self.model_text, self.features.stand_in)

    def logits(self, tensors: Tensors) -> Floats:
        """``(n, K)`` float32, see `potstill.types.FittedStudent`."""
        features = self.features.encode(tensors)
        if not len(features):
            return np.zeros((0, len(self.base)), dtype=np.float32)
        raw = self._booster.predict(features, raw_score=True).reshape(len(features), -1)
        # Two classes share one score: the second class's; the first keeps its base of 0.
        logits: Floats = np.repeat(self.base[None, :], len(features), axis=0)
        logits[:, -raw.shape[1] :] += raw.astype(np.float32)
        return logits

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        """Add the trees, see `potstill.types.FittedStudent`."""
        features = self.features.build(graph, tensors)
        outputs = np.array([1]) if len(self.base) == 2 else np.arange(len(self.base))
        return self.forest.build(graph, features, base=self.base, outputs=outputs)

    @cached_property
    def _booster(self) -> lightgbm.Booster:
        return lightgbm.Booster(model_str=self.model_text)


def _boosting_data(
    features: Floats,
    targets: Floats,
    weight: Floats,
    start: Floats,
    *,
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        features,
        targets,
        weight=weight,
        # Class after class, as LightGBM keeps its scores.
        init_score=np.repeat(start.astype(np.float64), len(features)),
        reference=reference,
    )


def _judging_data(
    judged: Examples, features: TreeFeatures, loss: BoostingLoss, data: lightgbm.Dataset
) -> lightgbm.Dataset:
    labels = judged.labels.astype(np.float32)
    return _boosting_data(features.encode(judged.tensors), labels, judged.weight, loss.start, reference=data)


def _metric(judged: Examples | None, loss: BoostingLoss) -> Callable[..., tuple[str, float, bool]] | None:
    """The labels' log-loss where LightGBM does not compute it by itself."""
    if judged is None or isinstance(loss.objective, str):
        return None
    return lambda scores, _: ("log_loss", label_log_loss(scores, judged), False)
