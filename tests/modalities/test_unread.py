"""What of texts is not read is said, where it is worth telling."""

from __future__ import annotations

from potstill.artifact.wordpiece import WordPiece
from potstill.modalities.unread import describe_unread

TOKENIZER = WordPiece(vocab=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "card", "the", "c", "##s"), max_pieces=8)


def test_ordinary_texts_are_nothing_to_tell_of() -> None:
    texts = ["the card"] * 99
    assert describe_unread(texts, TOKENIZER, pretrained=True) == ()
    assert describe_unread([*texts, ""], TOKENIZER, pretrained=True) == ()


def test_empty_long_and_strange_texts_are_counted() -> None:
    texts = ["the card"] * 90 + ["", " \n"] + ["the " * 6] * 3 + ["the " * 7] * 2 + ["card " * 300] * 2
    texts += ["cs unknown the", "cs unknown the card"]
    assert describe_unread(texts, TOKENIZER, pretrained=True) == (
        "2 of 101 training texts (2%) are empty.",
        "2 of 101 training texts (2%) have more than 256 words; no more are read.",
        "4 of 101 training texts (4%) have more than 8 word pieces; transformers read no more.",
    )
    strange = [*texts, "das unbekannte"]
    assert describe_unread(strange, TOKENIZER, pretrained=True)[3] == (
        "2 of 102 training texts (2%) are mostly words that the encoder does not know whole; is it for their "
        "language?"
    )
    assert len(describe_unread(strange, TOKENIZER, pretrained=False)) == 3


def test_scripts_without_blanks_are_told_of() -> None:
    texts = ["the card"] * 50 + ["\N{CJK UNIFIED IDEOGRAPH-4F60}" * 30] * 2
    assert describe_unread(texts, TOKENIZER, pretrained=False)[-1] == (
        "2 of 52 training texts (4%) have hardly a blank between words, so only transformers read them."
    )
