"""Hugging Face models, tiny and random, made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pytest
import torch

from potstill.errors import UserError
from potstill.teachers import adopt
from potstill.teachers.huggingface import encoder_folder
from potstill.testing.teacher import check_teacher
from potstill.types import BaggedTrainable, Column, Dataset, OutOfFoldTeacher, Schema, Task

transformers = pytest.importorskip("transformers")

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "the", "a", "##b", "c", "##c")
TASK = Task("multiclass", "mood", ("glad", "mad", "sad"))


def config(**settings: Any) -> Any:
    return transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        initializer_range=0.5,
        **settings,
    )


def tokenizer() -> Any:
    vocab = {piece: at for at, piece in enumerate(WORDS)}
    return transformers.BertTokenizer(vocab=vocab, model_max_length=32)


def classifier(labels: tuple[str, ...] | None = ("sad", "glad", "mad"), n_outputs: int = 3) -> Any:
    torch.manual_seed(0)
    said = {} if labels is None else {"id2label": dict(enumerate(labels))}
    return transformers.BertForSequenceClassification(config(num_labels=n_outputs, **said)).eval()


def texts(n_rows: int = 40, task: Task = TASK) -> Dataset:
    """Texts in which one of three words comes more often than others; an empty and a long one."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n_rows)
    rows = [
        " ".join(WORDS[5 + (label if rng.random() < 0.6 else rng.integers(0, 5))] for _ in range(8))
        for label in labels
    ]
    rows[:2] = ["", "the film " * 100]
    return Dataset(
        rows=nw.from_native(pa.table({"said": rows, "number": np.arange(n_rows)}), eager_only=True),
        task=task,
        schema=Schema((Column("said", "text"), Column("number", "numeric"))),
        labels=labels if task.is_classification else labels + rng.normal(size=n_rows) * 0.1,
        ids=np.arange(n_rows)[::-1] + 100,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "moods"
    classifier().save_pretrained(place)
    tokenizer().save_pretrained(place)
    return place


def test_a_folder_answers_as_its_model_does_by_its_own_labels(folder: Path) -> None:
    teacher = adopt(folder, task=TASK)
    rows = texts()
    check_teacher(teacher, rows)
    assert teacher.name == "moods"
    batch = tokenizer()(["the film c"], return_tensors="pt")
    with torch.no_grad():
        probs = classifier()(**batch).logits.softmax(dim=1)[0].numpy()
    one = Dataset(nw.from_native(pa.table({"said": ["the film c"]}), eager_only=True), TASK, rows.schema)
    # The model's order is sad, glad, mad.
    np.testing.assert_allclose(teacher.predict(one)[0], probs[[1, 2, 0]], atol=1e-6)  # type: ignore[union-attr]


def test_a_live_model_is_the_same_teacher_and_keeps_its_mode(folder: Path) -> None:
    model, rows = classifier().train(), texts()
    live = adopt((model, tokenizer()), task=TASK)
    pipeline = transformers.pipeline("text-classification", model=classifier(), tokenizer=tokenizer())
    wanted = adopt(str(folder), task=TASK).predict(rows)  # type: ignore[union-attr]
    np.testing.assert_allclose(live.predict(rows), wanted, atol=1e-6)  # type: ignore[union-attr]
    np.testing.assert_allclose(adopt(pipeline, task=TASK).predict(rows), wanted, atol=1e-6)  # type: ignore[union-attr]
    assert model.training
    with torch.no_grad():
        model.classifier.bias += 1
    assert adopt((model, tokenizer()), task=TASK).fingerprint != live.fingerprint


def test_unnamed_labels_are_positions_and_a_single_output_is_the_second_class() -> None:
    task = Task("binary", "good", (0, 1))
    rows = texts(task=task)
    two = adopt((classifier(None, 2), tokenizer()), task=task).predict(rows)  # type: ignore[union-attr]
    assert two.shape == (40, 2)
    one = adopt((classifier(None, 1), tokenizer()), task=task).predict(rows)  # type: ignore[union-attr]
    np.testing.assert_allclose(one.sum(axis=1), 1, atol=1e-6)
    value = Task("regression", "stars")
    model = classifier(None, 1)
    values = adopt((model, tokenizer()), task=value).predict(texts(task=value))  # type: ignore[union-attr]
    np.testing.assert_allclose(1 / (1 + np.exp(-values[:, 0].astype(float))), one[:, 1], atol=1e-5)


@pytest.mark.parametrize("task", [TASK, Task("regression", "words")])
def test_an_encoder_without_a_head_gets_one(tmp_path: Path, task: Task) -> None:
    torch.manual_seed(0)
    transformers.BertModel(config()).save_pretrained(tmp_path / "encoder")
    tokenizer().save_pretrained(tmp_path / "encoder")
    encoder, rows = adopt(tmp_path / "encoder", task=task), texts(400, task)
    check_teacher(encoder, texts(60, task))
    assert isinstance(encoder, BaggedTrainable)
    fitted = encoder.fit_whole(rows, seed=0)
    assert isinstance(fitted, OutOfFoldTeacher)
    seen, own = fitted.predict(rows), fitted.predict_out_of_fold(rows)
    assert rows.labels is not None
    if task.is_classification:
        assert (own.argmax(axis=1) == rows.labels).mean() > 0.6
        # Nobody answers a row that has seen it, so the answers are less sure of the labels.
        at = np.arange(400), rows.labels.astype(int)
        assert np.log(own[at]).mean() < np.log(seen[at]).mean()
    else:
        assert np.square(own[:, 0] - rows.labels).mean() < 0.7 * rows.labels.var()
    part = rows.take(np.array([5, 3]))
    np.testing.assert_array_equal(fitted.predict_out_of_fold(part), own[[5, 3]])
    strange = Dataset(part.rows, task, part.schema, ids=np.array([1, 100_000]))
    assert np.isnan(fitted.predict_out_of_fold(strange)).all()


def test_what_cannot_answer_is_refused_in_a_sentence(folder: Path) -> None:
    with pytest.raises(UserError, match=r"answers with 'glad', no class of 'mood'"):
        adopt(folder, task=Task("multiclass", "mood", ("happy", "mad", "sad")))
    with pytest.raises(UserError, match=r"Teacher 'moods' has 3 outputs: wanted 1 for the regression"):
        adopt(folder, task=Task("regression", "mood"))
    table = Dataset(
        nw.from_native(pa.table({"x": [1.0]}), eager_only=True), TASK, Schema((Column("x", "numeric"),))
    )
    with pytest.raises(UserError, match=r"Teacher 'moods' reads texts: wanted a text column, got 'x'\."):
        adopt(folder, task=TASK).predict(table)  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"does not say how texts become pieces: wanted a pair"):
        adopt(classifier(), task=TASK)


