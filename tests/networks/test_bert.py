"""Encoders of BERT's kind: in folders and at work, against the library that made the format up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from potstill.errors import UserError
from potstill.modalities.vocabulary import Vocabulary, read_vocabulary
from potstill.networks.bert import (
    POOLED,
    BertShape,
    Dropout,
    Weights,
    encoded,
    initial_bert,
    pooled,
    rows_for,
    some_layers,
    spread_layers,
)
from potstill.networks.bert_folder import read_bert, read_weights, write_weights
from potstill.networks.fine_tuning import Course, answers, fine_tuning, lengths_of

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", *(f"##{letter}" for letter in "abcdefgh"))
SHAPE = BertShape(width=16, layers=3, heads=2, inner=32, pieces=len(PIECES), positions=24)
IDS = np.array([[2, 5, 13, 3, 0, 0], [2, 3, 0, 0, 0, 0], [2, 4, 4, 9, 18, 3]])


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Larger than before training, so that every part counts."""
    made = initial_bert(SHAPE, torch.Generator().manual_seed(1))
    return {name: weight * 8 if weight.dim() == 2 else weight + 0.1 for name, weight in made.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, weights: Weights, write_bert: Any) -> Path:
    return Path(write_bert(tmp_path_factory.mktemp("encoder") / "whole", SHAPE, weights, PIECES))


def test_it_computes_what_transformers_does(folder: Path, weights: Weights) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    ids = torch.from_numpy(IDS)
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=(ids != 0).long(), output_hidden_states=True)
        got = encoded(weights, SHAPE, ids).states
    assert len(got) == len(wanted.hidden_states) == 4
    for ours, theirs in zip(got, wanted.hidden_states, strict=True):
        torch.testing.assert_close(ours[ids != 0], theirs[ids != 0], rtol=1e-5, atol=1e-5)


def test_a_folder_is_read(folder: Path, weights: Weights, tmp_path: Path) -> None:
    shape, again = read_bert(folder)
    assert shape == SHAPE
    assert again.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(again[name], weight, rtol=0, atol=0)
    assert read_vocabulary(folder) == Vocabulary(PIECES, lower=True)
    # Weights alone, as students are given them: without a head, in half the bytes.
    write_weights(tmp_path / "kept", {**again, "logit_weight": torch.ones(16, 2)})
    kept = read_weights(tmp_path / "kept")
    assert kept.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(kept[name], weight, rtol=1e-3, atol=1e-3)


