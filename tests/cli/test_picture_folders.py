"""Folders of pictures, answered and scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from potstill.artifact.pictures import png_bytes


def damaged() -> bytes:
    """The first megabyte of a larger file."""
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3)).astype(np.uint8)
    return png_bytes(noise)[:1_000_000]


def test_predict_takes_any_tree_and_names_the_files(
    run: Any, shades: Path, shaded: Any, tmp_path: Path
) -> None:
    folder = shaded(tmp_path / "photos", b=30, a__d=200, a__c__e=20)
    (folder / "a" / "f.heic").write_bytes(b"no picture that can be read")
    done = run("predict", shades, folder, "--label")
    assert (done.code, done.out) == (0, "file,prediction\na/c/e.png,dark\na/d.png,light\nb.png,dark\n")
    assert done.err == (
        f"Passed over 1 of 4 files in {folder}: they are of no kind of picture that is read (1 .heic).\n"
    )
    quiet = run("predict", shades, folder, "--json", "--quiet")
    assert quiet.err == ""
    assert [list(json.loads(line)) for line in quiet.out.splitlines()] == [
        ["file", "prediction", "p_dark", "p_light"]
    ] * 3


def test_chunks_change_nothing(
    run: Any, shades: Path, shaded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shaded(tmp_path / "photos", a=30, b=200, c=20)
    whole = run("predict", shades, folder).out
    monkeypatch.setattr("potstill.cli.rows.CHUNK_PICTURES", 2)
    assert run("predict", shades, folder).out == whole
    monkeypatch.setattr("potstill.cli.rows.CHUNK_BYTES", 1)
    assert run("predict", shades, folder).out == whole


def test_a_damaged_picture_is_named_in_short(run: Any, shades: Path, shaded: Any, tmp_path: Path) -> None:
    folder = shaded(tmp_path / "photos", a__b=30)
    (folder / "a" / "cut.png").write_bytes(damaged())
    done = run("predict", shades, folder, "--out", tmp_path / "p.csv", "--quiet")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {folder}, file a/cut.png, column 'image': wanted pictures: ")
    assert done.err.endswith("\n\nhint: Leave the picture out, or put a whole one in its place.\n")
    assert len(done.err) < 500
    assert not (tmp_path / "p.csv").exists()
    rows = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pa.table({"image": [(folder / "a" / "b.png").read_bytes(), damaged()]}), rows)
    done = run("predict", shades, rows)
    assert done.err.startswith(f"error: {rows}, row 2, column 'image': wanted pictures: ")
    assert len(done.err) < 500


def test_evaluate_takes_class_folders(run: Any, shades: Path, shaded: Any, tmp_path: Path) -> None:
    folder = shaded(tmp_path / "photos", dark__a=30, dark__b=250, light__c=200, beside=1)
    done = run("evaluate", shades, folder, "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    said = json.loads(done.out)
    assert (said["rows"], said["rows_without_target"]) == (3, 1)
    assert said["student"]["accuracy"] == pytest.approx(2 / 3)
    unknown = shaded(tmp_path / "more", grey__a=120)
    done = run("evaluate", shades, unknown, "--quiet")
    assert done.err.startswith(f"error: {unknown}, file grey/a.png, column 'label': 'grey' is no class.")


def test_a_folder_without_pictures_is_said(run: Any, shades: Path, tmp_path: Path) -> None:
    done = run("predict", shades, tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: Wanted a file of rows or a folder of pictures, got {tmp_path}, which has none.\n\n"
        "hint: Name one file in it.\n"
    )
