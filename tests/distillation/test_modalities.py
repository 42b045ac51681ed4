"""Pictures and texts, each from rows to an artifact that answers as it was measured."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

import potstill
from potstill.artifact.pictures import picture_of, png_bytes
from potstill.distillation import Recipe
from potstill.distillation.modality import IMAGES, TABLES, TEXTS, describe_left_out, modality_of
from potstill.errors import UserError
from potstill.modalities.pretrained_pieces import fresh_wordpiece
from potstill.networks.bert import BertShape, initial_bert
from potstill.students import NGram, ResidualCNN, Transformer
from potstill.types import Budget, Column, Schema


def described() -> tuple[list[str], np.ndarray[Any, Any]]:
    """Texts of eight words each, and which of four tables each is about."""
    loaders = (load_breast_cancer, load_diabetes, load_iris, load_wine)
    words = [loader().DESCR.split() for loader in loaders]
    texts = [[" ".join(whole[at : at + 8]) for at in range(0, len(whole), 4)] for whole in words]
    return [text for each in texts for text in each], np.repeat(np.arange(4), [len(each) for each in texts])


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [(["numeric"], TABLES), (["image"], IMAGES), (["text"], TEXTS), (["numeric", "text"], TEXTS)],
)
def test_the_columns_decide(kinds: list[Any], wanted: object) -> None:
    columns = tuple(Column(f"c{at}", kind) for at, kind in enumerate(kinds))
    assert modality_of(Schema(columns)) is wanted


def test_pictures() -> None:
    images, digits = load_digits(n_class=4, return_X_y=True)
    pixels = (images * (255 / 16)).round().astype(np.uint8).reshape(-1, 8, 8, 1)
    files = [png_bytes(picture) for picture in pixels]
    fitted = LogisticRegression(max_iter=200).fit(images, digits)

    def ensemble(rows: Any) -> Any:
        seen = np.stack([picture_of(file, 1) for file in list(rows["image"])])
        return fitted.predict_proba(seen.reshape(len(seen), -1) * (16 / 255))

    result = potstill.distill(
        pa.table({"image": files, "digit": digits}),
        target="digit",
        teachers=ensemble,
        student=ResidualCNN(widths=(8, 16), blocks=(1, 1), learning_rate=0.01, epochs=6, shift=0.0),
        recipe=Recipe(synthetic=0.5, cache=False, time_limit=90),
    )
    model = result.model
    assert result.to_dict()["student"]["accuracy"] > 0.8
    together = model.predict_proba({"image": files[:5]})
    np.testing.assert_allclose(model.predict_proba({"image": pixels[:5]}), together, atol=1e-6)
    one = model.predict_one({"image": base64.b64encode(files[0]).decode()})
    np.testing.assert_allclose(list(one["probabilities"].values()), together[0], atol=1e-5)
    larger = np.kron(pixels[0], np.ones((3, 2, 1), np.uint8))
    mixed = model.predict_proba({"image": [pixels[1], larger]})
    np.testing.assert_allclose(mixed[0], together[1], atol=1e-5)
    with pytest.raises(UserError, match="takes pictures"):
        model.predict_one({"image": "no picture"})
    assert model.verify().n_rows == 8


def test_texts() -> None:
    texts, source = described()
    hashed = HashingVectorizer(n_features=2**12)
    fitted = LogisticRegression(C=10, max_iter=300).fit(hashed.transform(texts), source)

    def ensemble(rows: Any) -> Any:
        return fitted.predict_proba(hashed.transform(list(rows["text"])))

    result = potstill.distill(
        pa.table({"text": texts, "table": source}),
        target="table",
        teachers=ensemble,
        student=NGram(epochs=15),
        recipe=Recipe(synthetic=0.5, cache=False, encoder=False, time_limit=90),
    )
    model = result.model
    assert model.schema.columns[0].kind == "text"
    together = model.predict_proba({"text": [*texts[:3], "", None, "\N{GRINNING FACE}" * 200_000]})
    assert np.isfinite(together).all()
    for text, answer in zip(
        [texts[0], b"bytes", "", None, 3], [together[0], None, *together[3:5], None], strict=True
    ):
        one = list(model.predict_one({"text": text, "more": 1})["probabilities"].values())
        wanted = model.predict_proba([{"text": text}])[0] if answer is None else answer
        np.testing.assert_allclose(one, wanted, atol=1e-5)
    for wrong in ({"txt": "a"}, {"text": [1, 2]}):
        with pytest.raises(UserError) as alone:
            model.predict_one(wrong)
        with pytest.raises(UserError) as as_table:
            model.predict_proba([wrong])
        assert str(alone.value) == str(as_table.value)
    with pytest.raises(UserError, match="The row is a str; wanted a dict"):
        model.predict_one("a text")
    assert model.verify().n_rows == 8


def test_texts_in_pieces() -> None:
    """A transformer takes ids; its artifact is asked with texts all the same, also with endless ones."""
    texts, source = described()
    result = potstill.distill(
        pa.table({"text": texts, "table": source}),
        target="table",
        teachers=lambda rows: np.full((len(rows), 4), 0.25),
        student=Transformer(width=16, layers=1, epochs=2),
        recipe=Recipe(synthetic=0, cache=False, encoder=False, time_limit=90),
    )
    model = result.model
    inputs = model.session.get_inputs()
    assert [(each.name, each.type) for each in inputs] == [("text", "tensor(int64)")]
    asked = [texts[0], "", "word " * 5_000, "\N{GRINNING FACE} unseen"]
    together = model.predict_proba({"text": asked})
    alone = [list(model.predict_one({"text": text})["probabilities"].values()) for text in asked]
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_several_texts_in_pieces() -> None:
    texts, source = described()
    words = [text.split() for text in texts]
    table = {"title": [" ".join(each[:3]) for each in words], "rest": [" ".join(each[3:]) for each in words]}
    result = potstill.distill(
        pa.table({**table, "table": source}),
        target="table",
        teachers=lambda rows: np.full((len(rows), 4), 0.25),
        student=Transformer(width=16, layers=1, epochs=2),
        recipe=Recipe(
            columns=dict.fromkeys(table, "text"), synthetic=0, cache=False, encoder=False, time_limit=90
        ),
    )
    model = result.model
    assert [each.name for each in model.session.get_inputs()] == ["title rest"]
    asked = {"title": [table["title"][0], "", None], "rest": [table["rest"][0], "word " * 500, "a"]}
    together = model.predict_proba(asked)
    for at, answer in enumerate(together):
        row = {name: values[at] for name, values in asked.items()}
        np.testing.assert_allclose(list(model.predict_one(row)["probabilities"].values()), answer, atol=1e-5)
    assert np.abs(together[0] - model.predict_proba({**asked, "rest": [""] * 3})[0]).max() > 0
    assert model.verify().n_rows == 8


def test_what_is_not_read_is_said() -> None:
    text, price, born = Column("note", "text"), Column("price", "numeric"), Column("born", "date")
    assert describe_left_out(Schema((text, text))) == ()
    assert describe_left_out(Schema((price, born))) == ()
    assert describe_left_out(Schema((text, price, born))) == (
        "Left out the student transformer: it reads text columns alone, and 'price', 'born' are beside them.",
    )
    texts, source = described()
    texts[::80] = [""] * len(texts[::80])
    result = potstill.distill(
        pa.table({"text": texts, "long": list(map(len, texts)), "table": source})[::8],
        target="table",
        teachers=lambda rows: np.full((len(rows), 4), 0.25),
        recipe=Recipe(columns={"text": "text"}, synthetic=0, cache=False, encoder=False, time_limit=5),
    )
    assert any(note.startswith("Left out the student transformer: ") for note in result.notes)
    assert any(note.endswith("are empty.") for note in result.notes)
    assert {one.student.name for one in result.candidates} <= {"static", "ngram"}


def test_students_begin_with_the_encoder_of_a_given_teacher(tmp_path: Path, write_bert: Any) -> None:
    """The twin begins with that which the teacher was fine-tuned from."""
    transformers = pytest.importorskip("transformers")
    texts, source = described()
    words = (*fresh_wordpiece(texts).vocab, "[MASK]")
    shape = BertShape(width=16, layers=2, heads=2, inner=32, pieces=len(words), positions=64)
    base = write_bert(
        tmp_path / "base", shape, initial_bert(shape, torch.Generator().manual_seed(0)), tuple(words)
    )
    torch.manual_seed(1)
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            num_labels=4,
        )
    )
    teacher = tmp_path / "teacher"
    model.save_pretrained(teacher)
    vocab = {piece: at for at, piece in enumerate(words)}
    transformers.BertTokenizer(vocab=vocab, model_max_length=64).save_pretrained(teacher)

    def distilled(encoder: Any) -> potstill.Result:
        return potstill.distill(
            pa.table({"text": texts, "table": source}),
            target="table",
            teachers=[str(teacher)],
            student=Transformer(layers=1, epochs=1, learning_rate=1e-9, weights="float16"),
            recipe=Recipe(synthetic=0, cache=False, encoder=encoder, time_limit=60),
        )

    result = distilled(base)
    student, twin = (next(one for one in result.candidates if one.is_twin == is_twin) for is_twin in (0, 1))
    last = model.bert.encoder.layer[1].attention.output.dense.weight.detach().numpy().T
    np.testing.assert_allclose(student.fitted.weights["mix0"], last, rtol=0.01, atol=0.01)  # type: ignore[attr-defined]
    assert np.abs(twin.fitted.weights["mix0"] - last).max() > 0.01  # type: ignore[attr-defined]
    assert f"Students (transformer) begin with the encoder in {teacher}; their twins do not." in result.notes
    assert result.card.lineage.hyper_parameters["tuned"] == (result.card.shipped == "student")
    # Nothing to begin with is what was asked for here.
    assert all(one.student.tuned is None for one in distilled(False).candidates)  # type: ignore[attr-defined]


def test_students_on_texts_begin_where_a_member_ends(tmp_path: Path, write_bert: Any) -> None:
    """The default ensemble fine-tunes an encoder; students begin with it, twins with the checkpoint."""
    texts, source = described()
    words = fresh_wordpiece(texts).vocab
    shape = BertShape(width=16, layers=2, heads=2, inner=32, pieces=len(words), positions=64)
    weights = initial_bert(shape, torch.Generator().manual_seed(0))
    encoder = write_bert(tmp_path / "tiny", shape, weights, tuple(words))
    result = potstill.distill(
        pa.table({"text": texts, "table": source}),
        target="table",
        student=Transformer(layers=1, epochs=2),
        recipe=Recipe(synthetic=0, cache=False, encoder=encoder, time_limit=30),
    )
    begun = {one.is_twin: one.student for one in result.candidates}
    assert begun[True].tuned is None  # type: ignore[attr-defined]
    assert begun[False].tuned is not None  # type: ignore[attr-defined]
    assert isinstance(result.card.lineage.hyper_parameters["tuned"], bool)


def test_values_for_pictures() -> None:
    """The default ensemble on a regression: fitted once, weighed by the validation rows alone."""
    images, digits = load_digits(n_class=4, return_X_y=True)
    pixels = (images * (255 / 16)).round().astype(np.uint8).reshape(-1, 8, 8, 1)[:300]
    result = potstill.distill(
        (pixels, digits[:300].astype(float)),
        student=ResidualCNN(widths=(8, 16), blocks=(1, 1), learning_rate=0.01, epochs=3, shift=0.0),
        recipe=Recipe(task="regression", synthetic=0.2, cache=False, time_limit=60),
    )
    scores = result.to_dict()
    assert scores["teacher"]["rmse"] < 1.2
    assert result.card.lineage.transfer_rows["real"] < 300
    assert sum(result.card.lineage.members.values()) == pytest.approx(1.0)


def test_a_student_that_cannot_read_the_columns_is_refused() -> None:
    texts, source = described()
    with pytest.raises(
        UserError, match="does not read columns of the kinds text; these do: static, ngram, transformer"
    ):
        potstill.distill(
            pa.table({"text": texts, "table": source}),
            target="table",
            teachers=lambda rows: np.full((len(rows), 4), 0.25),
            student=ResidualCNN(),
            recipe=Recipe(cache=False, encoder=False, synthetic=0),
        )


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Budget(opset=17), "models of texts need 21"),
        (Budget(max_columns=1), "Columns cannot be picked by what they are worth beside 'text'"),
    ],
)
def test_what_texts_cannot_have_is_said_before_any_teacher_is_asked(limits: Budget, said: str) -> None:
    texts, source = described()

    def never(rows: Any) -> Any:
        raise AssertionError("asked")

    with pytest.raises(UserError, match=said):
        potstill.distill(
            pa.table({"text": texts, "length": [len(text) for text in texts], "table": source}),
            target="table",
            teachers=never,
            budget=limits,
            recipe=Recipe(columns={"text": "text"}, cache=False, encoder=False, synthetic=0),
        )


def test_limits_change_the_default_of_the_data() -> None:
    seen = []

    def limits(default: Budget) -> Budget:
        seen.append(default)
        return Budget(max_columns=0)

    with pytest.raises(UserError, match="at least one"):
        potstill.distill((np.eye(4), [0, 1, 0, 1]), budget=limits)
    assert seen == [TABLES.budget]
