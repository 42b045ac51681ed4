"""LightGBM's trees as one ONNX node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from potstill.graph import GraphBuilder
from potstill.types import Bools, Doubles, Floats, Ints

TREE_ENSEMBLE_SINCE = 5
DEFAULT_LEFT = 2
MISSING_SHIFT = 2
MISSING_IS_NAN = 2
ZERO = np.float32(1e-35)
"""LightGBM reads numbers no larger than this, of either sign, as 0."""

_LONE_LEAF = {
    "split_feature": "0",
    "threshold": "0",
    "decision_type": "0",
    "left_child": "-1",
    "right_child": "-2",
}


@dataclass(frozen=True)
class Forest:
    """Trees laid end to end; within a tree the splits come first (the root is 0), then the leaves.

    Parameters
    ----------
    tree, node
        ``(N,)`` tree of each node and its number within the tree.
    feature, threshold
        ``(N,)`` a split sends ``x[feature] <= threshold`` left; 0 at leaves.
    left, right
        ``(N,)`` node numbers of the children; 0 at leaves.
    nan_left
        ``(N,)`` whether NaN goes left.
    is_leaf
        ``(N,)``.
    value
        ``(N,)`` what a leaf adds; 0 at splits.
    """

    tree: Ints
    node: Ints
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    nan_left: Bools
    is_leaf: Bools
    value: Floats

    def build(self, graph: GraphBuilder, features: str, *, base: Floats, outputs: Ints) -> str:
        """Add the ensemble over ``features``; return the name of the ``(n, K)`` sums.

        Parameters
        ----------
        graph
            Receives one TreeEnsemble and an Add; one TreeEnsembleRegressor where its operator set is older.
        features
            Name of the ``(n, P)`` float32 features.
        base
            ``(K,)`` where the sums start.
        outputs
            Output of each tree of a round; trees take turns.
        """
        if graph.opset.ml >= TREE_ENSEMBLE_SINCE:
            return self._build_compact(graph, features, base=base, outputs=outputs)
        return self._build_verbose(graph, features, base=base, outputs=outputs)

    def _build_compact(self, graph: GraphBuilder, features: str, *, base: Floats, outputs: Ints) -> str:
        """Splits and leaves apart, each with what it needs: 27 bytes a leaf, where the old form takes 62."""
        leaf, split = np.flatnonzero(self.is_leaf), np.flatnonzero(~self.is_leaf)
        first = np.flatnonzero(self.node == 0)
        rank = np.where(self.is_leaf, np.cumsum(self.is_leaf), np.cumsum(~self.is_leaf)) - 1
        start = first[self.tree[split]]
        left, right = start + self.left[split], start + self.right[split]
        turn = _turn(first + self.left[first], first + self.right[first], rank, self.is_leaf)
        leaf = np.roll(leaf, turn)
        rank[leaf] = np.arange(len(leaf))
        sums = graph.node(
            "TreeEnsemble",
            features,
            domain="ai.onnx.ml",
            n_targets=len(base),
            tree_roots=rank[first].tolist(),
            nodes_featureids=self.feature[split].tolist(),
            nodes_splits=numpy_helper.from_array(self.threshold[split], "thresholds"),
            nodes_modes=numpy_helper.from_array(np.zeros(len(split), dtype=np.uint8), "modes"),
            nodes_truenodeids=rank[left].tolist(),
            nodes_trueleafs=self.is_leaf[left].astype(np.int64).tolist(),
            nodes_falsenodeids=rank[right].tolist(),
            nodes_falseleafs=self.is_leaf[right].astype(np.int64).tolist(),
            nodes_missing_value_tracks_true=self.nan_left[split].astype(np.int64).tolist(),
            leaf_targetids=outputs[self.tree[leaf] % len(outputs)].tolist(),
            leaf_weights=numpy_helper.from_array(self.value[leaf], "values"),
        )
        return graph.node("Add", sums, graph.constant(base))

    def _build_verbose(self, graph: GraphBuilder, features: str, *, base: Floats, outputs: Ints) -> str:
        leaf = np.flatnonzero(self.is_leaf)
        modes = np.where(self.is_leaf, "LEAF", "BRANCH_LEQ")
        # Tensors hold a float in 4 bytes, lists of floats in 5.
        return graph.node(
            "TreeEnsembleRegressor",
            features,
            domain="ai.onnx.ml",
            n_targets=len(base),
            base_values=base.tolist(),
            nodes_treeids=self.tree.tolist(),
            nodes_nodeids=self.node.tolist(),
            nodes_featureids=self.feature.tolist(),
            nodes_values_as_tensor=numpy_helper.from_array(self.threshold, "thresholds"),
            nodes_modes=modes.tolist(),
            nodes_truenodeids=self.left.tolist(),
            nodes_falsenodeids=self.right.tolist(),
            nodes_missing_value_tracks_true=self.nan_left.astype(np.int64).tolist(),
            target_treeids=self.tree[leaf].tolist(),
            target_nodeids=self.node[leaf].tolist(),
            target_ids=outputs[self.tree[leaf] % len(outputs)].tolist(),
            target_weights_as_tensor=numpy_helper.from_array(self.value[leaf], "values"),
        )


def _turn(left: Ints, right: Ints, rank: Ints, is_leaf: Bools) -> int:
    """By how much the leaves' numbers turn, so that no root has a split and a leaf of the same one.

    ``left`` and ``right`` are the roots' children, ``rank`` the number of each node among splits or leaves.
    ONNX Runtime 1.21 to 1.23 and some after them take such a root for a leaf (microsoft/onnxruntime issue
    24679).
    """
    mixed = is_leaf[left] != is_leaf[right]
    left, right = left[mixed], right[mixed]
    split, leaf = (rank[np.where(is_leaf[left] == which, left, right)] for which in (False, True))
    n_leaves = int(is_leaf.sum())
    taken = set(((split - leaf) % n_leaves).tolist())
    return next(turn for turn in range(n_leaves) if turn not in taken)


def read_forest(model_text: str, nan_value: Floats) -> Forest:
    """Read the trees out of LightGBM's model text.

    Parameters
    ----------
    model_text
        What ``Booster.model_to_string`` gives; no categorical splits, no linear trees.
    nan_value
        ``(P,)`` the value that stands for NaN in features where LightGBM saw none in training; NaN for
        LightGBM's own choice there, which is 0.
    """
    blocks = model_text.split("\nTree=")[1:]
    trees = [_read_tree(_fields(block), index, nan_value) for index, block in enumerate(blocks)]
    columns = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    return Forest(**columns)


def _fields(block: str) -> dict[str, str]:
    lines = block.split("\n\n", 1)[0].split("\n")[1:]
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _read_tree(fields: dict[str, str], index: int, nan_value: Floats) -> dict[str, NDArray[Any]]:
    n_leaves = int(fields["num_leaves"])
    if n_leaves == 1:
        # A tree without a split has no form of its own in ONNX: it asks, and answers the same either way.
        fields = _LONE_LEAF | {"leaf_value": f"{fields['leaf_value']} {fields['leaf_value']}"}
        n_leaves = 2
    n_splits = n_leaves - 1
    n_nodes = n_splits + n_leaves

    def splits(name: str, dtype: type) -> NDArray[Any]:
        return np.array(fields[name].split(), dtype=dtype)

    def padded(values: NDArray[Any], dtype: type) -> NDArray[Any]:
        column: NDArray[Any] = np.zeros(n_nodes, dtype=dtype)
        column[:n_splits] = values
        return column

    feature = splits("split_feature", np.int64)
    threshold = beyond_zero(round_down(splits("threshold", np.float64)))
    decision = splits("decision_type", np.int64)
    stand_in = np.nan_to_num(nan_value[feature], nan=0.0)
    is_nan_aware = (decision >> MISSING_SHIFT) & 3 == MISSING_IS_NAN
    nan_left = np.where(is_nan_aware, decision & DEFAULT_LEFT != 0, stand_in <= threshold)
    children: dict[str, NDArray[Any]] = {
        side: splits(f"{side}_child", np.int64) for side in ("left", "right")
    }
    # LightGBM writes leaf k as the child ~k.
    numbers: dict[str, NDArray[Any]] = {
        side: np.where(child < 0, n_splits + ~child, child) for side, child in children.items()
    }
    value = np.zeros(n_nodes, dtype=np.float32)
    value[n_splits:] = np.array(fields["leaf_value"].split(), dtype=np.float64)
    return {
        "tree": np.full(n_nodes, index, dtype=np.int64),
        "node": np.arange(n_nodes, dtype=np.int64),
        "feature": padded(feature, np.int64),
        "threshold": padded(threshold, np.float32),
        "left": padded(numbers["left"], np.int64),
        "right": padded(numbers["right"], np.int64),
        "nan_left": padded(nan_left, np.bool_),
        "is_leaf": np.arange(n_nodes) >= n_splits,
        "value": value,
    }


def round_down(thresholds: Doubles) -> Floats:
    """The largest float32 not above each threshold.

    For a float32 ``x``, ``x <= t`` and ``x <= round_down(t)`` are the same question; rounding to nearest
    would answer ties wrongly.
    """
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
        below = np.nextafter(nearest, np.float32(-np.inf))
    rounded: Floats = np.where(nearest.astype(np.float64) > thresholds, below, nearest)
    return rounded


def beyond_zero(thresholds: Floats) -> Floats:
    """Thresholds that answer numbers which LightGBM reads as 0 as they answer 0."""
    below = np.nextafter(-ZERO, np.float32(-np.inf))
    tiny = np.abs(thresholds) <= ZERO
    moved: Floats = np.where(tiny, np.where(thresholds < 0, below, ZERO), thresholds)
    return moved
