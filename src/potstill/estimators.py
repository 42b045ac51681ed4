"""`DistilledClassifier` and `DistilledRegressor`: potstill.distill behind scikit-learn's contract."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from potstill.artifact import Model, load
from potstill.distillation import Recipe, distill
from potstill.types import Budget, Floats, Student


class _Distilled(BaseEstimator):
    """What classifier and regressor share: the parameters, the fit and the artifact.

    Attributes
    ----------
    artifact_ : bytes
        The fitted model as one ONNX file.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when ``X`` had string column names.
    """

    def __init__(
        self,
        teacher: Any = None,
        *,
        student: Student | None = None,
        budget: Budget | None = None,
        recipe: Recipe | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.budget = budget
        self.recipe = recipe
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags

    @property
    def model_(self) -> Model:
        """The artifact, opened."""
        check_is_fitted(self, "artifact_")
        return load(self.artifact_)
