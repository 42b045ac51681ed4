"""Files with more rows than memory should hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as pafeather
import pyarrow.parquet as pq
import pytest

from potstill.errors import UserError
from potstill.transfer import collect_file
from potstill.types import Column, Dataset, Floats, Schema, Task

TASK = Task("regression", "y")
SCHEMA = Schema((Column("x", "numeric"),))


@dataclass
class Doubles:
    name: str = "double"
    fingerprint: str = "double"
    asked: list[int] = field(default_factory=list)

    def predict(self, dataset: Dataset) -> Floats:
        self.asked.append(len(dataset))
        return 2 * dataset.rows["x"].to_numpy().astype(np.float32)[:, None]


def load(table: pa.Table, first_row: int) -> Dataset:
    assert table["x"][0].as_py() == first_row
    return Dataset(nw.from_native(table, eager_only=True), TASK, SCHEMA)


def write_source(path: Path, n: int = 25) -> None:
    table = pa.table({"x": np.arange(n, dtype=float)})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=7)
    elif path.suffix == ".csv":
        pacsv.write_csv(table, path)
    else:
        pafeather.write_feather(table, path, chunksize=7)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.feather"])
def test_batches_of_one_size_whatever_the_file(tmp_path: Path, name: str) -> None:
    write_source(tmp_path / name)
    teacher = Doubles()
    collected = collect_file(
        [teacher, Doubles()], tmp_path / name, load_batch=load, out=tmp_path / "out", batch_rows=10
    )
    assert teacher.asked == [10, 10, 5]
    assert collected.members == ("double", "double (2)")
    assert (collected.rows, collected.computed) == (25, 3)
    answers = np.concatenate(list(collected.batches()), axis=1)
    assert answers.shape == (2, 25, 1)
    assert np.array_equal(answers[1, :, 0], 2 * np.arange(25))
    table = pq.read_table(collected.files[1])
    assert table["row"].to_pylist() == list(range(10, 20))


def test_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for part in range(3):
        x = np.arange(part * 4, part * 4 + 4, dtype=float)
        pq.write_table(pa.table({"x": x}), tmp_path / "rows" / f"{part}.parquet")
    collected = collect_file(
        [Doubles()], tmp_path / "rows", load_batch=load, out=tmp_path / "out", batch_rows=5
    )
    assert np.concatenate(list(collected.batches()), axis=1)[0, :, 0].tolist() == [2.0 * i for i in range(12)]


def test_only_changed_batches_are_asked_again(tmp_path: Path) -> None:
    source, out = tmp_path / "rows.parquet", tmp_path / "out"
    write_source(source, 25)
    collect_file([Doubles()], source, load_batch=load, out=out, batch_rows=10)
    write_source(source, 28)
    teacher = Doubles()
    collected = collect_file([teacher], source, load_batch=load, out=out, batch_rows=10)
    assert teacher.asked == [8]
    assert (collected.rows, collected.computed) == (28, 1)


def test_folder_that_holds_other_answers(tmp_path: Path) -> None:
    source, out = tmp_path / "rows.parquet", tmp_path / "out"
    write_source(source)
    collect_file([Doubles()], source, load_batch=load, out=out)
    with pytest.raises(UserError) as raised:
        collect_file([Doubles("triple", "triple")], source, load_batch=load, out=out)
    assert raised.value.message == (
        f"Wanted a folder for the answers of triple; {out} already holds the answers of double."
    )


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        collect_file([Doubles()], tmp_path / "rows.xlsx", load_batch=load, out=tmp_path / "out")
    assert raised.value.message == (
        "Wanted a file that ends in one of .parquet, .arrow, .feather, .ipc, .csv, got rows.xlsx."
    )
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"Wanted to read .*broken\.parquet as parquet, and could not: "):
        collect_file([Doubles()], tmp_path / "broken.parquet", load_batch=load, out=tmp_path / "out")
    write_source(tmp_path / "empty.parquet", 0)
    with pytest.raises(UserError) as raised:
        collect_file([Doubles()], tmp_path / "empty.parquet", load_batch=load, out=tmp_path / "out")
    assert raised.value.message == (
        f"Wanted rows to ask the teachers about, got none in {tmp_path}/empty.parquet."
    )
