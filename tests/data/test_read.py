"""Reading: every kind of source gives the same rows, and what cannot be read is said in a sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from potstill.data import read_rows
from potstill.data.columns import arrow_column
from potstill.errors import UserError

TABLE = pa.table({"age": [31, None, 52], "job": ["cook", "None", None]})
CSV = b'age,job\n31,cook\n,None\n52,"NA"\n'


def message_of(source: object) -> str:
    with pytest.raises(UserError) as caught:
        read_rows(source)
    return str(caught.value)


def _write(path: Path) -> Path:
    writers = {
        ".csv": lambda: path.write_bytes(CSV),
        ".gz": lambda: path.write_bytes(gzip.compress(CSV)),
        ".tsv": lambda: path.write_bytes(CSV.replace(b",", b"\t")),
        ".parquet": lambda: pyarrow.parquet.write_table(TABLE, path),
    }
    writers.get(path.suffix, lambda: pyarrow.feather.write_feather(TABLE, path, compression="uncompressed"))()
    return path


@pytest.mark.parametrize(
    "name", ["t.csv", "T.CSV", "t.csv.gz", "t.tsv", "t.parquet", "t.arrow", "t.feather", "t.ipc"]
)
def test_every_file_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    if name == "T.CSV":
        (tmp_path / name).write_bytes(CSV)
        rows = read_rows(str(tmp_path / name))
    else:
        rows = read_rows(_write(tmp_path / name))
    assert rows.to_dict(as_series=False) == {"age": [31, None, 52], "job": ["cook", "None", None]}


@pytest.mark.parametrize(
    "frame",
    [TABLE, TABLE.to_batches()[0], TABLE.to_pandas(), pl.from_arrow(TABLE), pl.from_arrow(TABLE).lazy()],
    ids=["table", "batch", "pandas", "polars", "lazy"],
)
def test_frames_are_taken_as_they_are(frame: object) -> None:
    rows = read_rows(frame)
    assert rows.columns == ["age", "job"]
    assert len(rows) == 3


def test_polars_stays_polars() -> None:
    assert isinstance(read_rows(pl.DataFrame({"a": [1]})).to_native(), pl.DataFrame)


def test_array_columns_are_numbered_and_keep_their_values() -> None:
    rows = read_rows(np.array([[1.5, np.nan], [2.0, 3.0]]))
    assert rows.columns == ["x0", "x1"]
    np.testing.assert_array_equal(rows["x1"].to_numpy(), [np.nan, 3.0])


def test_names_that_are_no_texts_become_texts() -> None:
    frame = pd.DataFrame([[1, 2]], columns=[0, ""])
    assert read_rows(frame).columns == ["0", "unnamed_1"]
    assert list(frame.columns) == [0, ""]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f'"a, b"{delimiter}c{delimiter}d\n1{delimiter}2{delimiter}3\n')
    assert read_rows(path).to_dict(as_series=False) == {"a, b": [1], "c": [2], "d": [3]}


def test_a_late_text_makes_the_whole_column_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "1\n" * 1000 + "x\n")
    assert read_rows(path)["a"].to_list() == ["1"] * 1000 + ["x"]


def test_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "no.csv"
    assert message_of(path) == f"There is no file {path}.\n\nhint: the working directory is {Path.cwd()}."


def test_unknown_extension(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    path.write_bytes(b"PK")
    assert message_of(path) == (
        f"The extension of {path} is not one that can be read; these are: "
        ".csv, .tsv, .parquet, .arrow, .feather, .ipc.\n\n"
        "hint: convert the file, or read it yourself and pass the data frame."
    )


def test_directory(tmp_path: Path) -> None:
    assert message_of(tmp_path) == (
        f"Wanted a folder with one folder of pictures for each class, got {tmp_path}, which has none of "
        "these.\n\nhint: a picture of class cat belongs to DIRECTORY/cat/anything.png."
    )


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.arrow"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    assert message_of(path) == f"The file {path} is empty (0 bytes).\n\nhint: was it written to the end?"


def test_header_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n")
    assert message_of(path) == (
        f"Wanted at least one row, but there is none in the file {path}.\n\n"
        "hint: check that the file was written to the end and is the one you meant."
    )


def test_duplicate_names_in_a_file_and_in_frames(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,a\n1,2,3\n")
    hint = "\n\nhint: rename or remove the duplicates."
    said = "Wanted columns with different names, but {} has more than one called 'a'."
    assert message_of(path) == said.format(f"the file {path}") + hint
    assert message_of(pd.DataFrame([[1, 2]], columns=["a", "a"])) == said.format("the rows") + hint
    assert message_of(pa.table([[1], [2]], names=["a", "a"])) == said.format("the rows") + hint


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.csv.gz"])
def test_a_corrupt_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"this is not what it says it is, at all")
    said = message_of(path)
    kind = name.split(".")[1]
    assert said.startswith(f"The file {path} cannot be read as {kind}: ")
    assert said.endswith("\n\nhint: check that it is whole and has the extension of what it is.")


def test_a_ragged_csv_is_named_with_the_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3\n")
    said = f"The file {path} cannot be read as csv: CSV parse error: "
    assert message_of(path).startswith(said)
    assert "Expected 2 columns, got 1: 3." in message_of(path)


def test_a_row_longer_than_a_block_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potstill.data.read._BLOCK_BYTES", 1 << 20)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3," + "x" * (3 << 20) + "\n")
    assert message_of(path) == (
        f"A row of the file {path} is longer than 1 MB.\n\n"
        "hint: look for a quotation mark that is never closed; rows meant to be that long can be read from "
        "Parquet."
    )


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("name,b\nJosé,1\n".encode("latin1"))
    assert message_of(path) == (
        f"Wanted text in UTF-8, but column 'name' of the file {path} has other bytes.\n\n"
        "hint: convert it first: iconv -f latin1 -t utf-8 t.csv > converted.csv"
    )


def test_files_of_any_length_together_fit_in_one_array() -> None:
    files = pa.chunked_array([[b"one", None], [b"two"]], pa.binary())
    rows = nw.from_native(pa.table({"photo": files}), eager_only=True)
    column = arrow_column(rows, "photo")
    assert column.type == pa.large_binary(), "offsets of 32 bits end at 2 GB"
    assert column.to_pylist() == [b"one", None, b"two"]


def test_sources_that_are_no_rows() -> None:
    assert message_of(3) == (
        "Wanted a path, a data frame or a 2-d array, got int.\n\n"
        "hint: pass a file, a pandas, polars or Arrow table, or (X, y) arrays."
    )
    assert message_of(np.zeros(3)) == (
        "Wanted a 2-d array (rows, columns), got one of shape (3,).\n\n"
        "hint: use array.reshape(-1, 1) for a single column, array.reshape(1, -1) for a single row."
    )
