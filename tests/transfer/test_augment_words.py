"""Synthetic texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import narwhals as nw
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from potstill.networks.bert import BertShape, initial_bert
from potstill.testing.augmenter import check_augmenter
from potstill.transfer.augment import WordSwaps
from potstill.transfer.augment.encoder_words import alike_words
from potstill.transfer.augment.near_words import near_words
from potstill.types import Column, Dataset, Schema, Task

MAKERS = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
WORDS = [
    word
    for load in (load_breast_cancer, load_diabetes, load_iris, load_wine)
    for word in load().DESCR.split()
    if word.strip("=-.*:|")
]
TEXTS = [" ".join(WORDS[at : at + 9]) for at in range(0, len(WORDS), 9)]
WAYS = {"exchanged": (1.0, 0.0, 0.0), "piece": (0.0, 1.0, 0.0), "joined": (0.0, 0.0, 1.0)}


def dataset_of(frame: Any, **kinds: Any) -> Dataset:
    schema = Schema(tuple(Column(name, kind) for name, kind in kinds.items()))
    return Dataset(nw.from_native(frame, eager_only=True), Task("binary", "y", classes=(0, 1)), schema)


@pytest.mark.parametrize("backend", MAKERS)
def test_contract(backend: str) -> None:
    check_augmenter(WordSwaps(), dataset_of(MAKERS[backend]({"text": TEXTS}), text="text"))


@pytest.mark.parametrize("backend", MAKERS)
def test_contract_beside_other_columns_and_missing_texts(backend: str) -> None:
    columns = {
        "title": [text[:12] if at % 5 else None for at, text in enumerate(TEXTS)],
        "body": TEXTS,
        "price": [float(at) for at in range(len(TEXTS))],
        "kind": ["a" if at % 3 else "b" for at in range(len(TEXTS))],
        "id": list(range(len(TEXTS))),
    }
    dataset = dataset_of(
        MAKERS[backend](columns), title="text", body="text", price="numeric", kind="categorical"
    )
    check_augmenter(WordSwaps(), dataset)
    made, parents = WordSwaps().augment(dataset, 100, seed=0)
    assert made["id"].to_list() == parents.tolist()
    assert made["price"].to_list() == parents.tolist()
    missing = [title is None or title != title for title in made["title"].to_list()]
    assert missing == [parent % 5 == 0 for parent in parents.tolist()]


def test_of_very_many_texts_an_even_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potstill.transfer.augment.words.MOST_LETTERS", sum(map(len, TEXTS)) // 3)
    dataset = dataset_of(pl.DataFrame({"text": TEXTS}), text="text")
    made, parents = WordSwaps(ways=WAYS["piece"]).augment(dataset, 200, seed=0)
    assert len(TEXTS) // 4 - 1 <= len(set(parents.tolist())) <= len(TEXTS) // 3 + 1
    assert max(parents) > len(TEXTS) * 0.9
    for text, parent in zip(made["text"].to_list(), parents.tolist(), strict=True):
        assert f" {text} " in f" {TEXTS[parent]} "
    check_augmenter(WordSwaps(), dataset)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_makes_texts_of_its_own(way: str) -> None:
    dataset = dataset_of(pl.DataFrame({"text": TEXTS}), text="text")
    made, parents = WordSwaps(ways=WAYS[way]).augment(dataset, 300, seed=0)
    assert len(made) > 250
    known = {word.lower().strip(".,?!:;()\"'") for word in WORDS}
    for text, parent in zip(made["text"].to_list(), parents.tolist(), strict=True):
        assert text != TEXTS[parent]
        assert {word.lower().strip(".,?!:;()\"'") for word in text.split()} <= known
        if way == "piece":
            assert f" {text} " in f" {TEXTS[parent]} "
        if way == "joined":
            assert text.split()[0] == TEXTS[parent].split()[0]
        if way == "exchanged":
            assert len(text.split()) <= len(TEXTS[parent].split())


def test_texts_without_words_have_no_children() -> None:
    dataset = dataset_of(pl.DataFrame({"text": ["", None, "   ", "one"]}), text="text")
    made, parents = WordSwaps(ways=(1.0, 1.0, 0.0)).augment(dataset, 50, seed=0)
    assert len(made) == len(parents) == 0


def test_words_between_the_same_words_are_near() -> None:
    texts = [
        f"the {animal} eats {food} now".split()
        for animal in ("cat", "dog", "cow")
        for food in ("hay", "fish")
    ]
    near = near_words(texts * 3, 2)
    assert set(near["cat"]) == {"dog", "cow"}
    assert near["hay"] == ["fish"] or near["hay"][0] == "fish"
    assert near_words([], 3) == {}


def test_with_an_encoder_words_become_what_it_has_for_alike(tmp_path: Path, write_bert: Any) -> None:
    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "kitten", "hay", "straw", "the", "eats", "Hay")
    shape = BertShape(width=16, layers=1, heads=2, inner=32, pieces=len(pieces), positions=8)
    weights = initial_bert(shape, torch.Generator().manual_seed(1))
    weights["word"] = torch.randn(weights["word"].shape, generator=torch.Generator().manual_seed(2))
    for word, alike in (("kitten", "cat"), ("straw", "hay")):
        weights["word"][pieces.index(word)] = weights["word"][pieces.index(alike)]
    checkpoint = write_bert(tmp_path / "encoder", shape, weights, pieces)
    near = alike_words(checkpoint, ["cat", "hay"], 2)
    assert (near["cat"][0], near["hay"][0]) == ("kitten", "straw")
    assert len(near["cat"]) == 2
    assert "Hay" not in {word for words in near.values() for word in words}
    dataset = dataset_of(pl.DataFrame({"text": ["the cat eats hay"] * 4}), text="text")
    made, _ = WordSwaps(ways=(1.0, 0.0, 0.0), near=1, left_out=0.0, checkpoint=checkpoint).augment(
        dataset, 40, seed=0
    )
    assert {"kitten", "straw"} <= {word for text in made["text"].to_list() for word in text.split()}
