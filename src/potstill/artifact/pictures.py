"""Pictures in whatever form they come → ``(height, width, channels)`` uint8.

Files (PNG, JPEG and the like) are decoded by Pillow, which is asked for only then; arrays and PNM files, the
plainest picture files there are, need numpy alone. What a stranger sends is bounded: by its bytes, and by the
pixels that its header announces, before anything is decoded.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from potstill.artifact.refused import Refused, is_missing

Picture: TypeAlias = NDArray[np.uint8]
"""``(height, width, channels)``, 1 channel for grey, 3 for red, green and blue."""

MAX_BYTES = 50_000_000
"""Bytes of a picture file at most."""

MAX_PIXELS = 40_000_000
"""Height times width of a picture at most: a file of a few kilobytes can announce any size."""

PIXELS_AT_ONCE = 16_000_000
"""Pixels of pictures that are decoded or asked about at once at most, unless one alone has more."""

MAX_SHOWN_BYTES, SHOWN_SIDE = 100_000, 128
"""Files up to this size are shown as they are; others in so many pixels a side at most."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""Kinds of file, as Pillow calls them, that are decoded."""

SIGNATURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"RIFF", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"P5", b"P6")
"""How files of pictures begin."""

_WANTED = "pictures: the bytes of a PNG, JPEG or similar file, or an array (height, width, channels) of uint8"
_HINT = "Check that the file is whole; convert what is of another kind to PNG."
_PNM = re.compile(rb"P([56])\s+(\d{1,9})\s+(\d{1,9})\s+255\s")
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R BT.601: how bright red, green and blue are."""


def picture_of(value: Any, channels: int | None = None) -> Picture:
    """One picture.

    Parameters
    ----------
    value
        Bytes of a file, or base64 text of them (``data:`` URLs too); an array or nested lists
        ``(height, width)`` or ``(height, width, channels)`` of whole numbers from 0 to 255; a Pillow image; a
        mapping that holds such bytes under ``bytes``.
    channels
        1 or 3: colours are turned to grey, grey to colours; None leaves the picture as it is. Transparent
        parts are taken for white.

    Raises
    ------
    Refused
        It is no picture, is damaged, empty or too large.
    """
    decoded: Picture = _decoded(value)
    return with_channels(decoded, channels) if channels else decoded


def with_channels(picture: Picture, channels: int) -> Picture:
    """The picture in colour (3) or in grey (1)."""
    if picture.shape[2] == channels:
        return picture
    if channels == 3:
        return np.repeat(picture, 3, axis=2)
    grey: Picture = np.minimum(np.rint(picture.astype(np.float32) @ _LUMA), 255).astype(np.uint8)[:, :, None]
    return grey


def pictures_of(values: Sequence[Any] | NDArray[Any], channels: int | None = None) -> NDArray[Any]:
    """A column of pictures.

    Returns
    -------
    ndarray
        ``(n, height, width, channels)`` uint8; where shapes differ, an ``(n,)`` object array of pictures.
        ``channels`` as in `picture_of`.

    Raises
    ------
    Refused
        With the row of the first value that is no picture.
    """
    given = _ready(values, channels)
    return _as_column(list(_each(values, channels)), channels) if given is None else given


def picture_batches(
    values: Iterable[Any], channels: int | None = None, *, at_once: int | None = None
) -> Iterator[NDArray[Any]]:
    """A column of pictures, as many at a time as have `PIXELS_AT_ONCE` pixels together: memory is bounded.

    Parameters
    ----------
    values, channels
        As in `pictures_of`.
    at_once
        Pictures in a batch at most; None for any number.

    Yields
    ------
    ndarray
        The next of the pictures, as `pictures_of` gives them; one batch without any where there are none.

    Raises
    ------
    Refused
        With the row of the first value that is no picture.
    """
    given = _ready(values, channels)
    if given is not None:
        step = max(1, min(at_once or len(given), PIXELS_AT_ONCE // (given.shape[1] * given.shape[2])))
        for start in range(0, len(given), step):
            yield given[start : start + step]
        return
    batch: list[Picture] = []
    n_pixels = 0
    for picture in _each(values, channels):
        size = picture.shape[0] * picture.shape[1]
        if batch and (len(batch) == at_once or n_pixels + size > PIXELS_AT_ONCE):
            column, batch, n_pixels = _as_column(batch, channels), [], 0
            yield column
        batch.append(picture)
        n_pixels += size
    yield _as_column(batch, channels)


def corners(pictures: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The upper left corner of each picture, no larger than ``shape`` ``(H, W, C)``."""
    height, width, channels = shape
    return pictures_of([picture[:height, :width] for picture in pictures], channels)


