"""Columns of pictures: folders, arrays and torch data sets made into one, and what is in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from potstill.artifact.folders import IMAGE, LABEL, class_of, picture_paths
from potstill.artifact.pictures import is_picture_file, picture_of, pnm_bytes
from potstill.artifact.refused import Refused
from potstill.errors import UserError
from potstill.types import Bools, Column, Ints

LARGEST_SIDE = 64
"""Pictures are looked at in this many pixels a side at most: what two cores can learn from in minutes."""

SIDE_STEP, SHORT_SIDE = 4, 16
"""Sides are multiples of the first, so that they can be halved twice; those below the second stay as is."""

_ROUNDING = 1e-3
"""How far from 0 to 1 a float may lie, as resizing leaves it."""

_LOOKED_AT = 500
_COLOUR_SHARE = 0.01


def picture_folder(folder: Path, *, labelled: bool = True) -> tuple[pa.Table, list[str]]:
    """The pictures anywhere below a folder as rows of files, in the order of their names.

    Parameters
    ----------
    labelled
        Whether each folder in it is a class; what lies beside them has no label. Else the names of folders
        mean nothing, and there is no column of labels.

    Returns
    -------
    The rows, and notes about what is passed over.

    Raises
    ------
    UserError
        There are no pictures in it, or none that has a label.
    """
    paths, notes = picture_paths(folder)
    labels = [class_of(path, folder) for path in paths]
    if not (any(labels) if labelled else paths):
        wanted = "one folder of pictures for each class" if labelled else "pictures"
        raise UserError(
            " ".join([f"Wanted a folder with {wanted}, got {folder}, which has none of these.", *notes]),
            hint="a picture of class cat belongs to DIRECTORY/cat/anything.png."
            if labelled
            else "PNG, JPEG, WebP, BMP, GIF and TIFF files are read.",
        )
    columns = {IMAGE: pa.array([path.read_bytes() for path in paths], pa.large_binary())}
    if labelled:
        columns[LABEL] = pa.array(labels, pa.string())
    return pa.table(columns), notes


def picture_array(array: NDArray[Any]) -> pa.Table:
    """``(n, height, width)`` or ``(n, height, width, channels)`` uint8 as rows of pictures.

    Raises
    ------
    UserError
        It is of another type or shape.
    """
    if (
        array.dtype != np.uint8
        or array.ndim not in (3, 4)
        or (array.ndim == 4 and array.shape[3] not in (1, 3))
    ):
        raise UserError(
            f"Wanted pictures as (n, height, width) or (n, height, width, 1 or 3) of uint8, got an array of "
            f"shape {array.shape} of {array.dtype}.",
            hint="scale them to 0 to 255 and put the channels last; tables are 2-d arrays.",
        )
    pictures = array if array.ndim == 4 else array[:, :, :, None]
    return pa.table({IMAGE: pa.array([pnm_bytes(picture) for picture in pictures], pa.large_binary())})


def is_torch_dataset(source: Any) -> bool:
    """Whether it is a ``torch.utils.data.Dataset``, asked without loading torch."""
    return any(kind.__module__.startswith("torch.utils.data") for kind in type(source).__mro__)


def picture_dataset(source: Any) -> pa.Table:
    """The items ``(picture, label)`` of a torch data set as rows; ``source.classes`` names the labels.

    Pictures may be Pillow images, uint8 arrays, or tensors ``(channels, height, width)`` from 0 to 1.

    Raises
    ------
    UserError
        An item is none of this.
    """
    names: Sequence[Any] | None = getattr(source, "classes", None)
    files, labels = [], []
    for row in range(len(source)):
        item = source[row]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UserError(
                f"Wanted (picture, label) from each item, got {type(item).__name__} in item {row}.",
                hint="wrap it in a data set that gives pairs.",
            )
        try:
            files.append(pnm_bytes(picture_of(_plain(item[0]))))
        except Refused as refusal:
            raise UserError(
                f"Item {row} of the data set: wanted {refusal.wanted}, got {refusal.value}.",
                hint=refusal.hint,
            ) from None
        labels.append(item[1].item() if hasattr(item[1], "item") else item[1])
    if names is not None and all(isinstance(label, int) for label in labels):
        labels = [str(names[label]) for label in labels]
    return pa.table({IMAGE: pa.array(files, pa.large_binary()), LABEL: labels})


def _plain(picture: Any) -> Any:
    """A tensor as an array with its channels last; anything else as it is."""
    if type(picture).__module__.partition(".")[0] != "torch":
        return picture
    array = picture.detach().cpu().numpy()
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = np.moveaxis(array, 0, 2)
    if array.dtype.kind != "f":
        return array
    low, high = array.min(initial=1.0), array.max(initial=0.0)
    if not -_ROUNDING <= low <= high <= 1 + _ROUNDING:
        raise Refused(
            "pictures of floats from 0 to 1",
            f"{low:.3g} to {high:.3g}",
            "Leave out Normalize, which a teacher applies itself; scale to 0 to 1, or give uint8.",
        )
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def check_files(values: pa.Array, name: str) -> None:
    """Raise a UserError where a column cannot hold picture files."""
    if not is_binary(values.type):
        raise UserError(f"Wanted picture files in column {name!r}, got {values.type}.")


def are_pictures(values: pa.Array) -> bool:
    """Whether most of the first binary values begin as picture files do."""
    first = [value for value in values.slice(0, 50).to_pylist() if value]
    return sum(map(is_picture_file, first)) > len(first) / 2


def picture_column(values: pa.Array, name: str, has_missing: bool) -> Column:
    """The column, with the shape in which the model will look at its pictures.

    That is their median size, at most `LARGEST_SIDE`; in colour where some of those looked at have any.

    Raises
    ------
    UserError
        None of those looked at can be read.
    """
    rows = np.unique(np.linspace(0, len(values) - 1, min(_LOOKED_AT, len(values))).astype(np.int64))
    seen: list[tuple[int, int]] = []
    in_colour = 0
    for row in rows.tolist():
        try:
            picture = picture_of(values[row].as_py())
        except Refused:
            continue
        seen.append((picture.shape[0], picture.shape[1]))
        in_colour += _is_coloured(picture)
    if not seen:
        raise UserError(
            f"Wanted pictures in column {name!r}, but none of {len(rows)} looked at can be read.",
            hint="give the bytes of PNG or JPEG files, whole ones.",
        )
    shape = picture_shape(np.array(seen), 3 if in_colour >= _COLOUR_SHARE * len(seen) else 1)
    return Column(name, "image", has_missing=has_missing, shape=shape)


def picture_shape(sizes: Ints, channels: int, *, largest: int = LARGEST_SIDE) -> tuple[int, int, int]:
    """The shape in which a model looks at pictures: their median size, or smaller.

    Parameters
    ----------
    sizes
        ``(n, 2)`` height and width of each training picture.
    channels
        1 for grey, 3 for colours.
    largest
        Longest side of the shape; what is larger shrinks to it in proportion.

    Returns
    -------
    Height, width and channels. Sides of 16 and more are multiples of 4.
    """
    height, width = np.maximum(np.median(sizes, axis=0), 1)
    scale = min(1.0, largest / max(height, width))
    return _side(height * scale), _side(width * scale), channels


def _side(length: float) -> int:
    if length < SHORT_SIDE:
        return max(1, round(length))
    return SIDE_STEP * round(length / SIDE_STEP)


def _is_coloured(picture: NDArray[np.uint8]) -> bool:
    return picture.shape[2] == 3 and bool((picture != picture[:, :, :1]).any())


def unreadable(values: pa.Array) -> Bools:
    """``(n,)`` where there is no picture that can be read."""

    def is_damaged(row: int) -> bool:
        try:
            picture_of(values[row].as_py())
        except Refused:
            return True
        return False

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        damaged = list(pool.map(is_damaged, range(len(values)), chunksize=256))
    return np.array(damaged, dtype=np.bool_)


def readable_rows(columns: Sequence[tuple[str, pa.Array]]) -> tuple[Ints, list[str]]:
    """Positions of the rows whose pictures can all be read, and a note about the others.

    Raises
    ------
    UserError
        No row is left.
    """
    notes = []
    n_rows = len(columns[0][1])
    damaged = np.zeros(n_rows, dtype=np.bool_)
    for name, values in columns:
        wrong = unreadable(values)
        damaged |= wrong
        if wrong.any():
            first = ", ".join(str(row) for row in np.flatnonzero(wrong)[:5])
            more = ", …" if wrong.sum() > 5 else ""
            notes.append(
                f"Left out {int(wrong.sum()):,} of {n_rows:,} rows: the picture in column {name!r} cannot be "
                f"read (rows {first}{more})."
            )
    if damaged.all():
        raise UserError("No row has pictures that can be read.", hint="give PNG or JPEG files, whole ones.")
    return np.flatnonzero(~damaged).astype(np.int64), notes
