"""Tree ensembles: both forms ONNX has for them, as tables that one loop walks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from potstill.errors import UserError


@dataclass(frozen=True)
class Trees:
    """A forest of ``feature <= threshold`` splits.

    Parameters
    ----------
    roots
        ``(T,)`` where each tree begins, as a child.
    feature, threshold, tracks
        ``(N,)`` of each split: what is compared, with what, and whether a missing value goes the yes way.
    yes, no
        ``(N,)`` children: a split from 0 on, or ``-1 - leaf``.
    target
        ``(T,)`` the output that each tree adds to.
    weight
        ``(L,)`` what each leaf adds.
    base
        ``(n_targets,)``.
    """

    roots: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    tracks: NDArray[np.int64]
    yes: NDArray[np.int64]
    no: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: NDArray[np.float32]
    base: NDArray[np.float32]


def read_trees(node: onnx.NodeProto) -> Trees:
    """The forest of a ``TreeEnsemble`` or ``TreeEnsembleRegressor`` node.

    Raises
    ------
    UserError
        When it has other comparisons, several outputs a tree, or another sum than the plain one.
    """
    found: dict[str, Any] = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return _compact(found) if node.op_type == "TreeEnsemble" else _spread(found)


def _compact(found: dict[str, Any]) -> Trees:
    modes = numpy_helper.to_array(found["nodes_modes"])
    if modes.any() or found.get("aggregate_function", 1) != 1 or found.get("post_transform", 0):
        raise _unknown()
    n = len(modes)

    def children(which: str) -> NDArray[np.int64]:
        index = np.array(found[f"nodes_{which}nodeids"], dtype=np.int64)
        return np.where(np.array(found[f"nodes_{which}leafs"], dtype=bool), -1 - index, index)

    roots, yes, no = np.array(found["tree_roots"], dtype=np.int64), children("true"), children("false")
    return Trees(
        roots=roots,
        feature=np.array(found["nodes_featureids"], dtype=np.int64),
        threshold=numpy_helper.to_array(found["nodes_splits"]),
        tracks=np.array(found.get("nodes_missing_value_tracks_true", [0] * n), dtype=np.int64),
        yes=yes,
        no=no,
        target=_of_trees(np.array(found["leaf_targetids"], dtype=np.int64), roots, yes, no),
        weight=numpy_helper.to_array(found["leaf_weights"]),
        base=np.zeros(found.get("n_targets", 1), dtype=np.float32),
    )


def _spread(found: dict[str, Any]) -> Trees:
    modes = [mode.decode() for mode in found["nodes_modes"]]
    plain = (
        found.get("aggregate_function", b"SUM") == b"SUM" and found.get("post_transform", b"NONE") == b"NONE"
    )
    if not plain or set(modes) - {"BRANCH_LEQ", "LEAF"}:
        raise _unknown()
    keys = list(zip(found["nodes_treeids"], found["nodes_nodeids"], strict=True))
    splits = [at for at, mode in enumerate(modes) if mode != "LEAF"]
    leaves = list(zip(found["target_treeids"], found["target_nodeids"], strict=True))
    if len(set(leaves)) != len(leaves) or len(leaves) != len(modes) - len(splits):
        raise _unknown()
    code = {keys[at]: place for place, at in enumerate(splits)}
    code.update({key: -1 - place for place, key in enumerate(leaves)})
    n_targets = found.get("n_targets", 1)
    roots: dict[int, int] = {}
    for key in keys:  # a tree begins with its first node
        roots.setdefault(key[0], code[key])

    def picked(name: str) -> NDArray[np.int64]:
        return np.array([found[name][at] for at in splits], dtype=np.int64)

    def children(which: str) -> NDArray[np.int64]:
        return np.array([code[keys[at][0], found[which][at]] for at in splits], dtype=np.int64)

    first = np.array(list(roots.values()), dtype=np.int64)
    yes, no = children("nodes_truenodeids"), children("nodes_falsenodeids")
    return Trees(
        roots=first,
        feature=picked("nodes_featureids"),
        threshold=_floats(found, "nodes_values")[splits],
        tracks=picked("nodes_missing_value_tracks_true")
        if "nodes_missing_value_tracks_true" in found
        else np.zeros(len(splits), dtype=np.int64),
        yes=yes,
        no=no,
        target=_of_trees(np.array(found["target_ids"], dtype=np.int64), first, yes, no),
        weight=_floats(found, "target_weights"),
        base=_floats(found, "base_values")
        if "base_values" in found
        else np.zeros(n_targets, dtype=np.float32),
    )


def _of_trees(
    of_leaves: NDArray[np.int64], roots: NDArray[np.int64], yes: NDArray[np.int64], no: NDArray[np.int64]
) -> NDArray[np.int64]:
    """``(T,)`` the output of each tree, from that of each of its leaves."""
    targets = []
    for root in roots.tolist():
        found, ahead = set(), [root]
        while ahead:
            at = ahead.pop()
            if at < 0:
                found.add(int(of_leaves[-1 - at]))
            else:
                ahead += [int(yes[at]), int(no[at])]
        if len(found) != 1:
            raise _unknown()
        targets.append(found.pop())
    return np.array(targets, dtype=np.int64)


def _floats(found: dict[str, Any], name: str) -> NDArray[np.float32]:
    if f"{name}_as_tensor" in found:
        return np.asarray(numpy_helper.to_array(found[f"{name}_as_tensor"]), dtype=np.float32)
    return np.array(found[name], dtype=np.float32)


def _unknown() -> UserError:
    return UserError(
        "The artifact has trees of a kind that is not written in C: other splits than <=, or several outputs "
        "a tree.",
        hint="Trees that potstill has distilled have neither.",
    )
