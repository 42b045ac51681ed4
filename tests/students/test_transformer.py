"""What a transformer begins with, and what it is drawn to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import narwhals as nw
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch

import potstill
from potstill.distillation.vectors import with_vectors
from potstill.modalities import TextEncoder
from potstill.modalities.pretrained_pieces import fresh_wordpiece, wordpiece_of
from potstill.networks.bert import BertShape, encoded, initial_bert, pooled
from potstill.networks.bert_folder import read_bert, write_weights
from potstill.objectives import KD
from potstill.students import NGram, Static, Transformer
from potstill.students.text_vectors import text_vectors
from potstill.students.transformer_student import FittedTransformer
from potstill.students.word_vectors import word_vectors
from potstill.training.lesson import Lesson
from potstill.types import Column, Examples, Floats, Schema, Silent, Task

TEXTS = ["good film", "bad film", "a good plot", "a bad plot", "the film", "the plot was good"] * 10
LABELS = np.array([1, 0, 1, 0, 0, 1] * 10)
TASK = Task("binary", "y", (0, 1))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, write_bert: Any) -> str:
    words = fresh_wordpiece(TEXTS).vocab
    shape = BertShape(width=16, layers=2, heads=2, inner=32, pieces=len(words), positions=24)
    weights = initial_bert(shape, torch.Generator().manual_seed(0))
    path: str = write_bert(tmp_path_factory.mktemp("encoder") / "whole", shape, weights, tuple(words))
    return path


@pytest.fixture(scope="module")
def tuned(checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The encoder as a teacher left it: other weights in the same shape."""
    path = tmp_path_factory.mktemp("tuned") / "encoder.safetensors"
    shape, _ = read_bert(checkpoint)
    weights = initial_bert(shape, torch.Generator().manual_seed(1))
    write_weights(path, {name: weight * 5 for name, weight in weights.items()})
    return str(path)


def encoder_of(checkpoint: str) -> TextEncoder:
    rows = nw.from_native(pl.DataFrame({"text": TEXTS}))
    return TextEncoder.fit(Schema((Column("text", "text"),)), rows, tokenizer=wordpiece_of(checkpoint))


def fitted(
    student: Transformer, *, pieces_of: str | None = None, **more: Any
) -> tuple[FittedTransformer, dict[str, Floats]]:
    encoder = encoder_of(pieces_of or str(student.checkpoint))
    tensors = encoder.encode(nw.from_native(pl.DataFrame({"text": TEXTS})))
    n = len(TEXTS)
    examples = Examples(
        tensors=tensors,
        teacher_probs=np.eye(2, dtype=np.float32)[LABELS],
        labels=LABELS,
        hard_weight=np.full(n, 0.5, dtype=np.float32),
        weight=np.ones(n, dtype=np.float32),
    )
    made, _ = student.fit(
        examples, None, spec=encoder.spec, task=TASK, objective=KD(), seed=0, **{"effort": 1, **more}
    )
    assert isinstance(made, FittedTransformer)
    return made, tensors


def test_it_begins_with_the_tuned_encoder(checkpoint: str, tuned: str) -> None:
    still = {"learning_rate": 1e-9, "head_rate": 1e-9, "weights": "float16"}
    plain, _ = fitted(Transformer(checkpoint=checkpoint, layers=1, **still))
    begun, _ = fitted(Transformer(checkpoint=checkpoint, tuned=tuned, layers=1, **still))
    assert begun.shape == plain.shape
    whole = initial_bert(read_bert(checkpoint)[0], torch.Generator().manual_seed(1))
    # Its one layer is the last of the two.
    np.testing.assert_allclose(begun.weights["mix0"], whole["mix1"].numpy() * 5, rtol=0.01, atol=0.01)
    assert not np.allclose(begun.weights["mix0"], plain.weights["mix0"], atol=0.01)


def test_the_folder_of_a_teacher_takes_the_place_of_the_checkpoint(
    checkpoint: str, tmp_path: Path, write_bert: Any
) -> None:
    """Its encoder is of other sizes, so nothing else could be what training begins with and is drawn to."""
    words = fresh_wordpiece(TEXTS).vocab
    shape = BertShape(width=24, layers=3, heads=2, inner=32, pieces=len(words), positions=24)
    weights = initial_bert(shape, torch.Generator().manual_seed(2))
    teacher = write_bert(tmp_path / "teacher", shape, weights, tuple(words))
    still = {"learning_rate": 1e-9, "head_rate": 1e-9, "weights": "float16"}
    for own in (checkpoint, None):
        student = Transformer(checkpoint=own, tuned=teacher, layers=1, **still)
        begun, tensors = fitted(student, pieces_of=teacher)
        assert begun.shape.width == 24
        np.testing.assert_allclose(begun.weights["mix0"], weights["mix2"].numpy(), rtol=0.01, atol=0.01)
        spec = encoder_of(teacher).spec
        assert student.plan(spec).guide(
            spec, tensors["pieces"], np.ones(len(TEXTS), np.float32), torch.arange(len(words))
        )
    vectors = Static(checkpoint=checkpoint, tuned=teacher, word_dim=20)._plan().vectors
    assert vectors is not None
    np.testing.assert_array_equal(
        vectors(("film", "plot"), 20), word_vectors(teacher, None, ("film", "plot"), 20)
    )
    assert sorted(path.name for path in (tmp_path / "teacher").iterdir()) == [
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]


