"""A lesson on real rows, quick to learn."""

from __future__ import annotations

import narwhals as nw
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier

from potstill.training.examples import LABELS_ONLY, make_examples
from potstill.training.lesson import Lesson
from potstill.types import (
    Column,
    Dataset,
    FeatureSpec,
    Floats,
    Ints,
    Origin,
    Schema,
    SoftTargets,
    Task,
    Tensors,
    TransferSet,
)

SPANS: dict[Origin, slice] = {
    "real": slice(0, 250),
    "held_out": slice(250, 400),
    "unlabeled": slice(400, 569),
}


@pytest.fixture(scope="session")
def lesson() -> Lesson:
    """The breast cancer table with a forest as its teacher."""
    X, y = load_breast_cancer(return_X_y=True)
    X, labels = X[:, :8].astype(np.float32), y.astype(np.int64)
    forest = ExtraTreesClassifier(50, min_samples_leaf=3, random_state=0).fit(
        X[SPANS["real"]], y[SPANS["real"]]
    )
    schema = Schema(tuple(Column(f"x{i}", "numeric") for i in range(8)))
    task = Task("binary", "y", (0, 1))
    rows: dict[Origin, Dataset] = {}
    tensors: dict[Origin, Tensors] = {}
    soft: dict[Origin, SoftTargets] = {}
    for origin, span in SPANS.items():
        frame = nw.from_native(pd.DataFrame(X[span], columns=list(schema.names)), eager_only=True)
        rows[origin] = Dataset(frame, task, schema, None if origin == "unlabeled" else labels[span])
        tensors[origin] = {"numeric": X[span], "categorical": np.zeros((len(X[span]), 0), dtype=np.int64)}
        soft[origin] = _soft(forest.predict_proba(X[span]).astype(np.float32), out_of_fold=origin != "real")
    transfer = TransferSet(rows=rows, soft_targets=soft, cross_fitted=soft["real"])
    return Lesson(
        transfer=transfer,
        tensors=tensors,
        valid=make_examples(transfer, tensors, LABELS_ONLY, temperature=1.0, origins=("held_out",)),
        spec=FeatureSpec(numeric=schema.names),
        task=task,
    )


def _soft(probs: Floats, *, out_of_fold: bool) -> SoftTargets:
    n = len(probs)
    folds: Ints = np.zeros(n, dtype=np.int64)
    return SoftTargets(("forest",), probs[None], np.ones(1), np.full(n, out_of_fold), folds)