def _ready(values: Iterable[Any], channels: int | None) -> NDArray[np.uint8] | None:
    """``values`` where they are an array of pictures already, with the channels that are wanted."""
    wanted = (channels,) if channels else (1, 3)
    if isinstance(values, np.ndarray) and values.dtype == np.uint8 and values.ndim == 4 and values.size:
        return values if values.shape[3] in wanted else None
    return None


def _each(values: Iterable[Any], channels: int | None) -> Iterator[Picture]:
    for row, value in enumerate(values):
        try:
            picture = picture_of(value, channels)
        except Refused as refusal:
            refusal.row = row
            raise
        yield picture


def _as_column(pictures: Sequence[Picture], channels: int | None) -> NDArray[Any]:
    if not pictures:
        return np.zeros((0, 1, 1, channels or 3), dtype=np.uint8)
    if len({picture.shape for picture in pictures}) == 1:
        return np.stack(pictures)
    column = np.empty(len(pictures), dtype=object)
    for row, picture in enumerate(pictures):
        column[row] = picture
    return column


def announced_pixels(value: Any) -> int:
    """Height times width of a picture that is a file, or base64 text of one, as its header says it.

    Nothing is decoded. 0 for all else: pixels that came as such, and what `picture_of` refuses.
    """
    try:
        data = _file_in(value)
        if data is None:
            return 0
        if plain := _PNM.match(data):
            return int(plain[2]) * int(plain[3])
        with _opened(data) as image:
            return int(image.height * image.width)
    except Refused:
        return 0


