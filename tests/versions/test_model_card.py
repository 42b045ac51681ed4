"""The folder for a hub: the same model, and a card whose metadata reads back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from potstill.artifact import load
from potstill.errors import ArtifactError, UserError
from potstill.versions import save_model_folder


def test_the_folder_holds_the_model_and_what_is_known_of_it(make, tmp_path: Path) -> None:
    path, folder = make(), tmp_path / "hub"
    assert [each.name for each in save_model_folder(path, folder)] == ["model.onnx", "card.json", "README.md"]
    assert (folder / "model.onnx").read_bytes() == path.read_bytes()
    card = msgspec.json.decode((folder / "card.json").read_bytes(), type=type(load(path).card))
    assert card.content_hash == load(path).card.content_hash
    _, head, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    found = {
        key: msgspec.json.decode(value) for key, value in (line.split(": ", 1) for line in head.splitlines())
    }
    assert found["pipeline_tag"] == "tabular-classification"
    metrics = found["model-index"][0]["results"][0]["metrics"]
    assert metrics == [{"type": "log_loss", "name": "log-loss", "value": 0.3}]
    for line in (
        "| log-loss | 0.3 | 0.1 |",
        "| ROC AUC | – | – |",
        "| age | numeric |",
        "| job | categorical |",
    ):
        assert line in body.splitlines()


def test_names_cannot_break_out_of_the_card(make, remade, tmp_path: Path) -> None:
    path = make()
    name = "a | b\n---\n<script>`x`"
    path.write_bytes(remade(path.read_bytes(), lambda card: msgspec.structs.replace(card, name=name)))
    save_model_folder(path, tmp_path / "hub")
    text = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert text.splitlines().count("---") == 2
    assert "<script>" not in text.split("---\n", 2)[2]


def test_a_folder_with_something_in_it_and_a_changed_file_are_refused(make, tmp_path: Path) -> None:
    path = make()
    with pytest.raises(UserError, match="is not empty"):
        save_model_folder(path, tmp_path)
    with pytest.raises(UserError, match="cannot be made"):
        save_model_folder(path, tmp_path / "no" / "hub")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        save_model_folder(path, tmp_path / "hub")
    assert not (tmp_path / "hub").exists()