def distances(student: Transformer, layers: int = 1) -> tuple[float, float]:
    """Of the fitted student from the whole encoder: in its texts' vectors, and in its layers."""
    student = msgspec.structs.replace(student, layers=layers, learning_rate=3e-3, dropout=0.0)
    made, tensors = fitted(student, effort=15)
    pieces = tensors["pieces"]
    weights = {name: torch.from_numpy(weight) for name, weight in made.weights.items()}
    spec, rows = encoder_of(str(student.checkpoint)).spec, torch.arange(len(pieces))
    ids = torch.from_numpy(pieces.astype(np.int64))
    with torch.no_grad():
        found = encoded(weights, made.shape, ids, with_scores=True)
    found_apart = []
    for wanted in ({"matching": 1.0, "attention": 0.0}, {"matching": 0.0, "attention": 1.0}):
        plan = msgspec.structs.replace(student, **wanted).plan(spec)
        every = torch.arange(made.shape.pieces)
        mentor = plan.guide(spec, pieces, np.ones(len(pieces), dtype=np.float32), every)
        assert mentor is not None
        assert mentor.wants_scores == bool(wanted["attention"])
        texts = pooled(found.states[-1], ids, "mean")
        found_apart.append(float(mentor.loss(found, texts, ids, rows)))
    return found_apart[0], found_apart[1]


def test_matching_draws_its_vectors_to_the_tuned_encoder(checkpoint: str, tuned: str) -> None:
    drawn, left = (
        distances(Transformer(checkpoint=checkpoint, tuned=tuned, matching=weight))[0]
        for weight in (1.0, 0.0)
    )
    assert drawn < 0.8 * left


def test_attention_draws_its_layers_to_the_tuned_encoder(checkpoint: str, tuned: str) -> None:
    drawn, left = (
        distances(Transformer(checkpoint=checkpoint, tuned=tuned, matching=0.0, attention=weight))[1]
        for weight in (1.0, 0.0)
    )
    assert drawn < 0.8 * left


def test_an_encoder_is_no_way_from_itself(checkpoint: str, tuned: str) -> None:
    """All layers, not trained: only what the file's rounding and half precision change is left."""
    still = Transformer(checkpoint=checkpoint, tuned=tuned, matching=0.0, weights="float16")
    far = distances(still)[1]
    whole = msgspec.structs.replace(still, layers=2, head_rate=1e-9, epochs=1)
    made, tensors = fitted(msgspec.structs.replace(whole, learning_rate=1e-9))
    ids = torch.from_numpy(tensors["pieces"].astype(np.int64))
    weights = {name: torch.from_numpy(weight) for name, weight in made.weights.items()}
    spec = encoder_of(checkpoint).spec
    plan = msgspec.structs.replace(whole, attention=1.0).plan(spec)
    mentor = plan.guide(
        spec, tensors["pieces"], np.ones(len(ids), np.float32), torch.arange(made.shape.pieces)
    )
    assert mentor is not None
    with torch.no_grad():
        found = encoded(weights, made.shape, ids, with_scores=True)
        near = mentor.loss(found, found.states[-1][:, 0], ids, torch.arange(len(ids)))
    assert 0 <= float(near) < 0.01 * far


def test_the_encoder_is_not_asked_for_vectors_that_are_known(checkpoint: str, tuned: str) -> None:
    """Those it is told are told it moved by 1: had it been asked, they would be where they were."""
    encoder = encoder_of(checkpoint)
    pieces = encoder.encode(nw.from_native(pl.DataFrame({"text": TEXTS * 20})))["pieces"]
    known = text_vectors(checkpoint, tuned, pieces, encoder.spec, None)
    assert np.isnan(text_vectors(checkpoint, tuned, pieces, encoder.spec, 0.0)).all()
    told = known + np.float16(1)
    told[::2] = np.nan
    plan = Transformer(checkpoint=checkpoint, tuned=tuned, layers=1).plan(encoder.spec)
    weight = np.ones(len(pieces), np.float32)
    mentor = plan.guide(encoder.spec, pieces, weight, torch.arange(len(encoder.spec.pieces)), told)
    assert mentor is not None
    assert mentor.known[1::2].all()
    ids, rows = torch.from_numpy(pieces.astype(np.int64)), torch.arange(len(pieces))
    with torch.no_grad():
        mentor.loss(encoded(mentor.weights, mentor.shape, ids), torch.zeros(len(ids), 16), ids, rows)
    assert mentor.known.all()
    np.testing.assert_array_equal(mentor.vectors[1::2], told[1::2].astype(np.float32))
    np.testing.assert_allclose(mentor.vectors[::2], known[::2], atol=0.05)