def test_folders_of_another_kind_are_refused_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json: wanted the folder of an encoder\."):
        read_bert(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    config = json.loads((folder / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))
    with pytest.raises(UserError, match=r"is roberta with gelu and absolute positions: wanted bert"):
        read_bert(broken)
    (broken / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(UserError, match=r"lacks weights of the encoder: 'encoder\.layer\.3\."):
        read_bert(broken)
    (broken / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        read_bert(broken)
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors: wanted one file of weights\."):
        read_bert(broken)


def test_rows_follow_the_pieces(weights: Weights) -> None:
    rows = rows_for(weights["word"], PIECES, ("c", "[PAD]", "new"))
    torch.testing.assert_close(rows, weights["word"][[6, 0, 1]])


def test_layers_are_kept_spread_and_in_order(weights: Weights) -> None:
    assert spread_layers(3, 6) == (1, 3, 5)
    assert spread_layers(2, 6) == (2, 5)
    assert spread_layers(6, 6) == (0, 1, 2, 3, 4, 5)
    fewer = some_layers(weights, (2, 0))
    torch.testing.assert_close(fewer["mix0"], weights["mix2"])
    torch.testing.assert_close(fewer["narrow_shift1"], weights["narrow_shift0"])
    assert "mix2" not in fewer
    assert set(fewer) < set(weights)


def test_a_text_is_answered_alike_however_it_is_filled_up(weights: Weights) -> None:
    for pooling in ("mean", "first"):
        together = answers(weights, SHAPE, IDS, pooling)
        wider = answers(weights, SHAPE, np.pad(IDS, ((0, 0), (0, 4))), pooling)
        alone = [answers(weights, SHAPE, IDS[[row]], pooling)[0] for row in range(3)]
        np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)
        np.testing.assert_allclose(together, wider, atol=1e-5)
    assert answers(weights, SHAPE, IDS[:0], "mean").shape == (0, 16)
    assert lengths_of(np.array([[2, 0, 3, 0], [0, 0, 0, 0]])).tolist() == [3, 1]


def test_the_mean_leaves_out_what_fills_up() -> None:
    hidden = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert pooled(hidden, torch.tensor([[5, 6, 0]]), "mean").item() == 2.0
    assert pooled(hidden, torch.tensor([[0, 0, 0]]), "mean").item() == 0.0
    assert pooled(hidden, torch.tensor([[5, 6, 0]]), "first").item() == 1.0


def test_dropout_keeps_the_mean_and_follows_its_seed() -> None:
    ones = torch.ones(100_000)
    dropped = Dropout(0.25, seed=1)(ones)
    assert sorted(set(dropped.tolist())) == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(dropped, Dropout(0.25, seed=1)(ones))
    assert Dropout(0.0, seed=1)(ones) is ones
    # Every call leaves out others, and what is larger than the pool of masks is masked too.
    again = Dropout(0.25, seed=1)
    assert not torch.equal(again(ones), again(ones))
    assert Dropout(0.5, seed=1)(torch.ones(POOLED + 1)).mean().item() == pytest.approx(1, abs=0.01)


def with_fresh_head(weights: Weights) -> Weights:
    fresh = {name: weight.clone() for name, weight in weights.items()}
    return {**fresh, "logit_weight": torch.zeros(16, 2), "logit_bias": torch.zeros(2)}


def task() -> tuple[np.ndarray, torch.Tensor]:
    """Texts of up to twenty pieces; which of two occurs decides the class."""
    rng = np.random.default_rng(0)
    pieces = rng.integers(6, len(PIECES), (160, 20))
    pieces[np.arange(20) >= rng.integers(4, 21, 160)[:, None]] = 0
    labels = rng.integers(0, 2, 160)
    pieces[:, 0], pieces[:, 2] = 2, 4 + labels
    return pieces, torch.from_numpy(labels)


def test_fine_tuning_learns_the_same_with_the_same_seed(weights: Weights) -> None:
    pieces, labels = task()

    def loss(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits, labels[rows])

    course = Course(epochs=8, batch_size=16, learning_rate=3e-3, head_rate=1e-2)
    runs = []
    for seed in (3, 3, 4):
        trained = with_fresh_head(weights)
        shares = list(fine_tuning(trained, SHAPE, pieces, loss, course=course, seed=seed))
        assert shares == pytest.approx(np.arange(1, 9) / 8)
        runs.append(answers(trained, SHAPE, pieces, "mean"))
    assert (runs[0].argmax(axis=1) == labels.numpy()).mean() > 0.95
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_frozen_layers_stay_as_they_are(weights: Weights) -> None:
    pieces, labels = task()
    trained = with_fresh_head(weights)
    course = Course(epochs=1, frozen=2)
    for _ in fine_tuning(
        trained,
        SHAPE,
        pieces,
        lambda logits, rows: torch.nn.functional.cross_entropy(logits, labels[rows]),
        course=course,
        seed=0,
    ):
        pass
    moved = {name for name, weight in weights.items() if not torch.equal(trained[name], weight)}
    assert moved == {name for name in weights if name.endswith("2")}


def test_the_clock_ends_training(weights: Weights) -> None:
    pieces, labels = task()
    shares = list(
        fine_tuning(
            with_fresh_head(weights),
            SHAPE,
            pieces,
            lambda logits, rows: torch.nn.functional.cross_entropy(logits, labels[rows]),
            course=Course(epochs=100_000, time_limit_s=0.3),
            seed=0,
        )
    )
    assert 1 <= len(shares) < 1000
    assert shares[-1] == 1.0
