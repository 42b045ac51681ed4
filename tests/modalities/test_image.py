"""Pictures to pixels, and the same in the graph."""

from __future__ import annotations

import io
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from PIL import Image

from potstill.artifact.pictures import pnm_bytes
from potstill.artifact.session import open_session
from potstill.data.pictures import picture_shape
from potstill.errors import UserError
from potstill.graph import GraphBuilder
from potstill.modalities.image import ImageEncoder, resized
from potstill.types import Column, Schema

SIZES = [(32, 32), (1, 1), (7, 90), (200, 130), (32, 50), (33, 31)]


def encoder(*shape: int) -> ImageEncoder:
    return ImageEncoder(Schema((Column("photo", "image", shape=shape),)))


def picture(height: int, width: int, channels: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, channels)).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(stream, "PNG")
    return stream.getvalue()


def frame(values: list[Any]) -> nw.DataFrame[Any]:
    return nw.from_native(pl.DataFrame({"photo": pl.Series(values, dtype=pl.Binary)}), eager_only=True)


def in_graph(fitted: ImageEncoder, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    graph = GraphBuilder()
    pixels = fitted.build(graph)["pixels"]
    graph.output(pixels, "pixels", TensorProto.FLOAT, ["n", *fitted.spec.image])
    session = open_session(graph.model().SerializeToString())
    answer: NDArray[np.float32] = session.run(None, {"photo": pictures})[0]
    return answer


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_the_graph_resizes_as_the_encoder_does(size: tuple[int, int], channels: int) -> None:
    fitted = encoder(32, 32, channels)
    one, other = picture(*size, channels), picture(*size, channels, seed=1)
    pixels = fitted.encode(frame([pnm_bytes(one), pnm_bytes(other)]))["pixels"]
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, in_graph(fitted, np.stack([one, other])))
    assert np.array_equal(pixels[:1], in_graph(fitted, one[None])), "alone and among others"


def test_pictures_of_the_wanted_size_stay_as_they_are() -> None:
    fitted, pixels = encoder(28, 28, 1), picture(28, 28, 1)
    assert np.array_equal(fitted.encode(frame([png(pixels)]))["pixels"][0], pixels)
    assert np.array_equal(in_graph(fitted, pixels[None])[0], pixels)
    assert in_graph(fitted, np.zeros((0, 40, 28, 1), np.uint8)).shape == (0, 28, 28, 1)


def test_a_column_may_hold_all_sizes_and_channels() -> None:
    values = [png(picture(*size, 3, seed)) for seed, size in enumerate(SIZES)] + [png(picture(5, 5, 1))]
    tensors = encoder(16, 24, 3).encode(frame(values))
    assert tensors["pixels"].shape == (7, 16, 24, 3)
    assert (tensors["numeric"].shape, tensors["categorical"].shape) == ((7, 0), (7, 0))
    assert (np.ptp(tensors["pixels"][6], axis=-1) == 0).all(), "grey stays grey in colour"
    assert encoder(16, 24, 3).encode(frame([]))["pixels"].shape == (0, 16, 24, 3)


def test_a_shrunken_picture_is_the_mean_of_what_it_covers() -> None:
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 200
    small = resized(stripes[None], (8, 8, 1))[0]
    assert np.abs(small[:, 1:-1].astype(int) - 100).max() <= 8, "without smoothing it would be 0 or 200"


def test_few_pictures_are_decoded_at_once(photos: list[Any], decoded: Any) -> None:
    pixels = encoder(16, 24, 3).encode(frame([pnm_bytes(photo) for photo in photos]))["pixels"]
    assert (decoded.files, decoded.now) == (60, 0)
    assert decoded.most <= 3 * decoded.budget
    assert np.array_equal(pixels, np.concatenate([resized(photo[None], (16, 24, 3)) for photo in photos]))


def test_what_is_no_picture_is_told_with_its_row() -> None:
    with pytest.raises(UserError, match=r"Column 'photo' takes pictures.*row 1 holds .3 bytes"):
        encoder(8, 8, 1).encode(frame([png(picture(8, 8, 1)), b"abc"]))
    with pytest.raises(UserError, match="cannot be missing"):
        encoder(8, 8, 1).encode(frame([png(picture(8, 8, 1)), None]))


def test_frames_of_other_kinds() -> None:
    rows = nw.from_native(pa.table({"photo": [png(picture(8, 8, 1))], "id": [7]}), eager_only=True)
    assert encoder(8, 8, 1).encode(rows)["pixels"].shape == (1, 8, 8, 1)
    with pytest.raises(UserError, match="Wanted a column called 'photo'"):
        encoder(8, 8, 1).encode(rows.select("id"))


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ([(28, 28)], (28, 28, 1)),
        ([(32, 32), (32, 32), (500, 20)], (32, 32, 1)),
        ([(8, 8)], (8, 8, 1)),
        ([(5, 7)], (5, 7, 1)),
        ([(480, 640)], (48, 64, 1)),
        ([(1000, 3)], (64, 1, 1)),
        ([(33, 35)], (32, 36, 1)),
    ],
)
def test_the_working_shape(sizes: list[tuple[int, int]], shape: tuple[int, int, int]) -> None:
    assert picture_shape(np.array(sizes), 1) == shape


def test_the_largest_side_can_be_chosen() -> None:
    assert picture_shape(np.array([(480, 640)]), 3, largest=32) == (24, 32, 3)
