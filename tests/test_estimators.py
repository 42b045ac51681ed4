"""The scikit-learn shell: its own contract checks, and life inside pipelines and searches."""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from potstill import DistilledClassifier, DistilledRegressor, Recipe
from potstill.students import GBDT

SMALL = GBDT(rounds=20, min_data_in_leaf=2)
FAST = Recipe(cache=False, folds=2)

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a row of weight 2 and the same row twice are split, cross-fitted and bagged differently"
    ),
}


def expected_failures(estimator: Any) -> dict[str, str]:
    return EXPECTED_FAILURES


@parametrize_with_checks(
    [
        DistilledClassifier(ExtraTreesClassifier(5), student=SMALL, recipe=FAST),
        DistilledRegressor(ExtraTreesRegressor(5), student=SMALL, recipe=FAST),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_contract(estimator: Any, check: Any) -> None:
    check(estimator)
