"""The Card: what it says, what it hashes, what it tolerates."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from potstill.artifact import Affine, Card, GapRecovered, Lineage, Measured, Softmax, Volatile
from potstill.artifact.card import MAX_CARD_BYTES, decode_card, encode_card
from potstill.errors import ArtifactError, UserError
from potstill.types import Column, DroppedColumn, Latency, Schema, Task

GOLDEN = Path(__file__).parent / "golden" / "card_v1.json"

CARD = Card(
    name="income",
    task=Task("binary", "income", ("<=50K", ">50K")),
    schema=Schema(
        (
            Column("age", "numeric", integer=True, low=17, high=90),
            Column("job", "categorical", levels=("Sales", "café"), has_missing=True),
        ),
        (DroppedColumn("id", "identifier"),),
    ),
    calibration=Softmax(1.25),
    lineage=Lineage(
        members={"lightgbm-1": 0.75, "forest": 0.25},
        student="gbdt",
        hyper_parameters={"leaves": 31, "rate": 0.1, "layers": [64, 32]},
        objective="kl",
        temperature=2.0,
        hard_weight=0.5,
        transfer_rows={"real": 1000, "synthetic": 5000},
        seed=3,
        data_hash="ab" * 32,
        versions={"potstill": "0.1.0", "lightgbm": "4.7.0"},
    ),
    measured=Measured(
        rows="the test file",
        n_rows=500,
        metrics={"student": {"accuracy": 0.87, "roc_auc": None}, "teacher": {"accuracy": 0.875}},
        gap_recovered={"accuracy": GapRecovered(0.8, 0.6, 1.1), "log_loss": GapRecovered()},
    ),
    volatile=Volatile("2024-05-31T12:00:00Z", {"student": Latency(31.5, 60.25)}, {"student": 123456}),
    graph_hash="cd" * 32,
    potstill_version="0.1.0",
)


def test_a_card_comes_back_as_it_was_written():
    assert decode_card(encode_card(CARD), source="the file") == CARD


def test_golden_card_is_still_written_and_read():
    golden = GOLDEN.read_text(encoding="utf-8").strip()
    assert json.loads(encode_card(CARD)) == json.loads(golden)
    assert encode_card(CARD) == golden
    assert decode_card(golden, source="the file") == CARD
    assert CARD.content_hash == "246dc139d64fcc6fbb90ee5d4687a2fb71d7d776ddea55db0b9386dd3e497be4"


@pytest.mark.parametrize("calibration", [Softmax(0.5), Affine(12.5, -3.0)])
def test_each_calibration_comes_back(calibration):
    card = msgspec.structs.replace(CARD, calibration=calibration)
    assert decode_card(encode_card(card), source="the file").calibration == calibration


@pytest.mark.parametrize("classes", [("a", "b"), (0, 1), (False, True)])
def test_labels_keep_their_type(classes):
    card = msgspec.structs.replace(CARD, task=Task("binary", "y", classes))
    back = decode_card(encode_card(card), source="the file").task.classes
    assert back == classes
    assert [type(label) for label in back] == [type(label) for label in classes]


def test_undefined_figures_are_none_after_the_round_trip():
    card = msgspec.structs.replace(CARD, measured=Measured(metrics={"student": {"r2": float("nan")}}))
    assert decode_card(encode_card(card), source="the file").measured.metrics == {"student": {"r2": None}}


def test_fields_of_later_versions_are_ignored():
    later = json.loads(encode_card(CARD)) | {"carbon": {"grams": 3}}
    later["lineage"]["mood"] = "good"
    assert decode_card(json.dumps(later), source="the file") == CARD


def test_content_hash_leaves_out_only_what_a_clock_or_scale_says():
    other_run = msgspec.structs.replace(CARD, volatile=Volatile("2025-01-01T00:00:00Z", {}, {"student": 1}))
    assert other_run.content_hash == CARD.content_hash
    assert decode_card(encode_card(CARD), source="the file").content_hash == CARD.content_hash
    for change in ({"graph_hash": "00"}, {"shipped": "twin"}, {"calibration": Softmax(1.5)}, {"name": "x"}):
        assert msgspec.structs.replace(CARD, **change).content_hash != CARD.content_hash


def test_a_newer_format_is_refused():
    newer = json.dumps({"format_version": 2, "everything": "changed"})
    with pytest.raises(ArtifactError) as error:
        decode_card(newer, source="new.onnx")
    assert str(error.value) == (
        "new.onnx has artifact format 2; this potstill reads formats up to 1.\n\n"
        "hint: Upgrade: pip install --upgrade potstill."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Input data was truncated"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "Object missing required field `name`"),
    ],
)
def test_what_is_no_card_is_refused(text, reason):
    with pytest.raises(ArtifactError) as error:
        decode_card(text, source="odd.onnx")
    assert str(error.value) == f"The card in odd.onnx cannot be read: {reason}."


def test_a_card_of_unreasonable_size_is_neither_written_nor_read():
    levels = tuple(f"{index:040}" for index in range(100_000))
    card = msgspec.structs.replace(CARD, schema=Schema((Column("id", "categorical", levels=levels),)))
    with pytest.raises(
        UserError, match=r"^The card of 'income' is 4,30\d,\d+ bytes; at most 4,000,000 are written."
    ):
        encode_card(card)
    with pytest.raises(ArtifactError) as error:
        decode_card(" " * (MAX_CARD_BYTES + 1), source="huge.onnx")
    assert str(error.value) == "The card in huge.onnx is longer than 4,000,000 bytes."


def test_the_generation_is_written_where_there_is_one():
    lineage = msgspec.structs.replace(CARD.lineage, generation=2)
    later = msgspec.structs.replace(CARD, lineage=lineage)
    assert decode_card(encode_card(later), source="the file").lineage.generation == 2
    assert "generation" not in json.loads(encode_card(CARD))["lineage"]
