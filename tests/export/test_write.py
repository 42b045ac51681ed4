"""An artifact is written wholly or not at all."""

from __future__ import annotations

import os

import msgspec
import pytest

from potstill.artifact import Softmax, Volatile, load
from potstill.export import artifact_bytes, compose, write_artifact
from potstill.types import Latency


@pytest.fixture
def model(encoder, card, make_student):
    return compose(encoder, make_student(), Softmax(2.0), task=card.task)


def test_what_is_written_can_be_loaded_and_verified(model, card, real_rows, tmp_path):
    path = tmp_path / "steps.onnx"
    data = write_artifact(model, card, real_rows, path)
    assert path.read_bytes() == data
    loaded = load(path, verify=True)
    assert loaded.card.volatile.size_bytes == {"student": len(data)}
    assert loaded.card.potstill_version
    assert loaded.schema == card.schema
    assert [entry.name for entry in tmp_path.iterdir()] == ["steps.onnx"]
    assert oct(path.stat().st_mode & 0o777) == oct(0o666 & ~current_umask())


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_same_run_gives_the_same_bytes_and_another_clock_the_same_content(model, card, real_rows):
    data = artifact_bytes(model, card, real_rows)
    assert artifact_bytes(model, card, real_rows) == data
    timed = msgspec.structs.replace(card, volatile=Volatile("2024-05-31", {"student": Latency(12.5, 100.0)}))
    other = artifact_bytes(model, timed, real_rows)
    assert other != data
    assert load(other).card.content_hash == load(data).card.content_hash
    assert load(other).card.volatile.size_bytes["student"] == len(other)


def test_the_size_of_a_twin_is_booked_as_the_twins(model, card, real_rows):
    shipped = msgspec.structs.replace(card, shipped="twin", volatile=Volatile(size_bytes={"student": 5}))
    data = artifact_bytes(model, shipped, real_rows)
    assert load(data).card.volatile.size_bytes == {"student": 5, "twin": len(data)}


def test_rows_with_infinities_are_not_made_probes(model, card, real_rows):
    import narwhals as nw

    endless = real_rows.with_columns(value=nw.lit(float("inf")))
    assert load(artifact_bytes(model, card, endless), verify=True).verify().n_rows == 4
