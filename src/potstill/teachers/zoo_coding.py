"""Categories as target means for the boosted members, fitted on the rows a fold learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from potstill.modalities.category_codes import CategoryCodes, fit_category_codes
from potstill.teachers.zoo_encoding import Table
from potstill.teachers.zoo_member import Fold
from potstill.types import FeatureSpec, Floats


@dataclass(frozen=True, eq=False)
class Coding:
    """Numbers as they are, categories as the codes of `fit_category_codes`."""

    codes: CategoryCodes

    def features(self, table: Table) -> Floats:
        """``(n, P)`` float32."""
        return np.hstack([table.numeric, self.codes.encode(table.categorical)])


def coded(fold: Fold, *, seed: int) -> tuple[Coding, Floats]:
    """The coding, and the features ``(n, P)`` of the fold's rows; none learnt from sees its own target."""
    learn, table = fold.learn, fold.table
    if fold.n_classes:
        targets = (fold.labels[learn, None] == np.arange(fold.n_classes)).astype(np.float32)
    else:
        targets = fold.labels[learn, None].astype(np.float32)
    codes, own = fit_category_codes(
        table.categorical[learn],
        targets,
        fold.weight[learn].astype(np.float32),
        spec=FeatureSpec(cardinalities=table.cardinalities),
        seed=seed,
    )
    coding = Coding(codes)
    features = coding.features(table)
    features[learn, table.numeric.shape[1] :] = own
    return coding, features
