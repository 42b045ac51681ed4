"""Folders, arrays and data sets of pictures, and columns of sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from potstill.artifact.pictures import picture_of, png_bytes, pnm_bytes
from potstill.data.dataset import load_dataset
from potstill.data.schema import describe_schema
from potstill.errors import UserError
from potstill.types import Dataset


def noise(n: int, height: int = 6, width: int = 8, channels: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(n).integers(0, 256, (n, height, width, channels)).astype(np.uint8)


def folder_of(path: Path, **classes: int) -> Path:
    for name, count in classes.items():
        (path / name).mkdir()
        for number, picture in enumerate(noise(count)):
            (path / name / f"{number}.png").write_bytes(png_bytes(picture))
    return path


def test_a_folder_is_pictures_and_their_classes(tmp_path: Path) -> None:
    dataset = load_dataset(folder_of(tmp_path, cat=3, dog=4)).dataset
    assert dataset.task.target == "label"
    assert dataset.task.classes == ("cat", "dog")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0] * 3 + [1] * 4
    assert dataset.schema.columns[0].shape == (6, 8, 3)
    np.testing.assert_array_equal(picture_of(dataset.rows["image"].to_list()[1]), noise(3)[1])


def test_what_cannot_be_read_is_counted_and_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, cat=3, dog=4)
    (folder / "cat" / "empty.png").touch()
    (folder / "dog" / "cut.png").write_bytes(png_bytes(noise(1)[0])[:60])
    (folder / "dog" / "notes.txt").write_text("no picture, and not called one")
    (folder / ".hidden").mkdir()
    loaded = load_dataset(folder)
    assert len(loaded.dataset) == 7
    assert loaded.notes == (
        f"Passed over 1 of 10 files in {folder}: they are of no kind of picture that is read (1 .txt).",
        "Left out 2 of 9 rows: the picture in column 'image' cannot be read (rows 3, 8).",
    )


def test_files_that_are_passed_over_are_counted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, cat=3, dog=4)
    for name in ("cat/1.heic", "cat/2.HEIC", "dog/1.avif", "dog/README", "dog/.hidden", "notes.txt"):
        (folder / name).write_bytes(b"no picture that can be read")
    (folder / "cat" / ".thumbs").mkdir()
    (folder / "cat" / ".thumbs" / "0.png").write_bytes(png_bytes(noise(1)[0]))
    (folder / "beside.png").write_bytes(png_bytes(noise(1)[0]))
    loaded = load_dataset(folder)
    assert len(loaded.dataset) == 7
    assert loaded.notes == (
        f"Passed over 5 of 13 files in {folder}: they are of no kind of picture that is read "
        "(2 .heic, 1 .avif, 1 without a suffix, 1 .txt).",
        "Left out 1 of 8 rows: their target is missing.",
    )


def test_a_link_to_a_class_is_followed(tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "photos").mkdir()
    folder = folder_of(tmp_path / "photos", cat=3)
    (folder / "dog").symlink_to(folder_of(tmp_path / "linked", any=2) / "any")
    assert load_dataset(folder).dataset.task.classes == ("cat", "dog")


@pytest.mark.parametrize("at", ["", "elephant", "2024/holidays"])
def test_pictures_without_labels_lie_in_any_folders(tmp_path: Path, at: str) -> None:
    (tmp_path / "train").mkdir()
    train = load_dataset(folder_of(tmp_path / "train", cat=3, dog=4)).dataset
    place = tmp_path / "more" / at
    place.mkdir(parents=True)
    for number, picture in enumerate(noise(2)):
        (place / f"{number}.png").write_bytes(png_bytes(picture))
    more = load_dataset(tmp_path / "more", like=train, need_labels=False).dataset
    assert (len(more), more.labels) == (2, None)


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    train = load_dataset(folder_of(tmp_path / "train", cat=3, dog=4)).dataset
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.heic").write_bytes(b"no picture that can be read")
    with pytest.raises(UserError) as error:
        load_dataset(tmp_path / "more", like=train, need_labels=False)
    assert str(error.value) == (
        f"Wanted a folder with pictures, got {tmp_path}/more, which has none of these. Passed over 1 of 1 "
        f"files in {tmp_path}/more: they are of no kind of picture that is read (1 .heic).\n\n"
        "hint: PNG, JPEG, WebP, BMP, GIF and TIFF files are read."
    )


@pytest.mark.parametrize("as_frame", [pa.table, pd.DataFrame, pl.DataFrame])
def test_frames_of_files(as_frame: Any) -> None:
    files = [*(png_bytes(each) for each in noise(5)), b"rubbish", None]
    loaded = load_dataset(as_frame({"photo": files, "kind": list("abababa"), "n": range(7)}), target="kind")
    assert [column.kind for column in loaded.dataset.schema.columns] == ["image"]
    assert [(each.name, each.reason) for each in loaded.dataset.schema.dropped] == [("n", "beside a picture")]
    assert len(loaded.dataset) == 5
    like = load_dataset(as_frame({"photo": files[::-1]}), like=loaded.dataset, need_labels=False)
    assert len(like.dataset) == 5


def test_pictures_that_are_no_input_cost_no_rows() -> None:
    files = [png_bytes(each) for each in noise(5)]
    masks = [files[0], None, None, b"rubbish", files[1]]
    table = pa.table({"photo": files, "mask": masks, "y": list("ababa")})
    loaded = load_dataset(table, target="y")
    assert (len(loaded.dataset), loaded.notes) == (5, ())
    assert loaded.dataset.schema.names == ("photo",)


def test_sentences_that_come_thrice_are_texts_still() -> None:
    said = [f"what number {at} of them says is this" for at in range(60)]
    table = pa.table({"said": said * 3, "y": [0, 1] * 90})
    assert [each.kind for each in load_dataset(table, target="y").dataset.schema.columns] == ["text"]


def test_hugging_face_files_and_arrays_and_grey() -> None:
    wrapped = pa.table(
        {"image": [{"bytes": pnm_bytes(each), "path": "x"} for each in noise(4)], "y": [0, 1] * 2}
    )
    assert load_dataset(wrapped, target="y").dataset.schema.columns[0].kind == "image"
    grey = load_dataset((noise(4, channels=1), [0, 1, 0, 1])).dataset
    assert grey.schema.columns[0].shape == (6, 8, 1)
    assert "looked at in 8 x 6 pixels, in grey" in describe_schema(grey.schema, 4)
    plane = load_dataset((noise(4, channels=1)[:, :, :, 0], [0, 1, 0, 1])).dataset
    assert plane.schema == grey.schema
    with pytest.raises(UserError, match="Wanted pictures as"):
        load_dataset((noise(4).astype(np.float64), [0, 1, 0, 1]))


def test_a_torch_data_set() -> None:
    import torch

    class Shapes(torch.utils.data.Dataset[Any]):
        classes = ("square", "circle")

        def __len__(self) -> int:
            return 6

        def __getitem__(self, row: int) -> Any:
            return torch.from_numpy(noise(6)[row] / 255).permute(2, 0, 1), row % 2

    dataset = load_dataset(Shapes()).dataset
    assert dataset.task.classes == ("circle", "square")
    np.testing.assert_array_equal(picture_of(dataset.rows["image"].to_list()[2]), noise(6)[2])


@pytest.mark.parametrize(
    ("floats", "got"),
    [
        (np.linspace(-1e-4, 1.0001, 48), None),
        (np.linspace(-2.1, 2.6, 48), "-2.1 to 2.6"),
        (np.linspace(0, 255, 48), "0 to 255"),
        (np.full(48, np.nan), "nan to nan"),
    ],
)
def test_floats_of_a_torch_data_set_are_from_0_to_1(floats: Any, got: str | None) -> None:
    import torch

    class Floats(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, row: int) -> Any:
            return torch.from_numpy(floats.reshape(1, 6, 8)).float(), row % 2

    if got is None:
        pixels = picture_of(load_dataset(Floats()).dataset.rows["image"].to_list()[0])
        assert (pixels.min(), pixels.max()) == (0, 255)
        return
    with pytest.raises(UserError) as error:
        load_dataset(Floats())
    assert str(error.value) == (
        f"Item 0 of the data set: wanted pictures of floats from 0 to 1, got {got}.\n\n"
        "hint: Leave out Normalize, which a teacher applies itself; scale to 0 to 1, or give uint8."
    )


def test_large_pictures_are_looked_at_smaller() -> None:
    pictures = [noise(1, 300, 150)[0] for _ in range(4)]
    table = pa.table({"image": [pnm_bytes(each) for each in pictures], "y": [0, 1, 0, 1]})
    assert load_dataset(table, target="y").dataset.schema.columns[0].shape == (64, 32, 3)


SENTENCES = [f"this is sentence number {n} of many, which all differ" for n in range(30)]


def kinds(dataset: Dataset) -> dict[str, str]:
    return {column.name: column.kind for column in dataset.schema.columns}


def test_sentences_alone_are_texts() -> None:
    dataset = load_dataset(pa.table({"review": SENTENCES, "y": [0, 1] * 15}), target="y").dataset
    assert kinds(dataset) == {"review": "text"}


def test_sentences_beside_other_columns_must_be_asked_for() -> None:
    table = pa.table({"review": SENTENCES, "stars": list(range(5)) * 6, "y": [0, 1] * 15})
    dataset = load_dataset(table, target="y").dataset
    assert kinds(dataset) == {"stars": "numeric"}
    assert "declare it text" in dataset.schema.dropped[0].reason
    asked = load_dataset(table, target="y", kinds={"review": "text"}).dataset
    assert kinds(asked) == {"review": "text", "stars": "numeric"}


def test_sentences_beside_columns_of_no_use_are_texts() -> None:
    table = pa.table({"review": SENTENCES, "row": range(30), "y": [0, 1] * 15})
    dataset = load_dataset(table, target="y").dataset
    assert kinds(dataset) == {"review": "text"}
    assert [column.name for column in dataset.schema.dropped] == ["row"]


def test_a_folder_that_is_not_there_is_said_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        load_dataset(tmp_path / "nothing")


def test_short_texts_are_categories() -> None:
    table = pa.table({"name": [f"level {n % 7}" for n in range(30)], "y": [0, 1] * 15})
    assert kinds(load_dataset(table, target="y").dataset) == {"name": "categorical"}
