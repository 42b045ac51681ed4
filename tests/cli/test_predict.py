"""Answers for files: the same as in training, whatever the format, and whole or absent."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest


def probabilities(text: str) -> np.ndarray[Any, Any]:
    rows = list(csv.DictReader(io.StringIO(text)))
    return np.array([[float(row[f"p_{label}"]) for label in ("maybe", "no", "yes")] for row in rows])


def test_csv_cells_mean_the_same_as_in_training(run: Any, classifier: Any) -> None:
    done = run("predict", classifier.path, classifier.rows)
    assert done.code == 0
    assert done.err == ""
    assert done.out.splitlines()[0] == "prediction,p_maybe,p_no,p_yes"
    np.testing.assert_allclose(probabilities(done.out), classifier.expected, atol=1e-6)
    labels = [row["prediction"] for row in csv.DictReader(io.StringIO(done.out))]
    assert labels == [("maybe", "no", "yes")[best] for best in classifier.expected.argmax(axis=1)]


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.tsv", "rows.parquet", "rows.feather", "rows.jsonl"])
def test_every_format_gives_the_same_answers(run: Any, classifier: Any, tmp_path: Path, name: str) -> None:
    table = pyarrow.csv.read_csv(classifier.rows)
    path = tmp_path / name
    match "".join(path.suffixes):
        case ".csv.gz":
            path.write_bytes(gzip.compress(classifier.rows.read_bytes()))
        case ".tsv":
            path.write_text(classifier.rows.read_text().replace(",", "\t"))
        case ".parquet":
            pyarrow.parquet.write_table(classifier.dataset.rows.to_arrow(), path)
        case ".feather":
            pyarrow.feather.write_feather(classifier.dataset.rows.to_arrow(), path)
        case _:
            rows = classifier.dataset.rows.to_arrow().to_pylist()
            path.write_text("\n".join(json.dumps(row, default=str) for row in rows))
    assert len(table) == 240
    done = run("predict", classifier.path, path, "--proba")
    assert done.code == 0, done.err
    np.testing.assert_allclose(probabilities(done.out), classifier.expected, atol=1e-6)


def test_prediction_and_training_call_the_same_texts_missing(tmp_path: Path) -> None:
    from potstill.cli.cells import model_columns
    from potstill.cli.rows import Chunk
    from potstill.data import read_rows
    from potstill.types import NULL_TEXTS, Column, Schema

    texts = [*NULL_TEXTS, "None", "none", "-", "?"]
    place = tmp_path / "rows.csv"
    place.write_text("k,x\n" + "".join(f'"{text}",1\n' for text in texts))
    trained = read_rows(place)["k"].is_null().to_list()
    assert trained == [text in NULL_TEXTS for text in texts]
    chunk = Chunk({"k": texts}, lines=range(2, 2 + len(texts)), as_text=True)
    served = model_columns(chunk, Schema((Column("k", "categorical"),)), where="rows.csv")["k"]
    assert [value in (None, "") for value in served] == trained


def test_chunks_change_nothing(run: Any, classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import potstill.cli.rows as rows

    whole = run("predict", classifier.path, classifier.rows).out
    monkeypatch.setattr(rows.read_chunks, "__kwdefaults__", {"chunk_rows": 7})
    assert run("predict", classifier.path, classifier.rows).out == whole


def test_stdin_takes_csv_and_json_lines(run: Any, classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fed(text: str, *options: str) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        done = run("predict", classifier.path, "-", *options)
        assert done.code == 0, done.err
        return str(done.out)

    lines = classifier.rows.read_text().splitlines()
    np.testing.assert_allclose(probabilities(fed("\n".join(lines[:6]))), classifier.expected[:5], atol=1e-6)
    row = {"age": 30, "member": None, "city": "Rome", "code": 1, "since": "2020-01-15", "price": None}
    answer = json.loads(fed(json.dumps(row), "--json"))
    assert set(answer) == {"prediction", "p_maybe", "p_no", "p_yes"}
    assert sum(answer[f"p_{label}"] for label in ("maybe", "no", "yes")) == pytest.approx(1.0)


def test_out_files_hold_what_stdout_shows(run: Any, classifier: Any, tmp_path: Path) -> None:
    shown = run("predict", classifier.path, classifier.rows).out
    for name in ("p.csv", "p.parquet", "p.jsonl"):
        done = run("predict", classifier.path, classifier.rows, "--out", tmp_path / name, "--json")
        assert json.loads(done.out) == {"rows": 240, "out": str(tmp_path / name)}
    assert (tmp_path / "p.csv").read_text() == shown
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    np.testing.assert_allclose(table["p_no"].to_numpy(), classifier.expected[:, 1], atol=1e-6)
    first = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert first["prediction"] == table["prediction"][0].as_py()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "p.jsonl", "p.parquet"]


def test_label_and_proba_choose_the_columns(run: Any, classifier: Any, regressor: Any) -> None:
    assert run("predict", classifier.path, classifier.rows, "--label").out.splitlines()[0] == "prediction"
    assert (
        run("predict", classifier.path, classifier.rows, "--proba").out.splitlines()[0]
        == "p_maybe,p_no,p_yes"
    )
    done = run("predict", regressor.path, regressor.rows, "--proba")
    assert (done.code, done.err) == (
        2,
        "error: A regression has no probabilities.\n\nhint: Leave --proba out.\n",
    )


def test_regression_gives_values(run: Any, regressor: Any) -> None:
    done = run("predict", regressor.path, regressor.rows)
    assert done.code == 0, done.err
    values = [float(line) for line in done.out.splitlines()[1:]]
    kept = [
        row for row, line in enumerate(regressor.rows.read_text().splitlines()[1:]) if ",nan," not in line
    ]
    np.testing.assert_allclose(np.array(values)[kept], regressor.expected[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["photos.parquet", "photos.csv"])
def test_few_pictures_of_a_file_are_decoded_at_once(
    run: Any, album: Any, decoded: Any, tmp_path: Path, name: str
) -> None:
    model, path, files = tmp_path / "photos.onnx", tmp_path / name, album.rows["photo"].to_list()
    model.write_bytes(album.artifact)
    if name.endswith("parquet"):
        pyarrow.parquet.write_table(album.rows.to_arrow(), path)
    else:
        path.write_text("\n".join(["photo", *(base64.b64encode(file).decode() for file in files)]) + "\n")
    done = run("predict", model, path)
    assert done.code == 0, done.err
    values = [float(line) for line in done.out.splitlines()[1:]]
    np.testing.assert_allclose(values, album.expected[:, 0], rtol=1e-5)
    assert decoded.files == 60
    assert decoded.most <= 3 * decoded.budget
    labelled = tmp_path / "labelled.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"photo": files, "y": album.expected[:, 0]}), labelled)
    done = run("evaluate", model, labelled, "--json", "-q")
    assert json.loads(done.out)["student"]["rmse"] < 1e-4
    assert decoded.most <= 3 * decoded.budget
    assert run("drift", model, labelled, "-q").code == 2, "this one has no reference"
    assert decoded.most <= 3 * decoded.budget


def test_a_damaged_picture_is_told_with_its_row(run: Any, album: Any, tmp_path: Path) -> None:
    model, path = tmp_path / "photos.onnx", tmp_path / "photos.parquet"
    model.write_bytes(album.artifact)
    pyarrow.parquet.write_table(
        pyarrow.table({"photo": [*album.rows["photo"].to_list(), b"no picture"]}), path
    )
    done = run("predict", model, path)
    assert (done.code, done.out) == (2, "")
    assert f"{path}, row 61, column 'photo': wanted pictures: the bytes of a PNG" in done.err


def test_a_header_alone_gives_a_header_alone(run: Any, classifier: Any, tmp_path: Path) -> None:
    empty = tmp_path / "none.csv"
    empty.write_text(classifier.rows.read_text().splitlines()[0] + "\n")
    assert run("predict", classifier.path, empty).out == "prediction,p_maybe,p_no,p_yes\n"


BAD_CELLS = [
    ("30,true,Rome,1,2020-01-15,x9", "column 'price': wanted numbers, got 'x9'"),
    ("thirty,true,Rome,1,2020-01-15,9", "column 'age': wanted numbers, got 'thirty'"),
    ("1_0,true,Rome,1,2020-01-15,9", "column 'age': wanted numbers, got '1_0'"),
    ("30,maybe,Rome,1,2020-01-15,9", "column 'member': wanted true, false, 0 or 1, got 'maybe'"),
    ("30,true,Rome,1,15.1.2020,9", "column 'since': wanted dates, got '15.1.2020'"),
]


@pytest.mark.parametrize(("line", "wanted"), BAD_CELLS)
def test_a_wrong_cell_is_named_with_line_and_column(
    run: Any, classifier: Any, tmp_path: Path, line: str, wanted: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"age,member,city,code,since,price\n1,true,Rome,1,2020-01-15,2\n{line}\n")
    done = run("predict", classifier.path, path, "--out", tmp_path / "p.csv", "--quiet")
    assert (done.code, done.out) == (2, "")
    assert (
        done.err == f"error: {path}, line 3, {wanted}.\n\nhint: Leave the cell empty where it is not known.\n"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]


def test_lines_are_counted_as_an_editor_does(run: Any, classifier: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('age,member,city,code,since,price\n1,true,"Ro\nme",1,,2\n\nold,true,Rome,1,,2\n')
    done = run("predict", classifier.path, path)
    assert f"error: {path}, line 5, column 'age': wanted numbers, got 'old'.\n" in done.err


def test_bad_files_get_one_sentence(run: Any, classifier: Any, tmp_path: Path) -> None:
    def said(name: str, content: bytes | None) -> str:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        done = run("predict", classifier.path, path)
        assert (done.code, done.out) == (2, "")
        return str(done.err).splitlines()[0]

    at = tmp_path
    assert said("no.csv", None) == f"error: There is no file {at}/no.csv."
    assert said("a.csv", b"") == f"error: The file {at}/a.csv is empty (0 bytes)."
    assert said("a.xlsx", b"PK") == (
        f"error: The extension of {at}/a.xlsx is not one that can be read; these are: "
        ".csv, .tsv, .jsonl, .ndjson, .parquet, .arrow, .feather, .ipc."
    )
    assert said("b.csv", b"age,age\n1,2\n") == (
        f"error: Wanted columns with different names, but {at}/b.csv has more than one called 'age'."
    )
    assert said("c.csv", b"age,city\n1,2,3\n") == (
        f"error: {at}/c.csv, line 2: wanted 2 cells as in the header, got 3."
    )
    assert said("d.csv", b"age,city\n1,\xff\n") == (
        f"error: Wanted text in UTF-8, but the file {at}/d.csv has other bytes."
    )
    assert said("e.csv", b"age,member,city,cod,since,price\n1,,,,,\n") == (
        "error: The rows lack column 'code', which the model takes."
    )
    assert said("f.jsonl", b'{"age": 1\n').startswith(
        f"error: {at}/f.jsonl, line 1: wanted one JSON object a line: "
    )
    doubled = pyarrow.table([[1], [2]], names=["age", "age"])
    for name, write in (
        ("h.parquet", pyarrow.parquet.write_table),
        ("i.feather", pyarrow.feather.write_feather),
    ):
        write(doubled, at / name)
        assert said(name, None) == (
            f"error: Wanted columns with different names, but {at}/{name} has more than one called 'age'."
        )
    assert said("g.parquet", b"PAR1 no").startswith(
        f"error: The file {at}/g.parquet cannot be read as parquet: "
    )


def test_columns_that_are_not_there_are_named(run: Any, classifier: Any, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("height,member,city,code,since,price\n1,,,,,\n")
    done = run("predict", classifier.path, rows, "-q")
    assert (done.code, done.err) == (
        2,
        "error: The rows lack column 'age', which the model takes.\n\n"
        "hint: Give every column the model takes, its cells empty where a value is not known.\n",
    )


def test_json_values_are_held_to_their_kind(run: Any, classifier: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"age": "30", "member": True, "city": "Rome", "code": 1, "since": None, "price": 1.5}
    path.write_text(json.dumps(row))
    done = run("predict", classifier.path, path)
    assert done.code == 2
    assert done.err.splitlines()[0] == f"error: {path}, line 1, column 'age': wanted numbers, got '30'."


def test_an_output_of_unknown_kind_or_place_is_refused_first(
    run: Any, classifier: Any, tmp_path: Path
) -> None:
    done = run("predict", classifier.path, classifier.rows, "--out", tmp_path / "p.xlsx")
    assert done.err.splitlines()[0] == (
        f"error: {tmp_path}/p.xlsx has an extension that cannot be written; these can: "
        ".csv, .jsonl, .ndjson, .parquet."
    )
    done = run("predict", classifier.path, classifier.rows, "--out", tmp_path / "no" / "p.csv", "--quiet")
    assert done.err.splitlines()[0] == (
        f"error: {tmp_path}/no/p.csv cannot be written: the folder {tmp_path}/no does not exist."
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_and_leaves_nothing(
    run: Any, classifier: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.csv"
    (tmp_path / ".p.csv.part").symlink_to("/dev/full")
    done = run("predict", classifier.path, classifier.rows, "--out", out, "--quiet")
    assert done.code == 2
    assert done.err.startswith("error: The disk is full")
    assert list(tmp_path.iterdir()) == []
