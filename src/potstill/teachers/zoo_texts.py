"""The default ensemble for texts: transformers first, then linear models and a network on n-grams."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.modalities.tabular import TabularEncoder
from potstill.modalities.text import joined_texts
from potstill.teachers.digests import digest
from potstill.teachers.zoo_member import Scale, fingerprint
from potstill.teachers.zoo_transformers import Work, transformer_members
from potstill.types import Dataset, Doubles, Floats, Labels, Schema, Task, Trainable

Kind: TypeAlias = Literal["logistic", "margin", "bayes", "network"]
Features: TypeAlias = Any
"""``(n, F)`` sparse matrix of scipy."""

TRANSFORMERS_SHARE = 0.9
"""Of the time, where there is a pretrained encoder; without one they get half."""

FEWEST_ROWS_OF_A_FEATURE = 2
MOST_FEATURES = 60_000
COMPONENTS, HIDDEN_UNITS = 200, 256


class NGramMember(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the n-grams of words or of letters, and of the columns of a table beside the texts.

    Parameters
    ----------
    name
        Name in the ensemble.
    kind
        ``logistic`` regression; ``margin``: a linear support vector machine with calibrated answers;
        ``bayes``: logistic regressions on features weighted by how a naive Bayes model sees them;
        ``network``: one hidden layer on the first principal components. For values all but the last are
        ridge regressions.
    letters
        N-grams of letters within words, instead of words.
    longest
        N: the longest n-gram.
    strength
        How freely the model fits: the inverse of its regularisation.

    References
    ----------
    Wang, Manning (2012), Baselines and Bigrams: Simple, Good Sentiment and Topic Classification (``bayes``).
    """

    name: str
    kind: Kind
    letters: bool = False
    longest: int = 2
    strength: float = 3.0

    @property
    def fingerprint(self) -> str:
        import sklearn

        return fingerprint(self, sklearn)

    def cost_s(self, task: Task, n_rows: int, mean_words: float) -> float:
        """Seconds of one core for one fit."""
        outputs = task.n_outputs if task.n_outputs > 2 else 1
        words = n_rows * mean_words * (3 if self.letters else 1)
        fixed = n_rows * 3e-4 if self.kind == "network" else 0.0
        return 0.3 + fixed + words * (1.2e-5 + _COST_OF_AN_OUTPUT[self.kind] * outputs)

    def fit(self, dataset: Dataset, *, seed: int) -> FittedNGramMember:
        """Fit on all rows of ``dataset``."""
        assert dataset.labels is not None
        labels: Labels = dataset.labels
        seed = int(digest(self.name, str(seed))[:7], 16)
        scale = Scale.of(labels, dataset.task)
        weight = np.ones(len(labels)) if dataset.weight is None else dataset.weight / dataset.weight.mean()
        reader = Reader.fit(dataset, letters=self.letters, longest=self.longest)
        answer: Answer = _sure
        if len(scale.classes) != 1:
            answer = self._learn(reader.features(dataset), scale.own(labels), weight, scale, seed=seed)
        data = digest(*joined_texts(dataset.rows, dataset.schema), np.ascontiguousarray(labels).tobytes())
        return FittedNGramMember(self.name, digest(self.fingerprint, str(seed), data), reader, scale, answer)

    def _learn(
        self, features: Features, labels: Labels, weight: Doubles, scale: Scale, *, seed: int
    ) -> Answer:
        if self.kind == "network":
            return _network(features, labels, classes=len(scale.classes), seed=seed)
        if not scale.task.is_classification:
            return _ridge(features, labels, weight, self.strength)
        if self.kind == "bayes":
            return _bayes(features, labels.astype(np.int64), weight, self.strength)
        if self.kind == "margin" and np.bincount(labels.astype(np.int64)).min() >= _MARGIN_FOLDS:
            return _margin(features, labels, weight, self.strength, seed=seed)
        return _logistic(features, labels, weight, self.strength)


