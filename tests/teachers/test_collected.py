from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from potstill.errors import UserError
from potstill.teachers import SoftTargetTable, adopt
from potstill.transfer import collect_file
from potstill.types import Dataset, Floats, Task


class Constant:
    """Answers every row alike."""

    def __init__(self, name: str, *probs: float) -> None:
        self.name = self.fingerprint = name
        self.probs = probs

    def predict(self, dataset: Dataset) -> Floats:
        return np.tile(np.array(self.probs, np.float32), (len(dataset), 1))


@pytest.fixture
def folder(wine: Dataset, tmp_path: Path) -> Path:
    wine.rows.to_pandas().to_parquet(tmp_path / "rows.parquet")
    collect_file(
        [Constant("a", 0.2, 0.3, 0.5), Constant("b", 0.4, 0.5, 0.1)],
        tmp_path / "rows.parquet",
        load_batch=lambda table, first: wine.take(np.arange(first, first + len(table))),
        out=tmp_path / "answers",
        batch_rows=50,
    )
    return tmp_path / "answers"


def test_teachers_of_a_folder_are_averaged(wine: Dataset, folder: Path) -> None:
    teacher = adopt(SoftTargetTable(str(folder)), task=wine.task)
    assert teacher.name == "answers"
    assert np.allclose(teacher.predict(wine), [[0.3, 0.4, 0.3]] * len(wine), atol=1e-6)


def test_shards_of_a_longer_file_are_forgotten(wine: Dataset, folder: Path) -> None:
    wine.rows.to_pandas()[:60].to_parquet(folder.parent / "rows.parquet")
    collect_file(
        [Constant("a", 0.2, 0.3, 0.5), Constant("b", 0.4, 0.5, 0.1)],
        folder.parent / "rows.parquet",
        load_batch=lambda table, first: wine.take(np.arange(first, first + len(table))),
        out=folder,
        batch_rows=50,
    )
    assert sorted(path.name for path in folder.glob("shard-*")) == [
        "shard-000000.parquet",
        "shard-000001.parquet",
    ]
    adopt(SoftTargetTable(str(folder)), task=wine.task).predict(wine.take(np.arange(60)))


def test_folders_that_hold_something_else(wine: Dataset, folder: Path) -> None:
    def said(path: Path, task: Task = wine.task) -> str:
        with pytest.raises(UserError) as raised:
            adopt(SoftTargetTable(str(path)), task=task)
        return str(raised.value)

    assert said(folder.parent) == (
        f"The folder {folder.parent} holds no collected answers.\n\n"
        "hint: Name a file with a table, or a folder that `potstill collect` wrote."
    )
    assert said(folder, Task("regression", "y")) == (
        f"The answers in {folder} are for the classes {', '.join(wine.task.classes)}: wanted a quantity.\n\n"
        "hint: Collect them with the same training data and target."
    )
    (folder / "shard-000001.parquet").rename(folder / "elsewhere")
    assert said(folder).startswith(f"The answers in {folder} cannot be read: ")
    assert said(folder).endswith("hint: Delete the folder and collect them again.")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
    assert said(folder) == (
        f"The answers in {folder} are not complete.\n\nhint: Run `potstill collect` again: it goes on."
    )