def rows_by_size(pictures: Iterable[Picture]) -> dict[tuple[int, ...], list[int]]:
    """The rows of each shape that there is."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for row, picture in enumerate(pictures):
        by_size.setdefault(picture.shape, []).append(row)
    return by_size


def pnm_bytes(picture: NDArray[Any]) -> bytes:
    """The picture, grey or in colour, as a PNM file: a line of text, then its bytes as they are."""
    height, width, channels = picture.shape
    kind = {1: b"P5", 3: b"P6"}[channels]
    return kind + b" %d %d 255\n" % (width, height) + np.ascontiguousarray(picture, dtype=np.uint8).tobytes()


def data_url(data: bytes) -> str:
    """A picture file as text that a web page shows; files that browsers do not know become PNG."""
    kinds = {b"\x89PNG\r\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
    kind = next((kind for start, kind in kinds.items() if data.startswith(start)), None)
    if kind is None or len(data) > MAX_SHOWN_BYTES:
        kind, data = "png", png_bytes(thinned(picture_of(data)))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def thinned(picture: Picture) -> Picture:
    """Every so many-th pixel, so that at most `SHOWN_SIDE` are left a side."""
    step = -(-max(picture.shape[:2]) // SHOWN_SIDE)
    return np.ascontiguousarray(picture[::step, ::step])


def png_bytes(picture: Picture) -> bytes:
    """The picture as a PNG file (8 bits a channel, no filter), for which zlib is enough."""
    height, width, channels = picture.shape
    lines = np.zeros((height, 1 + width * channels), dtype=np.uint8)
    lines[:, 1:] = picture.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def is_picture_file(data: bytes) -> bool:
    """Whether some bytes begin as a file that can be decoded does."""
    return data.startswith(SIGNATURES)


def _decoded(value: Any) -> Picture:
    data = _file_in(value)
    if data is not None:
        return _of_file(data)
    if is_missing(value):
        raise Refused(_WANTED, value, "A picture cannot be missing: leave the row out.")
    if type(value).__module__.partition(".")[0] == "PIL":
        return _of_pillow(value)
    return _of_array(value)


def _file_in(value: Any) -> bytes | None:
    """The bytes of a file, in whatever form they come; None where the value is of no such form."""
    if isinstance(value, dict):
        value = value.get("bytes")
        return value if isinstance(value, bytes) else None
    if isinstance(value, str):
        return _unwrapped(value)
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else None


def _unwrapped(text: str) -> bytes:
    """The bytes that base64 text stands for."""
    if len(text) > 1.4 * MAX_BYTES:
        raise Refused(f"pictures of at most {MAX_BYTES:,} bytes", _shown(text), "Make the picture smaller.")
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError):
        hint = "Text is taken for the base64 of a file's bytes; a path is not opened."
        raise Refused(_WANTED, _shown(text), hint) from None


def _of_file(data: bytes) -> Picture:
    if len(data) > MAX_BYTES:
        raise Refused(f"pictures of at most {MAX_BYTES:,} bytes", _shown(data), "Make the picture smaller.")
    plain = _PNM.match(data)
    if plain:
        kind, width, height = plain[1], int(plain[2]), int(plain[3])
        channels = 3 if kind == b"6" else 1
        _check_size(height, width)
        if len(data) - plain.end() != height * width * channels:
            raise Refused(_WANTED, _shown(data), _HINT)
        pixels = np.frombuffer(data, dtype=np.uint8, offset=plain.end())
        return pixels.reshape(height, width, channels)
    with _opened(data) as image:
        return _of_pillow(image)


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    """The Pillow image of a file, of which only the header is read; what goes wrong with it is Refused."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        hint = "pip install pillow, or pass arrays."
        raise Refused("arrays of pixels, as Pillow is not installed", _shown(data), hint) from None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            yield image
    except Refused:
        raise
    except Exception as error:  # Pillow's decoders raise what they like on damaged files
        if type(error).__name__.startswith("DecompressionBomb"):
            raise _too_large("more than twice as many") from None
        raise Refused(_WANTED, _shown(data), _HINT) from None


def _of_pillow(opened: Any) -> Picture:
    """A Pillow image, turned the right way up."""
    from PIL import ImageOps

    _check_size(opened.height, opened.width)
    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith(("I", "F")):
        # 16 bits a pixel and more: the brightest there can be is white.
        pixels = np.asarray(image, dtype=np.float64)
        top = 65_535.0 if image.mode.startswith("I") else max(1.0, float(pixels.max(initial=0.0)))
        grey: Picture = np.clip(np.rint(pixels / top * 255), 0, 255).astype(np.uint8)[:, :, None]
        return grey
    if "A" in image.getbands() or "transparency" in image.info:
        from PIL import Image

        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"), dtype=np.uint8)[:, :, None]
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _of_array(value: Any) -> Picture:
    try:
        array = np.asarray(value)
    except ValueError:
        raise Refused(_WANTED, _shown(value), _HINT) from None
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or array.dtype.kind not in "biu":
        raise Refused(_WANTED, _shown(value), "Channels come last: 1 for grey, 3 for colours.")
    _check_size(*array.shape[:2])
    if array.dtype != np.uint8 and (array.min() < 0 or array.max() > 255):
        raise Refused("pictures whose pixels are from 0 to 255", _shown(value), "Scale them first.")
    return array.astype(np.uint8, copy=False)


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise Refused("pictures with pixels in them", f"{height} x {width}", _HINT)
    if height * width > MAX_PIXELS:
        raise _too_large(f"{height} x {width}")


def _too_large(got: str) -> Refused:
    return Refused(f"pictures of at most {MAX_PIXELS:,} pixels", got, "Make the picture smaller.")


def _shown(value: Any) -> str:
    """A value in a few words: pictures are long."""
    if isinstance(value, (bytes, str)):
        return f"{len(value):,} {'bytes' if isinstance(value, bytes) else 'letters'}: {value[:12]!r}…"
    if isinstance(value, np.ndarray):
        return f"array {value.shape} of {value.dtype}"
    return type(value).__name__
