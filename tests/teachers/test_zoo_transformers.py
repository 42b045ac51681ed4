"""Transformers of the default ensemble for texts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pytest
import torch

from potstill.modalities.pretrained_pieces import fresh_wordpiece, wordpiece_of
from potstill.networks.bert import BertShape, initial_bert
from potstill.networks.bert_folder import read_bert, read_weights
from potstill.teachers.zoo_transformers import (
    TransformerMember,
    Work,
    default_checkpoint,
    measured_pace,
    transformer_members,
)
from potstill.types import BaggedTrainable, Column, Dataset, OutOfFoldTeacher, Schema, Task

GOOD, BAD = ("good", "fine", "lovely"), ("bad", "poor", "dull")
FILLING = ("the", "film", "was", "a", "and", "plot", "actor", "music")


def reviews(n_rows: int, kind: Any = "binary", seed: int = 0) -> Dataset:
    """Texts whose one telling word, and its place, are drawn by chance."""
    rng = np.random.default_rng(seed)
    liked = rng.integers(0, 2, n_rows)
    texts = []
    for each in liked:
        words = list(rng.choice(FILLING, rng.integers(2, 9)))
        words.insert(int(rng.integers(0, len(words))), str(rng.choice(GOOD if each else BAD)))
        texts.append(" ".join(words))
    labels = liked.astype(np.int64) if kind == "binary" else 100 + 5 * liked + rng.normal(size=n_rows)
    return Dataset(
        rows=nw.from_native(pa.table({"text": texts}), eager_only=True),
        task=Task(kind, "liked", ("no", "yes") if kind == "binary" else ()),
        schema=Schema((Column("text", "text"),)),
        labels=labels,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, write_bert: Any) -> str:
    words = fresh_wordpiece([" ".join((*GOOD, *BAD, *FILLING))] * 2).vocab
    shape = BertShape(width=32, layers=3, heads=2, inner=64, pieces=len(words), positions=64)
    weights = initial_bert(shape, torch.Generator().manual_seed(0))
    path: str = write_bert(tmp_path_factory.mktemp("encoder") / "whole", shape, weights, tuple(words))
    return path


def quick(checkpoint: str | None, **settings: Any) -> TransformerMember:
    values = {"name": "quick", "learning_rate": 3e-3, "layer_decay": 1.0, "epochs": 6, **settings}
    return TransformerMember(checkpoint=checkpoint, **values)


@pytest.mark.parametrize("settings", [{}, {"pooling": "first"}, {"frozen": 1}, {"epochs": 0}])
def test_a_member_learns(checkpoint: str, settings: dict[str, Any]) -> None:
    member, unseen = quick(checkpoint, **settings), reviews(100, seed=1)
    assert isinstance(member, BaggedTrainable)
    fitted = member.fit_whole(reviews(400), seed=0)
    assert isinstance(fitted, OutOfFoldTeacher)
    probs = fitted.predict(unseen)
    assert probs.shape == (100, 2)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    assert (probs.argmax(axis=1) == unseen.labels).mean() > (0.7 if member.epochs == 0 else 0.95)
    assert np.isnan(fitted.predict_out_of_fold(unseen)).all()
    assert fitted.size_bytes == 4 * fitted.n_parameters


def test_with_many_classes_training_begins_at_a_fitted_head(checkpoint: str) -> None:
    """Each class is told by a word of its own: the head knows it, though the encoder hardly learns."""
    words = (*GOOD, *BAD, *FILLING)[:12]
    labels = np.arange(240) % 12
    rows = nw.from_native(pa.table({"text": [words[label] for label in labels]}), eager_only=True)
    task, schema = Task("multiclass", "word", words), Schema((Column("text", "text"),))
    fitted = quick(checkpoint, learning_rate=1e-9, epochs=1).fit(Dataset(rows, task, schema, labels), seed=0)
    assert (fitted.predict(Dataset(rows, task, schema, None)).argmax(axis=1) == labels).mean() > 0.9
    few = labels % 4
    task = Task("multiclass", "word", words[:4])
    fitted = quick(checkpoint, learning_rate=1e-9, epochs=1).fit(Dataset(rows, task, schema, few), seed=0)
    assert (fitted.predict(Dataset(rows, task, schema, None)).argmax(axis=1) == few).mean() < 0.9


def test_values_are_learnt_in_their_own_unit(checkpoint: str) -> None:
    for epochs in (6, 0):
        fitted = quick(checkpoint, epochs=epochs).fit(reviews(400, "regression"), seed=0)
        unseen = reviews(100, "regression", seed=1)
        values = fitted.predict(unseen)
        assert values.shape == (100, 1)
        assert unseen.labels is not None
        error = np.square(values[:, 0] - unseen.labels).mean()
        assert error < (0.9 if epochs == 0 else 0.5) * unseen.labels.var()


def test_without_a_checkpoint_a_small_one_learns() -> None:
    fitted = quick(None, learning_rate=1e-3).fit_whole(reviews(400), seed=0)
    unseen = reviews(100, seed=1)
    assert (fitted.predict(unseen).argmax(axis=1) == unseen.labels).mean() > 0.9


def test_a_seed_decides_and_weights_count(checkpoint: str) -> None:
    member, rows = quick(checkpoint, epochs=2), reviews(200)
    first, again = member.fit(rows, seed=1), member.fit(rows, seed=1)
    other = member.fit(rows, seed=2)
    np.testing.assert_array_equal(first.predict(rows), again.predict(rows))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert not np.array_equal(first.predict(rows), other.predict(rows))
    assert rows.labels is not None
    weighted = Dataset(rows.rows, rows.task, rows.schema, rows.labels, np.where(rows.labels, 1e-3, 1.0))
    assert member.fit(weighted, seed=1).predict(rows).argmax(axis=1).mean() < 0.1


def test_the_clock_ends_a_fit_on_a_busy_machine(checkpoint: str) -> None:
    member = quick(checkpoint, epochs=1_000_000, limit_s=1.0)
    begin = time.monotonic()
    member.fit_whole(reviews(64), seed=0)
    assert time.monotonic() - begin < 60
    # It is the same member, whose answers are looked for under one name, whatever time there was.
    assert member.fingerprint == quick(checkpoint, epochs=1_000_000).fingerprint


def test_the_first_keeps_its_encoder_for_students(checkpoint: str, tmp_path: Path) -> None:
    fitted = quick(checkpoint, epochs=1).fit(reviews(64), seed=0)
    fitted.write_encoder(tmp_path / "kept")
    kept, before = read_weights(tmp_path / "kept"), read_bert(checkpoint)[1]
    assert kept.keys() == before.keys()
    torch.testing.assert_close(kept["attend1"], fitted.classifier.weights["attend1"], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(kept["attend1"], before["attend1"], rtol=1e-3, atol=1e-3)
    # The rows of pieces that no text has are still those of the pretrained encoder.
    unused = wordpiece_of(checkpoint).vocab.index("##x") if "##x" in wordpiece_of(checkpoint).vocab else 1
    torch.testing.assert_close(kept["word"][unused], before["word"][unused], rtol=1e-3, atol=1e-3)


def test_the_time_decides_how_many_and_how_long(checkpoint: str) -> None:
    def planned(
        time_s: float, classes: int = 2, n_answers: int = 0, pace: float = 1.0
    ) -> list[TransformerMember]:
        task = Task("multiclass", "y", tuple(range(classes)))
        work = Work(
            task=task,
            n_rows=1_000_000,
            n_answers=n_answers,
            mean_words=20,
            mean_pieces=28,
            time_s=time_s,
            threads=2,
            checkpoint=checkpoint,
            pace=pace,
        )
        members = transformer_members(work)
        assert all(isinstance(member, TransformerMember) for member in members)
        return members  # type: ignore[return-value]

    ample, scarce, least = planned(1e5), planned(40), planned(18)
    assert [member.epochs for member in ample] == [4, 4, 4, 4]
    assert [member.epochs for member in planned(1e5, classes=77)] == [8, 8, 8, 8]
    assert len({member.fingerprint for member in ample}) == 4
    assert [member.keeps_encoder for member in ample] == [True, False, False, False]
    assert not any(member.keeps_encoder for member in least)
    assert len(scarce) == 2
    # Heads on one and the same encoder would answer alike.
    assert [(member.epochs, member.frozen) for member in least] == [(0, 0)]
    assert scarce[0].epochs >= 1
    for member in (*ample, *scarce):
        assert member.seconds(1_000_000, 28) <= 1e5
    assert scarce[0].seconds(1_000_000, 28) <= 40
    assert planned(40) == scarce
    # One epoch with many classes is worse than a head alone.
    few, many = ({planned(t, classes)[0].epochs for t in range(18, 60)} for classes in (2, 77))
    assert {0, 1, 2} <= few
    assert {0, 2} <= many
    assert 1 not in many
    assert planned(4) == planned(40, n_answers=10**9) == []  # no time to ask the encoder at all
    # Answers are part of the time.
    assert planned(40, n_answers=3_000_000)[0].epochs < scarce[0].epochs
    # A machine that takes four times as long has a quarter of the epochs in the same time by the clock.
    slow, quarter = planned(182, pace=4.0), planned(50)  # of which 6 s for the beginning
    assert [member.epochs for member in slow] == [member.epochs for member in quarter]
    assert slow[0].limit_s == pytest.approx(4 * quarter[0].limit_s)  # type: ignore[operator]


@pytest.mark.parametrize("pretrained", [True, False])
def test_the_pace_is_measured(checkpoint: str, pretrained: bool) -> None:
    pace = measured_pace(checkpoint if pretrained else None, 12.3)
    assert 0.01 < pace < 10_000
    steps = np.log(pace) / np.log(1.1)
    assert steps == pytest.approx(np.round(steps), abs=1e-6)


def test_the_default_checkpoint_can_be_read() -> None:
    checkpoint = default_checkpoint()
    if checkpoint is None:
        pytest.skip("no package with a pretrained encoder is installed")
    assert wordpiece_of(checkpoint).ids(["hello world"]).tolist() == [[101, 7592, 2088, 102]]