def test_weights_that_are_pickled_need_trust(folder: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (pickled / name).write_bytes((folder / name).read_bytes())
    torch.save(classifier().state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="runs whatever code is in it"):
        adopt(pickled, task=TASK)
    rows = texts()
    trusted = adopt(pickled, task=TASK, trust=True).predict(rows)  # type: ignore[union-attr]
    np.testing.assert_allclose(trusted, adopt(folder, task=TASK).predict(rows), atol=1e-6)  # type: ignore[union-attr]


def test_students_can_begin_with_encoders_of_its_kind_alone(folder: Path, tmp_path: Path) -> None:
    assert encoder_folder(folder) == encoder_folder(str(folder)) == str(folder)
    assert encoder_folder((classifier(), tokenizer())) is None
    assert encoder_folder(tmp_path / "nothing") is None
    assert encoder_folder("https://example.org/model") is None
    settings = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1}
    other = transformers.RobertaConfig(num_attention_heads=2, intermediate_size=24, **settings)
    transformers.RobertaForSequenceClassification(other).save_pretrained(tmp_path / "roberta")
    tokenizer().save_pretrained(tmp_path / "roberta")
    assert encoder_folder(tmp_path / "roberta") is None
    # Without its word pieces an encoder is of no use.
    classifier().save_pretrained(tmp_path / "bare")
    assert encoder_folder(tmp_path / "bare") is None
