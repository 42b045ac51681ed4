"""Pictures in every form they come in, and what is refused of them."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.artifact.pictures import (
    MAX_BYTES,
    announced_pixels,
    data_url,
    is_picture_file,
    picture_batches,
    picture_of,
    pictures_of,
    png_bytes,
    pnm_bytes,
    with_channels,
)
from potstill.artifact.refused import Refused

Image = pytest.importorskip("PIL.Image")


def noise(height: int = 5, width: int = 7, channels: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)


def file_of(picture: np.ndarray[Any, Any], kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_every_form_is_the_same_picture(channels: int) -> None:
    wanted = noise(channels=channels)
    file = file_of(wanted)
    forms = [
        *(file, bytearray(file), memoryview(file), base64.b64encode(file).decode(), pnm_bytes(wanted)),
        *(
            png_bytes(wanted),
            wanted,
            wanted.astype(np.int64),
            wanted.tolist(),
            {"bytes": file, "path": "x.png"},
        ),
        Image.open(io.BytesIO(file)),
        "data:image/png;base64," + base64.b64encode(file).decode(),
    ]
    for form in forms:
        np.testing.assert_array_equal(picture_of(form), wanted)


def test_grey_and_colour() -> None:
    grey = noise(channels=1)
    np.testing.assert_array_equal(with_channels(with_channels(grey, 3), 1), grey)
    white_and_red = np.array([[[255, 255, 255], [255, 0, 0]]], dtype=np.uint8)
    assert with_channels(white_and_red, 1)[0, :, 0].tolist() == [255, 76]


def test_transparent_is_white_and_sixteen_bits_become_eight() -> None:
    clear = np.zeros((2, 2, 4), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(clear).save(stream, "PNG")
    assert picture_of(stream.getvalue()).min() == 255
    deep = io.BytesIO()
    Image.fromarray(np.array([[0, 32_768, 65_535]], dtype=np.uint16)).save(deep, "PNG")
    assert picture_of(deep.getvalue())[0, :, 0].tolist() == [0, 128, 255]


def test_a_photograph_is_turned_the_right_way_up() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert picture_of(file_of(noise(4, 8), "JPEG", exif=exif)).shape == (8, 4, 3)


def _bomb() -> bytes:
    """A PNG of a few bytes that announces 100,000 x 100,000 pixels."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (b"", "pictures"),
        (b"\x89PNG\r\n\x1a\nrubbish", "pictures"),
        (file_of(noise(40, 40))[:200], "pictures"),
        (_bomb(), "at most"),
        (b"P6 99999 99999 255\n", "at most"),
        (b"P6 2 2 255\n123", "pictures"),
        (b"%PDF-1.4", "pictures"),
        ("/etc/passwd", "pictures"),
        ("a" * int(1.5 * MAX_BYTES), "at most"),
        (None, "pictures"),
        (float("nan"), "pictures"),
        (7, "pictures"),
        ([[1, 2], [3]], "pictures"),
        (np.zeros((0, 3, 3), np.uint8), "pixels"),
        (np.zeros((3, 3, 2), np.uint8), "pictures"),
        (np.full((2, 2), 0.5), "pictures"),
        (np.full((2, 2), 300), "0 to 255"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_refused(value: Any, word: str) -> None:
    with pytest.raises(Refused) as refusal:
        picture_of(value)
    assert word in refusal.value.wanted
    assert refusal.value.hint
    assert len(str(refusal.value.value)) < 200


def test_a_header_says_how_many_pixels_there_are() -> None:
    file = file_of(noise(40, 30))
    for form in (file, file[:60], base64.b64encode(file).decode(), {"bytes": file}, pnm_bytes(noise(40, 30))):
        assert announced_pixels(form) == 1200
    assert announced_pixels(file_of(noise(40, 30), "JPEG")) == 1200
    for other in (None, 7, "rubbish", b"", noise(40, 30), {"bytes": "x"}, _bomb()):
        assert announced_pixels(other) == 0


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"P5 3 2 255\n", b"GIF89a"]),
)
def test_rubbish_is_refused_and_nothing_else(tail: bytes, start: bytes) -> None:
    try:
        picture = picture_of(start + tail)
    except Refused:
        return
    assert picture.dtype == np.uint8
    assert picture.ndim == 3


def test_columns() -> None:
    one, other = noise(), noise(6, 4)
    assert pictures_of([one, one], 1).shape == (2, 5, 7, 1)
    mixed = pictures_of([one, other, one], 3)
    assert mixed.dtype == object
    assert [picture.shape for picture in mixed] == [(5, 7, 3), (6, 4, 3), (5, 7, 3)]
    whole = np.stack([one, one])
    assert pictures_of(whole, 3) is whole
    assert pictures_of([], 3).shape == (0, 1, 1, 3)
    with pytest.raises(Refused) as refusal:
        pictures_of([one, b"no picture"], 3)
    assert refusal.value.row == 1


@pytest.mark.parametrize("at_once", [None, 1, 3])
def test_batches_of_a_column_keep_to_their_pixels(
    monkeypatch: pytest.MonkeyPatch, at_once: int | None
) -> None:
    pictures = [noise(height, 7) for height in (2, 5, 9, 9, 1, 20, 1, 1, 1, 1, 1, 1)]
    monkeypatch.setattr("potstill.artifact.pictures.PIXELS_AT_ONCE", 100)
    for values in (pictures, [pnm_bytes(picture) for picture in pictures], [noise(5, 7)] * 6):
        batches = list(picture_batches(values, 3, at_once=at_once))
        column = [picture for batch in batches for picture in batch]
        assert all(map(np.array_equal, column, pictures_of(values, 3)))
        sizes = [sum(picture.shape[0] * picture.shape[1] for picture in batch) for batch in batches]
        assert all(size <= 100 or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))
        assert max(map(len, batches)) <= (at_once or len(values))
    whole = np.stack([noise(5, 7)] * 6)
    views = list(picture_batches(whole, 3, at_once=at_once))
    assert [len(view) for view in views] == {None: [2, 2, 2], 1: [1] * 6, 3: [2, 2, 2]}[at_once]
    assert all(view.base is whole for view in views)


def test_a_column_without_pictures_is_one_batch() -> None:
    assert [batch.shape for batch in picture_batches([], 3)] == [(0, 1, 1, 3)]
    with pytest.raises(Refused) as refusal:
        list(picture_batches([noise(), noise(), b"no picture"], 3, at_once=1))
    assert refusal.value.row == 2


def test_shown_on_a_page() -> None:
    for file in (
        file_of(noise()),
        file_of(noise(), "JPEG"),
        pnm_bytes(noise(300, 200)),
        file_of(noise(), "BMP"),
    ):
        head, _, body = data_url(file).partition(",")
        assert head.startswith("data:image/")
        assert max(picture_of(base64.b64decode(body)).shape) <= 128
        assert is_picture_file(file)