_COST_OF_AN_OUTPUT = {"logistic": 1.2e-6, "margin": 5e-7, "bayes": 4e-7, "network": 0.0}
"""Seconds for each word of the texts and each output."""

Answer: TypeAlias = Callable[[Features], NDArray[Any]]
"""Features to ``(n, c)`` probabilities of the classes that occur, or ``(n,)`` standardised values."""


@dataclass(frozen=True, eq=False)
class FittedNGramMember:
    """A fitted member."""

    name: str
    fingerprint: str
    reader: Reader
    scale: Scale
    answer: Answer

    def predict(self, dataset: Dataset) -> Floats:
        """Probabilities ``(n, K)`` in the order of the task's classes, or values ``(n, 1)``."""
        return self.scale.align(self.answer(self.reader.features(dataset)))


@dataclass(frozen=True, eq=False)
class Reader:
    """From rows to features: n-grams weighted by how rare they are, and the columns of a table.

    Parameters
    ----------
    vectorizer
        Of scikit-learn, fitted.
    table
        Of the columns that are no texts.
    center, spread
        ``(F,)`` of the numbers.
    """

    vectorizer: Any
    table: TabularEncoder
    center: Floats
    spread: Floats

    @classmethod
    def fit(cls, dataset: Dataset, *, letters: bool, longest: int) -> Reader:
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = joined_texts(dataset.rows, dataset.schema)
        least = FEWEST_ROWS_OF_A_FEATURE if len(texts) > 200 else 1
        vectorizer = TfidfVectorizer(
            sublinear_tf=True,
            min_df=least,
            max_features=MOST_FEATURES,
            ngram_range=(2 if letters else 1, longest),
            dtype=np.float32,
            **({"analyzer": "char_wb"} if letters else {"token_pattern": r"\w+|[^\w\s]"}),
        )
        # What no other text has in common is no feature: one that all texts have makes sure there is one.
        vectorizer.fit([*texts, *[_COMMON] * least])
        table = TabularEncoder(Schema(tuple(c for c in dataset.schema.columns if c.kind != "text")))
        numbers = table.encode(dataset.rows)["numeric"]
        finite = np.where(np.isfinite(numbers), numbers, np.nan)
        filled = np.where(np.isnan(finite).all(axis=0), 0.0, finite)
        center, spread = np.nanmean(filled, axis=0), np.nanstd(filled, axis=0)
        return cls(vectorizer, table, center, np.where(spread > 0, spread, 1.0).astype(np.float32))

    def features(self, dataset: Dataset) -> Features:
        """``(n, F)`` sparse."""
        from scipy.sparse import csr_matrix, hstack

        found = self.vectorizer.transform(joined_texts(dataset.rows, dataset.schema))
        if not self.table.schema.columns:
            return found
        tensors = self.table.encode(dataset.rows)
        scaled = np.clip((tensors["numeric"] - self.center) / self.spread, -3, 3)
        rows = np.arange(len(scaled))
        levels = [
            csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, ids)), (len(rows), cardinality))
            for ids, cardinality in zip(tensors["categorical"].T, self.table.spec.cardinalities, strict=True)
        ]
        numbers = csr_matrix(np.nan_to_num(scaled).astype(np.float32))
        return csr_matrix(hstack([found, numbers, *levels]))


ZOO_OF_TEXTS = (
    NGramMember(name="letters-margin", kind="margin", letters=True, longest=5, strength=0.5),
    NGramMember(name="words-logistic", kind="logistic", longest=3, strength=10.0),
    NGramMember(name="words-bayes", kind="bayes", strength=1.0),
    NGramMember(name="words-network", kind="network", longest=1),
)
"""The members without transformers, the most useful first."""


