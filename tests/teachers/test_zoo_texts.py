"""The members of the default ensemble for texts that are no transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from potstill.teachers.zoo_texts import ZOO_OF_TEXTS, NGramMember, default_text_members
from potstill.teachers.zoo_transformers import Work
from potstill.types import Column, Dataset, Schema, Task


def described() -> tuple[list[str], Any]:
    """Texts of eight words each, and which of four tables each is about."""
    loaders = (load_breast_cancer, load_diabetes, load_iris, load_wine)
    words = [loader().DESCR.split() for loader in loaders]
    texts = [[" ".join(whole[at : at + 8]) for at in range(0, len(whole), 3)] for whole in words]
    source = np.repeat(np.arange(len(texts)), list(map(len, texts)))
    order = np.random.default_rng(0).permutation(len(source))
    flat = [text for of_one in texts for text in of_one]
    return [flat[at] for at in order], source[order]


TEXTS, SOURCE = described()
SCHEMA = Schema(
    (Column("text", "text"), Column("length", "numeric"), Column("kind", "categorical", levels=("a",)))
)
MULTICLASS = Task("multiclass", "y", classes=("cancer", "diabetes", "iris", "wine"))


def dataset(task: Task, labels: Any) -> Dataset:
    frame = pl.DataFrame(
        {
            "text": TEXTS,
            "length": [float(len(text)) if at % 7 else None for at, text in enumerate(TEXTS)],
            "kind": ["a" if at % 3 else "b" for at in range(len(TEXTS))],
        }
    )
    return Dataset(nw.from_native(frame), task, SCHEMA, labels=labels)


def halves(whole: Dataset) -> tuple[Dataset, Dataset]:
    middle = len(whole) * 2 // 3
    return whole.take(np.arange(middle)), whole.take(np.arange(middle, len(whole)))


@pytest.mark.parametrize("member", ZOO_OF_TEXTS, ids=lambda member: member.name)
def test_a_member_tells_texts_apart(member: NGramMember) -> None:
    train, test = halves(dataset(MULTICLASS, SOURCE))
    probs = member.fit(train, seed=0).predict(test)
    assert probs.shape == (len(test), 4)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-4)
    right = (probs.argmax(axis=1) == test.labels).mean()
    assert right > np.bincount(SOURCE).max() / len(SOURCE) + 0.2
    assert np.array_equal(member.fit(train, seed=0).predict(test), probs)


@pytest.mark.parametrize("member", ZOO_OF_TEXTS, ids=lambda member: member.name)
def test_a_member_tells_two_classes_apart(member: NGramMember) -> None:
    train, test = halves(dataset(Task("binary", "y", classes=("no", "yes")), (SOURCE > 1).astype(np.int64)))
    probs = member.fit(train, seed=0).predict(test)
    assert ((probs[:, 1] > 0.5) == (test.labels == 1)).mean() > 0.7


@pytest.mark.parametrize("member", ZOO_OF_TEXTS, ids=lambda member: member.name)
def test_a_member_learns_values(member: NGramMember) -> None:
    train, test = halves(dataset(Task("regression", "y"), 100.0 + 10.0 * SOURCE))
    values = member.fit(train, seed=0).predict(test)
    assert values.shape == (len(test), 1)
    assert test.labels is not None
    assert np.square(values[:, 0] - test.labels).mean() < 0.75 * test.labels.var()


@pytest.mark.parametrize("member", ZOO_OF_TEXTS, ids=lambda member: member.name)
def test_classes_that_a_fold_lacks_have_no_probability(member: NGramMember) -> None:
    whole = dataset(MULTICLASS, SOURCE)
    some = whole.take(np.flatnonzero((SOURCE == 0) | (SOURCE == 3)))
    probs = member.fit(some, seed=0).predict(whole)
    assert probs.shape == (len(whole), 4)
    assert not probs[:, 1:3].any()
    one = whole.take(np.flatnonzero(SOURCE == 2))
    assert (member.fit(one, seed=0).predict(whole)[:, 2] == 1).all()


def test_texts_without_a_word_in_common_are_answered() -> None:
    train, test = halves(dataset(MULTICLASS, SOURCE))
    strange = pl.DataFrame({"text": ["", None], "length": [None, 1.0], "kind": ["", "c"]})
    fitted = ZOO_OF_TEXTS[0].fit(train, seed=0)
    assert np.isfinite(fitted.predict(replace(test, rows=nw.from_native(strange), labels=None))).all()


def test_fingerprints_follow_settings_and_data() -> None:
    train, test = halves(dataset(MULTICLASS, SOURCE))
    member = ZOO_OF_TEXTS[1]
    assert member.fingerprint != ZOO_OF_TEXTS[2].fingerprint
    fitted = [member.fit(part, seed=seed).fingerprint for part, seed in ((train, 0), (train, 1), (test, 0))]
    assert len(set(fitted)) == 3
    assert member.fit(train, seed=0).fingerprint == fitted[0]


def test_time_decides_how_many_members_there_are() -> None:
    def names(seconds: float) -> list[str]:
        work = Work(
            task=MULTICLASS,
            n_rows=8_000,
            n_answers=0,
            mean_words=20,
            mean_pieces=28,
            time_s=seconds,
            threads=2,
            checkpoint=None,
        )
        return [member.name for member in default_text_members(work)]

    assert [name for name in names(2_000) if "transformer" not in name] == [m.name for m in ZOO_OF_TEXTS]
    short = names(10)
    assert short[-1] == "words-bayes"  # the cheapest, where there is time for none
    assert len(short) < len(names(2_000))
    assert short[-2].startswith("transformer")
    assert names(2_000)[-1].startswith("transformer")
