"""Texts: the graph's words are the encoder's, whatever the text."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import onnxruntime
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto

from potstill.artifact.model import run
from potstill.artifact.wordpiece import WordPiece
from potstill.graph import GraphBuilder
from potstill.modalities.text import MOST_WORDS, TextEncoder, Words, joined_texts, spellings
from potstill.types import Column, Schema

ODD = (
    *("", "  ", " a  b ", "Hello, World! a.b.c", "Ä ÄRGER ẞ İi K straße STRASSE", "😀!! x\u00a0y\u2003z"),
    *(
        "a\nb\n\nc\td\r\ne\n\n\n\n\nf g",
        "\n",
        "\n\n x",
        " , . !",
        "?,a b",
        "日本語 テキスト。終",
        "\x00a b\x00",
    ),
    *("x" * 100_000, "y " * 5_000, "z" * 50 + "\n" * 50 + "b c"),
)
CUTS = (
    Words(8),
    Words(8, "?.,!"),
    Words(8, ".", "\n\t\r"),
    Words(256, ".,?!", "\n"),
    Words(3, "", "\r\n"),
)
SCHEMA = Schema((Column("text", "text"),))
TOKENIZER = WordPiece(vocab=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "card", "the", "##s"))


def session_of(graph: GraphBuilder, value: str, element_type: int) -> onnxruntime.InferenceSession:
    graph.output(value, "out", element_type, ["n", "width"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(graph.model().SerializeToString(), options)


def cutter(words: Words) -> onnxruntime.InferenceSession:
    graph = GraphBuilder()
    texts = graph.input("texts", TensorProto.STRING, ["n"])
    return session_of(graph, words.build(graph, texts), TensorProto.STRING)


def cut(session: onnxruntime.InferenceSession, texts: list[str]) -> list[list[str]]:
    out: NDArray[Any] = session.run(None, {"texts": np.array(texts, dtype=object)})[0]
    return [list(row) for row in out.tolist()]


def assert_same_words(words: Words, session: onnxruntime.InferenceSession, texts: list[str]) -> None:
    for text, got in zip(texts, cut(session, texts), strict=True):
        expected = words.of(text)
        assert len(expected) <= len(got) <= words.width
        assert got == expected + [""] * (len(got) - len(expected)), text[:100]


@pytest.mark.parametrize("words", CUTS, ids=str)
def test_odd_texts_are_cut_alike(words: Words) -> None:
    session = cutter(words)
    assert_same_words(words, session, list(ODD))
    for text in ODD:
        assert_same_words(words, session, [text])
    assert cut(session, []) == []


SESSIONS = [cutter(words) for words in CUTS]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(alphabet="aB \n\t\r.,?!Ä\u2003😀", max_size=40), min_size=1, max_size=3))
def test_any_texts_are_cut_alike(texts: list[str]) -> None:
    for words, session in zip(CUTS, SESSIONS, strict=True):
        assert_same_words(words, session, texts)


def test_marks_and_separators_are_those_that_the_texts_use() -> None:
    plain = ["where is my card?", "it is lost. please, help!"] * 50
    assert Words.fit(plain) == Words(5, marks=".,?!")
    assert Words.fit(["where is it ?", "it is lost ."] * 50) == Words(4)
    assert Words.fit(["one two\nthree", "four"] * 50) == Words(3, separators="\n")


def test_a_text_is_looked_at_up_to_a_bound() -> None:
    assert Words.fit(["a b " * 5_000, "c"]).width == MOST_WORDS
    assert Words.fit([""]).width == 1


@given(st.text(max_size=8))
def test_spellings_belong_to_one_word(text: str) -> None:
    word = text.lower()
    assert spellings(word)[0] == word
    for other in spellings(word)[1:]:
        assert other.lower() == word != other


def test_ids_are_by_how_often_words_occur() -> None:
    rows = nw.from_native(pl.DataFrame({"text": ["The card. The Card!", "my card", None, "Über mich"]}))
    encoder = TextEncoder.fit(SCHEMA, rows)
    assert encoder.spec.words[:2] == ("card", "the")
    new = nw.from_native(pl.DataFrame({"text": ["the CARD is", "ÜBER über Über", ""]}))
    ids = encoder.encode(new)["words"]
    assert ids.dtype == np.int32
    assert ids[0, :3].tolist() == [3, 2, 1]
    assert len(set(ids[1, :3].tolist())) == 1
    assert ids[1, 0] > 1
    assert not ids[2].any()


def test_what_marks_leave_nothing_of_is_no_word() -> None:
    rows = nw.from_native(pl.DataFrame({"text": ["my card, lost."] * 9 + ["ah ... card"]}))
    ids = TextEncoder.fit(SCHEMA, rows).encode(rows)["words"]
    assert ids[-1, 1] == 0
    assert ids[-1, 2] == ids[0, 1] > 1


def test_words_of_a_pretrained_vocabulary_are_known_too() -> None:
    rows = nw.from_native(pl.DataFrame({"text": ["the card is a CARD"]}))
    pieces = WordPiece(vocab=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "lost", "card", "##ed", "X1", "Xy"))
    known = TextEncoder.fit(SCHEMA, rows, tokenizer=pieces).spec.words
    assert known == ("card", "the", "is", "a", "lost")


def test_more_rows_add_words() -> None:
    rows = nw.from_native(pl.DataFrame({"text": ["a b"]}))
    more = nw.from_native(pl.DataFrame({"text": ["b c"]}))
    assert TextEncoder.fit(SCHEMA, rows, more_rows=more).spec.words == ("b", "a", "c")


def test_several_texts_beside_other_columns() -> None:
    schema = Schema((Column("title", "text"), Column("price", "numeric"), Column("body", "text")))
    frame = pl.DataFrame({"title": ["A b", None], "price": [1.5, None], "body": ["c", "d e f"]})
    rows = nw.from_native(frame)
    assert joined_texts(rows, schema) == ["A b c", " d e f"]
    encoder = TextEncoder.fit(schema, rows, tokenizer=TOKENIZER)
    tensors = encoder.encode(rows)
    assert tensors.keys() == {"words", "pieces", "numeric", "categorical"}
    assert tensors["words"].shape == (2, 3)
    assert encoder.spec.numeric == ("price",)

    graph = GraphBuilder()
    session = session_of(graph, encoder.build(graph)["words"], TensorProto.STRING)
    feeds = {"title": ["A b", ""], "price": [1.5, 0.0], "body": ["c", "d e f"]}
    types = {"price": np.float32}
    words = session.run(None, {name: np.array(v, dtype=types.get(name, object)) for name, v in feeds.items()})
    assert words[0].tolist() == [["a", "b", "c"], ["d", "e", "f"]]


def test_pieces_take_the_place_of_the_text_where_they_are_looked_up() -> None:
    rows = nw.from_native(pl.DataFrame({"text": ["the cards", "card"]}))
    encoder = TextEncoder.fit(SCHEMA, rows, tokenizer=TOKENIZER)
    tensors = encoder.encode(rows)
    assert tensors["pieces"].dtype == np.int32
    assert tensors["pieces"].tolist() == [[2, 5, 4, 6, 3], [2, 4, 3, 0, 0]]
    assert encoder.spec.pieces == TOKENIZER.vocab

    graph = GraphBuilder()
    session = session_of(graph, encoder.build(graph)["pieces"], TensorProto.INT64)
    wanted = session.get_inputs()[0]
    assert (wanted.name, wanted.type, wanted.shape) == ("text", "tensor(int64)", ["n", "pieces"])


def test_the_pieces_of_several_texts_are_one_input() -> None:
    schema = Schema((Column("title", "text"), Column("body", "text")))
    rows = nw.from_native(pl.DataFrame({"title": ["the cards", None], "body": ["card", "the card"]}))
    encoder = TextEncoder.fit(schema, rows, tokenizer=TOKENIZER)
    assert encoder.encode(rows)["pieces"].tolist() == [[2, 5, 4, 6, 4, 3], [2, 5, 4, 3, 0, 0]]
    graph = GraphBuilder()
    session = session_of(graph, encoder.build(graph)["pieces"], TensorProto.INT64)
    assert [each.name for each in session.get_inputs()] == ["title body"]
    feeds = {"title": np.array(["the cards", ""], dtype=object), "body": np.array(["card", "the card"])}
    np.testing.assert_array_equal(run(session, feeds, encoder.tokenizer), encoder.encode(rows)["pieces"])
