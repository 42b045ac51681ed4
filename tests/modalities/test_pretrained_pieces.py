"""The word pieces of a pretrained encoder's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.artifact.wordpiece import WordPiece
from potstill.errors import UserError
from potstill.modalities.pretrained_pieces import fresh_wordpiece, narrowed, wordpiece_of

PIECES = ("[unused0]", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##a", "b", "##b", "the", "ab", "##ab", "bab")


def write_tokenizer(folder: Path, **normalizer: Any) -> None:
    said = {"type": "BertNormalizer", "lowercase": True, "strip_accents": None, **normalizer}
    model = {"type": "WordPiece", "vocab": {piece: at for at, piece in enumerate(PIECES)}}
    (folder / "tokenizer.json").write_text(json.dumps({"normalizer": said, "model": model}))


def test_either_file_gives_the_same_with_the_filling_first(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    plain = wordpiece_of(tmp_path)
    write_tokenizer(tmp_path)
    assert wordpiece_of(tmp_path) == plain
    assert plain.vocab[:3] == ("[PAD]", "[unused0]", "[UNK]")
    assert sorted(plain.vocab) == sorted(PIECES)
    assert plain.lower


def test_letters_are_kept_as_the_folder_says(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert not wordpiece_of(str(tmp_path), max_pieces=9).lower
    write_tokenizer(tmp_path, lowercase=False)
    assert not wordpiece_of(tmp_path).lower


def test_other_tokenizers_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no tokenizer: wanted a file tokenizer\.json or vocab\.txt\."):
        wordpiece_of(tmp_path)
    write_tokenizer(tmp_path, type="NFC")
    with pytest.raises(UserError, match=r"is WordPiece after NFC: wanted WordPiece after BertNormalizer\."):
        wordpiece_of(tmp_path)
    write_tokenizer(tmp_path, strip_accents=False)
    with pytest.raises(UserError, match=r"lowers letters but keeps accents: wanted both or neither\."):
        wordpiece_of(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        wordpiece_of(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
    with pytest.raises(UserError, match=r"lacks \[CLS\], \[SEP\]: wanted one of word pieces\."):
        wordpiece_of(tmp_path)


def test_a_narrowed_vocabulary_writes_its_texts_as_before(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    whole = wordpiece_of(tmp_path)
    texts = ["the ab", "bab"]
    small = narrowed(whole, texts)
    assert small.vocab == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##a", "b", "##b", "the", "ab", "bab")
    assert pieces(small, texts) == pieces(whole, texts)
    assert pieces(whole, ["abab"]) == [["[CLS]", "ab", "##ab", "[SEP]"]]
    assert pieces(small, ["abab"]) == [["[CLS]", "ab", "##a", "##b", "[SEP]"]]
    assert "the" in narrowed(whole, [], most_frequent=5).vocab
    assert "the" not in narrowed(whole, [], most_frequent=4).vocab


def pieces(wordpiece: WordPiece, texts: list[str]) -> list[list[str]]:
    return [[wordpiece.vocab[at] for at in row if at] for row in wordpiece.ids(texts)]


def test_a_fresh_vocabulary_spells_every_word_of_its_texts() -> None:
    texts = ["Running and jumping, running and singing!", "sing and jump", "über 中文"]
    fresh = fresh_wordpiece(texts, most=2)
    assert fresh.vocab[:4] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    assert {"and", "running"} <= set(fresh.vocab)
    assert "##ing" not in fresh_wordpiece([]).vocab
    unknown = fresh.vocab.index("[UNK]")
    assert not (fresh.ids(texts) == unknown).any()
    assert fresh.ids(["xylophone"])[0].tolist() == [2, unknown, 3]
    assert fresh_wordpiece(texts[::-1], most=2) == fresh
