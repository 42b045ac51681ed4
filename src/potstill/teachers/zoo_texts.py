"""The default ensemble for texts: fine-tuned transformers, and linear models of words and letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from potstill.modalities.text import joined_texts
from potstill.teachers.digests import digest
from potstill.teachers.zoo_member import VERSION
from potstill.teachers.zoo_transformers import answer_seconds, transformer_members
from potstill.types import Dataset, Doubles, Floats, Task, Trainable

LINEAR_SHARE, LINEAR_MOST_S = 0.1, 40.0
"""Part of the time that is left to the linear members, and seconds that they take at most."""

USED, ROUNDS, LEAST_SHARE = 0.75, 2, 0.15
"""Part of the time that is planned, times that every core asks a transformer about all rows, and the part of
the time that is left for fits in any case."""

MAX_FEATURES = 200_000


class NGramMember(msgspec.Struct, frozen=True, kw_only=True):
    """TF-IDF of n-grams under a linear model, cross-fitted like any other quick member.

    Parameters
    ----------
    name
        Name in the ensemble.
    unit
        n-grams of ``words``, or of the letters within words.
    lengths
        Shortest and longest n-gram.
    strength
        The inverse of the regularisation.
    """

    name: str
    unit: Literal["words", "letters"]
    lengths: tuple[int, int]
    strength: float = 5.0

    @property
    def fingerprint(self) -> str:
        import sklearn

        return digest(VERSION, type(self).__name__, msgspec.json.encode(self), sklearn.__version__)

    def fit(self, dataset: Dataset, *, seed: int) -> FittedNGramMember:
        """Fit on all rows of ``dataset``."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression, Ridge

        assert dataset.labels is not None
        texts = joined_texts(dataset.rows, dataset.schema)
        vectors = TfidfVectorizer(
            analyzer="word" if self.unit == "words" else "char_wb",
            token_pattern=r"\S+",
            ngram_range=self.lengths,
            min_df=1 if len(texts) < 2_000 else 2,
            max_features=MAX_FEATURES,
            sublinear_tf=True,
            dtype=np.float32,
        )
        if self.unit == "letters":
            vectors.set_params(token_pattern=None)
        features = vectors.fit_transform([text or _NOTHING for text in texts])
        classes = dataset.task.is_classification
        model: Any = (
            LogisticRegression(C=self.strength, max_iter=300, random_state=seed)
            if classes
            else Ridge(alpha=1 / self.strength, random_state=seed)
        )
        model.fit(features, dataset.labels, sample_weight=dataset.weight)
        data = digest(*texts, np.ascontiguousarray(dataset.labels).tobytes())
        fingerprint = digest(self.fingerprint, str(seed), data)
        return FittedNGramMember(self.name, fingerprint, vectors, model, dataset.task)


_NOTHING = "potstill-no-text"
"""What stands for an empty text: a word of its own."""


@dataclass(frozen=True, eq=False)
class FittedNGramMember:
    """A fitted member."""

    name: str
    fingerprint: str
    vectors: Any
    model: Any
    task: Task

    def predict(self, dataset: Dataset) -> Floats:
        """Probabilities ``(n, K)`` in the order of the task's classes, or values ``(n, 1)``."""
        texts = joined_texts(dataset.rows, dataset.schema)
        features = self.vectors.transform([text or _NOTHING for text in texts])
        if not self.task.is_classification:
            values: Doubles = self.model.predict(features).reshape(-1, 1)
            return values.astype(np.float32)
        answers = np.zeros((len(texts), self.task.n_outputs), dtype=np.float32)
        answers[:, self.model.classes_] = self.model.predict_proba(features)
        return answers


LINEAR = (
    NGramMember(name="words", unit="words", lengths=(1, 2), strength=10.0),
    NGramMember(name="letters", unit="letters", lengths=(2, 5), strength=5.0),
)


def default_text_members(
    task: Task,
    *,
    n_rows: int,
    n_answers: int,
    mean_words: float,
    time_s: float,
    threads: int,
    checkpoint: str | None,
    keep: str | None = None,
) -> list[Trainable]:
    """The transformers, sized to the time there is, then the linear members.

    Parameters
    ----------
    task, n_rows, n_answers, mean_words
        What is predicted, rows with labels, rows that every member is asked about, words of a text.
    time_s
        Seconds for all fits and answers.
    threads
        Cores there are.
    checkpoint, keep
        See `transformer_members`.
    """
    linear_s = min(LINEAR_MOST_S, LINEAR_SHARE * time_s)
    answers_s = ROUNDS * answer_seconds(n_answers, mean_words, checkpoint)
    transformers = transformer_members(
        task,
        n_rows=n_rows,
        mean_words=mean_words,
        time_s=max(USED * (time_s - linear_s) - answers_s, LEAST_SHARE * time_s),
        threads=threads,
        checkpoint=checkpoint,
        keep=keep,
    )
    return [*transformers, *LINEAR]
