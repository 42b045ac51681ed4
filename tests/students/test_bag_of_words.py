"""What `NGram` and `Static` share: which words they know, and what they make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from onnx import TensorProto

from potstill.graph import GraphBuilder
from potstill.modalities import TextEncoder
from potstill.networks.bert import BertShape, initial_bert
from potstill.networks.bert_folder import read_bert, write_weights
from potstill.objectives import KD
from potstill.students import NGram, Static
from potstill.students.bag_of_words import pair_rows
from potstill.students.bag_student import useful_words
from potstill.students.word_vectors import word_vectors
from potstill.types import Column, Examples, Schema, Student, Task, Tensors

TASK = Task("binary", "y", classes=("no", "yes"))
SCHEMA = Schema(
    (
        Column("text", "text"),
        Column("size", "numeric", low=0.0, high=9.0),
        Column("kind", "categorical", levels=("a", "b")),
    )
)
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", *(f"##{letter}" for letter in "abcdefgh"))


def taught(tensors: Tensors, labels: Any) -> Examples:
    return Examples(
        tensors=tensors,
        teacher_probs=np.eye(2, dtype=np.float32)[labels],
        labels=np.asarray(labels, dtype=np.int64),
        hard_weight=np.ones(len(labels), dtype=np.float32),
        weight=np.ones(len(labels), dtype=np.float32),
    )


def accuracy(student: Student, encoder: TextEncoder, rows: nw.DataFrame[Any], labels: Any) -> float:
    tensors = encoder.encode(rows)
    fitted, _ = student.fit(
        taught(tensors, labels), None, spec=encoder.spec, task=TASK, objective=KD(), seed=0, effort=20
    )
    return float((fitted.logits(tensors).argmax(axis=1) == labels).mean())


@pytest.mark.parametrize(
    "student",
    [NGram(hidden=(16,)), Static(word_dim=8, units=8, hidden=(16,), learning_rate=0.01)],
    ids=lambda s: s.name,
)
def test_texts_beside_other_columns(student: Student) -> None:
    """The answer is in the number for one half of the rows, in the text for the other."""
    rng = np.random.default_rng(0)
    kind, size, told = rng.integers(0, 2, 400), rng.uniform(0, 9, 400), rng.integers(0, 2, 400)
    labels = np.where(kind == 0, size > 4.5, told).astype(np.int64)
    frame = pl.DataFrame(
        {
            "text": [("Überaus gut, " if yes else "schlecht. ") + "und so weiter" for yes in told],
            "size": [None if at % 50 == 0 else value for at, value in enumerate(size.tolist())],
            "kind": ["ab"[at] for at in kind.tolist()],
        }
    )
    rows = nw.from_native(frame)
    encoder = TextEncoder.fit(SCHEMA, rows)
    tensors = encoder.encode(rows)
    fitted, _ = student.fit(
        taught(tensors, labels), None, spec=encoder.spec, task=TASK, objective=KD(), seed=0, effort=30
    )
    assert (fitted.logits(tensors).argmax(axis=1) == labels).mean() > 0.9

    graph = GraphBuilder()
    graph.output(fitted.build(graph, encoder.build(graph)), "logits", TensorProto.FLOAT, ["n", 2])
    session = onnxruntime.InferenceSession(graph.model().SerializeToString())
    texts = [*frame["text"].to_list()[:50], "", "ÜBERAUS GUT", "never seen 😀", "!"]
    asked = {
        "text": np.array(texts, dtype=object),
        "size": np.linspace(-1, 10, len(texts)).astype(np.float32),
        "kind": np.array((["a", "b", "", "c"] * 20)[: len(texts)], dtype=object),
    }
    asked["size"][3] = np.nan
    own = fitted.logits(
        encoder.encode(nw.from_native(pl.DataFrame({n: v.tolist() for n, v in asked.items()})))
    )
    np.testing.assert_allclose(session.run(None, asked)[0], own, atol=1e-5)


def test_pairs_tell_what_words_alone_cannot() -> None:
    texts = ["not good but bad", "not bad but good"] * 40
    labels = np.array([0, 1] * 40)
    schema = Schema((Column("text", "text"),))
    rows = nw.from_native(pl.DataFrame({"text": texts}))
    encoder = TextEncoder.fit(schema, rows)
    with_pairs = NGram(dropout=0.0, word_dropout=0.0, learning_rate=0.05)
    assert accuracy(with_pairs, encoder, rows, labels) == 1.0
    assert accuracy(NGram(pairs=0, dropout=0.0, word_dropout=0.0), encoder, rows, labels) == 0.5


def test_pairs_are_hashed_into_their_table() -> None:
    words = torch.tensor([[5, 6, 0, 7, 0], [6, 5, 8, 9, 2]])
    rows = pair_rows(words, 1_000)
    assert rows.shape == words.shape
    assert int(rows.max()) <= 1_000
    assert (rows == 0).tolist() == [[False, False, True, True, True], [False] * 5]
    assert len(set(rows[rows > 0].tolist())) == 7


def test_the_words_kept_are_those_that_tell_most() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    words = np.zeros((300, 4), dtype=np.int32)
    words[:, 0] = 2  # in every row
    words[:, 1] = 3 + labels  # tells all
    words[:, 2] = 5 + rng.integers(0, 4, 300)  # tells nothing
    targets = np.eye(2, dtype=np.float32)[labels]
    kept = useful_words(words, targets, np.ones(300, dtype=np.float32), 7, 2)
    assert kept.tolist() == [1, 2]
    assert useful_words(words, targets, np.ones(300, dtype=np.float32), 7, 9).tolist() == list(range(7))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, write_bert: Any) -> str:
    shape = BertShape(width=16, layers=1, heads=2, inner=32, pieces=len(PIECES), positions=24)
    weights = initial_bert(shape, torch.Generator().manual_seed(1))
    scaled = {name: weight * 8 if weight.dim() == 2 else weight for name, weight in weights.items()}
    path: str = write_bert(tmp_path_factory.mktemp("encoder") / "whole", shape, scaled, PIECES)
    return path


def test_word_vectors_are_those_of_the_encoder(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    words = ("abc", "a", "abd", "hgf", "x", "cab", "fed")
    vectors = word_vectors(checkpoint, None, words, 4)
    assert vectors.shape == (7, 4)
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-3)
    distance = np.linalg.norm(vectors - vectors[0], axis=1)
    assert distance[2] < distance[[1, 3, 4, 6]].min()
    longer = word_vectors(checkpoint, None, words, 40)
    np.testing.assert_allclose(longer[:, :4] / longer[0, 0], vectors / vectors[0, 0], rtol=1e-3, atol=1e-3)
    assert not longer[:, 16:].any()
    # After fine-tuning its own file counts.
    shape, _ = read_bert(checkpoint)
    write_weights(tmp_path / "tuned", initial_bert(shape, torch.Generator().manual_seed(2)))
    assert not np.allclose(word_vectors(checkpoint, str(tmp_path / "tuned"), words, 4), vectors, atol=0.05)


def test_words_that_there_is_no_time_for_begin_as_nothing_until_there_is(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("potstill.students.word_vectors.WORDS_AT_ONCE", 3)
    words = ("abc", "a", "abd", "hgf", "x", "cab", "fed")
    at_once = word_vectors(checkpoint, None, words, 4, -1.0)
    assert at_once[:3].any(axis=1).all()
    assert not at_once[3:].any()
    assert not word_vectors(checkpoint, None, words, 4, -1.0)[6:].any()  # it goes on where it stopped
    assert word_vectors(checkpoint, None, words, 4).any(axis=1).all()


def test_a_student_begins_at_the_encoder(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word that no text with a label has means what words like it mean."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    texts = ["abc", "abd", "abe", "hgf", "hge", "hgd"] * 20
    labels = np.array([1, 1, 1, 0, 0, 0] * 20)
    rows = nw.from_native(pl.DataFrame({"text": texts}))
    new = nw.from_native(pl.DataFrame({"text": ["abh", "hga"] * 2}))
    encoder = TextEncoder.fit(Schema((Column("text", "text"),)), rows, more_rows=new)
    student = Static(checkpoint=checkpoint, word_dim=8, hidden=(), word_dropout=0.0, units=0)
    fitted, _ = student.fit(
        taught(encoder.encode(rows), labels),
        None,
        spec=encoder.spec,
        task=TASK,
        objective=KD(),
        seed=0,
        effort=20,
    )
    assert fitted.logits(encoder.encode(new)).argmax(axis=1).tolist() == [1, 0, 1, 0]


def test_many_classes_are_learnt_for_longer() -> None:
    epochs = [Static()._plan().schedule(40_000, k, None, None).epochs for k in (2, 10, 11, 77)]
    assert epochs == [10, 10, 30, 30]
