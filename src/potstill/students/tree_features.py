"""What trees split on: the numbers as they are, the categories as codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from potstill.graph import GraphBuilder
from potstill.modalities.category_codes import CategoryCodes, fit_category_codes
from potstill.types import Examples, FeatureSpec, Floats, Tensors


@dataclass(frozen=True)
class TreeFeatures:
    """Tensors to the one matrix trees split on.

    Parameters
    ----------
    n_numeric
        Number of numeric columns; they come first.
    stand_in
        ``(P,)`` median of a numeric column without missing values in training, which is what a missing value
        of it becomes; NaN for columns whose trees have learnt where missing values go.
    codes
        Of the categorical columns.
    """

    n_numeric: int
    stand_in: Floats
    codes: CategoryCodes

    def encode(self, tensors: Tensors) -> Floats:
        """``(n, P)`` float32."""
        parts = []
        if self.n_numeric:
            parts.append(tensors["numeric"])
        if len(self.codes.column):
            parts.append(self.codes.encode(tensors["categorical"]))
        features = np.concatenate(parts, axis=1)
        return np.where(np.isnan(features), self.stand_in, features)

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        """Add the nodes of `encode`, but for the stand-ins: those are in the trees."""
        parts = []
        if self.n_numeric:
            parts.append(tensors["numeric"])
        if len(self.codes.column):
            parts.append(self.codes.build(graph, tensors["categorical"]))
        return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)


def fit_tree_features(
    train: Examples, targets: Floats, *, spec: FeatureSpec, seed: int
) -> tuple[TreeFeatures, Floats]:
    """Learn the features, and compute those of the training rows.

    Parameters
    ----------
    train
        The training rows.
    targets
        ``(n, K)`` what is to be learnt, for the codes of categories.
    spec
        Shape of the tensors.
    seed
        Of the codes' folds.
    """
    n_numeric, n_categorical = len(spec.numeric), len(spec.cardinalities)
    numeric = train.tensors["numeric"] if n_numeric else np.zeros((len(train), 0), dtype=np.float32)
    ids = train.tensors["categorical"] if n_categorical else np.zeros((len(train), 0), dtype=np.int64)
    codes, train_codes = fit_category_codes(ids, targets, train.weight, spec=spec, seed=seed)
    stand_in = np.full(n_numeric + len(codes.column), np.nan, dtype=np.float32)
    for column in range(n_numeric):
        values = numeric[:, column]
        if not np.isnan(values).any():
            stand_in[column] = np.median(values)
    features = TreeFeatures(n_numeric=n_numeric, stand_in=stand_in, codes=codes)
    return features, np.concatenate([numeric, train_codes], axis=1)