def test_all_students_have_the_vectors_that_were_asked_for_once(checkpoint: str, tuned: str) -> None:
    """Two workers share the texts of all origins."""
    encoder = encoder_of(checkpoint)
    parts = {"real": TEXTS[:7], "synthetic": TEXTS[1:14]}
    tensors = {
        origin: encoder.encode(nw.from_native(pl.DataFrame({"text": texts})))
        for origin, texts in parts.items()
    }
    nothing: Any = None
    lesson = Lesson(nothing, tensors, nothing, encoder.spec, TASK, workers=2)  # type: ignore[arg-type]
    given = with_vectors(lesson, [NGram(), Static(checkpoint=checkpoint)], tuned, 60.0, Silent())
    for origin, each in tensors.items():
        wanted = text_vectors(checkpoint, tuned, each["pieces"], encoder.spec, None)
        np.testing.assert_allclose(given.tensors[origin]["vectors"], wanted, atol=0.05)  # type: ignore[index]
        assert np.ptp(wanted[:, 0].astype(float)) > 0.5
    for none in (NGram(), Static(checkpoint=checkpoint, matching=0.0)):
        assert with_vectors(lesson, [none], tuned, None, Silent()) is lesson


def test_static_students_are_drawn_to_the_vectors(checkpoint: str, tuned: str) -> None:
    """Told nothing by the answers, it still learns to tell the texts apart as the encoder does."""
    encoder = encoder_of(checkpoint)
    tensors = encoder.encode(nw.from_native(pl.DataFrame({"text": TEXTS})))
    vectors = text_vectors(checkpoint, tuned, tensors["pieces"], encoder.spec, None)
    n = len(TEXTS)
    examples = Examples(
        tensors={**tensors, "vectors": vectors},
        teacher_probs=np.full((n, 2), 0.5, dtype=np.float32),
        labels=LABELS,
        hard_weight=np.zeros(n, dtype=np.float32),
        weight=np.ones(n, dtype=np.float32),
    )
    small = Static(checkpoint=checkpoint, tuned=tuned, word_dim=8, units=0, hidden=(2,), dropout=0.0)
    explained = []
    for matching in (3.0, 0.0):
        student = msgspec.structs.replace(small, matching=matching, word_dropout=0.0, learning_rate=0.02)
        made, _ = student.fit(examples, None, spec=encoder.spec, task=TASK, objective=KD(), seed=0, effort=40)
        assert made.logits(tensors).shape == (n, 2)
        assert made.weights["logit_weight"].shape == (2, 2)  # type: ignore[attr-defined]
        seen = made.weights["words"][tensors["words"]].sum(axis=1)  # type: ignore[attr-defined]
        hidden = np.maximum(seen @ made.weights["weight0"] + made.weights["bias0"], 0)  # type: ignore[attr-defined]
        design = np.column_stack([hidden, np.ones(n)])
        fitted_to = design @ np.linalg.lstsq(design, vectors.astype(np.float64), rcond=None)[0]
        explained.append(
            1 - np.var(vectors - fitted_to) / np.var(vectors.astype(np.float64) - vectors.mean(axis=0))
        )
    assert explained[0] > explained[1] + 0.1, explained


def test_with_many_classes_training_begins_at_a_fitted_head(checkpoint: str) -> None:
    words = fresh_wordpiece(TEXTS).vocab[-8:]
    texts = [f"{a} {b}" for a in words[:4] for b in words[4:]] * 5
    labels = np.arange(len(texts)) % 16
    tensors = encoder_of(checkpoint).encode(nw.from_native(pl.DataFrame({"text": texts})))
    ones = np.ones(len(texts), dtype=np.float32)
    examples = Examples(tensors, np.eye(16, dtype=np.float32)[labels], labels, ones, ones)
    still = Transformer(checkpoint=checkpoint, layers=1, learning_rate=1e-9, head_rate=1e-9)
    spec, task = encoder_of(checkpoint).spec, Task("multiclass", "y", tuple(range(16)))
    made, _ = still.fit(examples, None, spec=spec, task=task, objective=KD(), seed=0, effort=1)
    assert (made.logits(tensors).argmax(axis=1) == labels).mean() > 0.5


def test_many_texts_at_once_are_answered_like_each_alone() -> None:
    texts = [" ".join(["good" if row % 3 else "bad", *["plot"] * (row * 7 % 23)]) for row in range(300)]
    result = potstill.distill(
        pa.table({"text": texts, "y": [row % 3 > 0 for row in range(300)]}),
        target="y",
        teachers=lambda rows: np.full((len(rows), 2), 0.5),
        student=Transformer(width=16, layers=1, epochs=2),
        recipe=potstill.Recipe(
            columns={"text": "text"}, synthetic=0, cache=False, encoder=False, time_limit=60
        ),
    )
    model = potstill.load(result.artifact)
    together = model.predict_proba({"text": texts})
    alone = [list(model.predict_one({"text": text})["probabilities"].values()) for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.std(together[:, 0]) > 1e-3
