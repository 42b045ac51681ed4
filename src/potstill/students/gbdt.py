"""Boosted trees: LightGBM with a true soft-label loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import lightgbm
import msgspec
import numpy as np

from potstill.graph import GraphBuilder
from potstill.students.boosting import boost
from potstill.students.forest import Forest, read_forest
from potstill.students.tree_features import TreeFeatures
from potstill.types import (
    TABLE_KINDS,
    ColumnKind,
    Examples,
    FeatureSpec,
    FittedStudent,
    Floats,
    Objective,
    Progress,
    Task,
    Tensors,
)

LEAVES_IN_ALL = 12_400
"""Of all trees together, for one score a row: 400 trees of 31 leaves."""


class GBDT(msgspec.Struct, frozen=True):
    """Gradient-boosted trees.

    Parameters
    ----------
    rounds
        Boosting rounds at most. None: as many as make 12,400 leaves for one score a row, so that ``leaves``
        changes the shape and not the size; fewer the more classes there are, since every class takes a tree
        each round.
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
    keeps_monotone: ClassVar[bool] = True
    larger: ClassVar[tuple[float, ...]] = (2.0, 4.0)
    kin: ClassVar[str] = "trees"
    climbs: ClassVar[int] = 4
    reads: ClassVar[frozenset[ColumnKind]] = TABLE_KINDS

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

    def variants(self) -> tuple[GBDT, ...]:
        """Other settings of the same size worth a trial, the most promising first."""
        return (
            msgspec.structs.replace(self, leaves=2 * self.leaves),
            msgspec.structs.replace(self, feature_fraction=0.4 * self.feature_fraction),
            msgspec.structs.replace(self, leaves=max(2, self.leaves // 2)),
            msgspec.structs.replace(self, l2=20.0 * self.l2),
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
        device: str = "cpu",  # noqa: ARG002
        progress: Progress | None = None,
    ) -> tuple[FittedStudent, int]:
        """Fit; see `potstill.types.Student.fit`. The effort is the number of rounds."""
        boosted = boost(
            train,
            valid,
            spec=spec,
            task=task,
            objective=objective,
            seed=seed,
            effort=effort,
            time_limit_s=time_limit_s,
            progress=progress,
            rounds=self._rounds,
            parameters=lambda rounds, _: self._parameters(rounds),
        )
        text = boosted.booster.model_to_string()
        return FittedGBDT(features=boosted.features, model_text=text, base=boosted.base), boosted.effort

    @property
    def _leaves(self) -> int:
        return max(2, round(self.leaves * math.sqrt(self.size)))

    def _rounds(self, n_scores: int) -> int:
        rounds = self.rounds or LEAVES_IN_ALL / self.leaves * n_scores**-0.7
        return max(1, round(rounds * math.sqrt(self.size)))

    def _parameters(self, rounds: int) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate or min(0.3, 1.2 / math.sqrt(rounds)),
            "num_leaves": self._leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "lambda_l2": self.l2,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": int(self.bagging_fraction < 1),
            "max_bin": self.max_bin,
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

    def thresholds(self) -> Mapping[int, Floats]:
        """Thresholds by column; see `potstill.export.perturb.Splits`."""
        forest, numeric = self.forest, range(self.features.n_numeric)
        return {column: forest.threshold[(forest.feature == column) & ~forest.is_leaf] for column in numeric}

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