def default_text_members(work: Work) -> list[Trainable]:
    """Fine-tuned transformers, and as many models of n-grams as a part of the time is enough for.

    Returns
    -------
    Those of n-grams first, which are done in seconds: after transformers that took all of the time planned
    for them nothing else would be begun. Where that part is too short for any, one is tried at the end: the
    most useful there is time for in all, or the cheapest.
    """
    share = TRANSFORMERS_SHARE if work.checkpoint is not None else 0.5
    transformers = transformer_members(work._replace(time_s=share * work.time_s))
    left = (1 - share) * work.time_s * work.threads
    needed_s = [_FOLDS * each.cost_s(work.task, work.n_rows, work.mean_words) for each in ZOO_OF_TEXTS]
    quick: list[Trainable] = []
    for member, seconds in zip(ZOO_OF_TEXTS, needed_s, strict=True):
        if seconds < left:
            left -= seconds
            quick.append(member)
    if quick:
        return [*quick, *transformers]
    affordable = [seconds < work.time_s for seconds in needed_s]
    last = affordable.index(True) if any(affordable) else int(np.argmin(needed_s))
    return [*transformers, ZOO_OF_TEXTS[last]]


_FOLDS = 5
"""Fits of a member in a cross-fitting."""

_MARGIN_FOLDS = 3
_COMMON = "\N{LOZENGE}"


def _sure(features: Features) -> NDArray[Any]:
    """Where a fold has one class only: that one."""
    return np.ones((features.shape[0], 1), np.float32)


def _logistic(features: Features, labels: Labels, weight: Doubles, strength: float) -> Answer:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(features, labels, sample_weight=weight)
    answer: Answer = model.predict_proba
    return answer


def _margin(features: Features, labels: Labels, weight: Doubles, strength: float, *, seed: int) -> Answer:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=strength, random_state=seed)
    model = CalibratedClassifierCV(machine, cv=_MARGIN_FOLDS, ensemble=False)
    answer: Answer = model.fit(features, labels, sample_weight=weight).predict_proba
    return answer


def _bayes(features: Features, labels: NDArray[np.int64], weight: Doubles, strength: float) -> Answer:
    """For each class, logistic regression on the features times the logarithm of how much it has more of."""
    from sklearn.linear_model import LogisticRegression

    classes = [1] if labels.max() == 1 else list(range(int(labels.max()) + 1))
    ratios, models = [], []
    for one in classes:
        of_class = labels == one
        mass, other = (
            np.asarray(abs(features[rows]).sum(axis=0)).ravel() + 1 for rows in (of_class, ~of_class)
        )
        ratio = np.log(mass / mass.sum() * other.sum() / other)
        model = LogisticRegression(C=strength, solver="liblinear")
        models.append(model.fit(features.multiply(ratio).tocsr(), of_class, sample_weight=weight))
        ratios.append(ratio)

    def answer(asked: Features) -> NDArray[Any]:
        columns = [
            model.predict_proba(asked.multiply(ratio).tocsr())[:, 1]
            for model, ratio in zip(models, ratios, strict=True)
        ]
        if len(columns) == 1:
            of_second: NDArray[Any] = columns[0]
            return of_second
        whole = np.stack(columns, axis=1)
        shared: NDArray[Any] = whole / whole.sum(axis=1, keepdims=True)
        return shared

    return answer


def _network(features: Features, labels: Labels, *, classes: int, seed: int) -> Answer:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    components = min(COMPONENTS, features.shape[1] - 1, features.shape[0] - 1)
    settings = {"hidden_layer_sizes": (HIDDEN_UNITS,), "alpha": 1.0, "max_iter": 12, "random_state": seed}
    network = MLPClassifier(**settings) if classes else MLPRegressor(**settings)
    model = make_pipeline(TruncatedSVD(max(1, components), random_state=seed), StandardScaler(), network)
    with warnings.catch_warnings():
        # Twelve epochs are what is wanted, not convergence.
        warnings.simplefilter("ignore")
        model.fit(features, labels)
    answer: Answer = model.predict_proba if classes else model.predict
    return answer


def _ridge(features: Features, values: Labels, weight: Doubles, strength: float) -> Answer:
    from sklearn.linear_model import Ridge

    answer: Answer = Ridge(alpha=1 / strength).fit(features, values, sample_weight=weight).predict
    return answer
