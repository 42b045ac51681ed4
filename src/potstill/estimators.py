"""`DistilledClassifier` and `DistilledRegressor`: `potstill.distill` behind scikit-learn's contract."""

from __future__ import annotations

from typing import Any, Self

import msgspec
import narwhals as nw
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from potstill.artifact import Model, load
from potstill.distillation import Recipe, distill
from potstill.errors import UserError
from potstill.types import Budget, Floats, Student, TaskKind


class _Distilled(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share: parameters, fit and the artifact."""

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

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``student__size=2.0`` and ``recipe__folds=3`` reach into the parts.

        Raises
        ------
        ValueError
            There is no such parameter.
        """
        nested: dict[str, dict[str, Any]] = {}
        for name in list(params):
            owner, separator, field = name.partition("__")
            if separator and owner in _PARTS:
                nested.setdefault(owner, {})[field] = params.pop(name)
        super().set_params(**params)
        for owner, fields in nested.items():
            part = getattr(self, owner)
            try:
                setattr(self, owner, msgspec.structs.replace(part, **fields))
            except (AttributeError, TypeError) as error:
                raise UserError(
                    f"Invalid parameter {', '.join(fields)!r} for {owner}={part!r}: {error}.",
                    hint=f"Set {owner} to a part first; `potstill parts` lists them with their parameters.",
                ) from None
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters, with ``deep`` also those of the parts as ``student__size`` and the like."""
        params: dict[str, Any] = super().get_params(deep=deep)
        if deep:
            for owner in _PARTS:
                part = params[owner]
                if isinstance(part, msgspec.Struct):
                    for field in part.__struct_fields__:
                        params[f"{owner}__{field}"] = getattr(part, field)
        return params

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @property
    def model_(self) -> Model:
        """The artifact, opened."""
        check_is_fitted(self, "artifact_")
        return load(self.artifact_)

    def _distill(self, X: Any, y: NDArray[Any], sample_weight: Any, task: TaskKind | None) -> None:
        recipe = self.recipe or Recipe(cache=False)
        # Whoever wants scores on held-out rows splits them off outside, as scikit-learn does.
        fields: dict[str, Any] = {"test_fraction": 0.0, "task": task}
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        seed = self.random_state
        result = distill(
            (X, y),
            teachers=self.teacher,
            student=self.student,
            budget=self.budget,
            seed=int(seed) if isinstance(seed, (int, np.integer)) else _drawn(seed),
            recipe=msgspec.structs.replace(recipe, **fields),
            sample_weight=weight,
        )
        self.artifact_ = result.artifact
        self.shipped_ = result.card.shipped

    def _outputs(self, X: Any) -> Floats:
        check_is_fitted(self, "artifact_")
        rows = _validated(self, X, reset=False)
        model = self.model_
        return model.predict_proba(rows) if model.task.is_classification else model.predict(rows)


class DistilledClassifier(ClassifierMixin, _Distilled):  # type: ignore[misc]
    """A small classifier distilled from an ensemble.

    Parameters
    ----------
    teacher
        As in `potstill.distill`: an unfitted estimator such as ``VotingClassifier([...])``, a fitted one, a
        list of them, or None for the default ensemble.
    student
        A part, e.g. ``GBDT(rounds=100)``; None searches the families.
    budget, recipe
        As in `potstill.distill`; without a recipe the teachers' answers are not kept.
    random_state
        Seed of everything.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    artifact_ : bytes
        The model as one ONNX file.
    model_ : potstill.Model
        The artifact, opened.
    shipped_ : str
        ``student``, or ``twin`` where labels alone were as good on the validation rows.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only when ``X`` had string column names.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.ensemble import ExtraTreesClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> classifier = DistilledClassifier(ExtraTreesClassifier(50)).fit(X, y)
    >>> classifier.predict_proba(X).shape
    (178, 3)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Distil the teacher on ``X`` ``(n, F)`` and ``y`` ``(n,)``.

        Raises
        ------
        ValueError
            The input is not what scikit-learn or `potstill.distill` takes.
        """
        rows, labels = _validated(self, X, y, reset=True)
        check_classification_targets(labels)
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise UserError(
                f"Classifier can't train when only one class is present; got {self.classes_[0]!r} alone."
            )
        if "" in self.classes_.tolist():
            raise UserError("An empty text is a missing label, not a class.", hint="Give the class a name.")
        kind: TaskKind = "binary" if len(self.classes_) == 2 else "multiclass"
        self._distill(rows, np.asarray(labels), sample_weight, kind)
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities ``(n, n_classes)`` in the order of ``classes_``."""
        return self._outputs(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row, ``(n,)``."""
        probabilities = self._outputs(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])


class DistilledRegressor(RegressorMixin, _Distilled):  # type: ignore[misc]
    """A small regressor distilled from an ensemble. Parameters and attributes as `DistilledClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import ExtraTreesRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> DistilledRegressor(ExtraTreesRegressor(50)).fit(X, y).predict(X).shape
    (442,)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Distil the teacher on ``X`` ``(n, F)`` and ``y`` ``(n,)``.

        Raises
        ------
        ValueError
            The input is not what scikit-learn or `potstill.distill` takes.
        """
        rows, values = _validated(self, X, y, reset=True, y_numeric=True)
        self._distill(rows, np.asarray(values, dtype=np.float64), sample_weight, "regression")
        return self

    def predict(self, X: Any) -> Floats:
        """Values ``(n,)``."""
        return self._outputs(X)


_PARTS = ("student", "budget", "recipe")


def _drawn(random_state: np.random.RandomState | None) -> int:
    return int(check_random_state(random_state).randint(2**31 - 1))


def _validated(estimator: _Distilled, X: Any, *y: Any, reset: bool, **more: Any) -> Any:
    """``X`` as scikit-learn checks it; a table keeps its own types, so categories and dates survive."""
    if nw.dependencies.is_into_dataframe(X):
        return validate_data(estimator, X, *y, reset=reset, skip_check_array=True, **more)
    return validate_data(
        estimator,
        X,
        *y,
        reset=reset,
        ensure_all_finite="allow-nan",
        ensure_min_samples=2 if reset else 1,
        **more,
    )
