"""Rows of pictures as torch modules and ONNX graphs take them: batches of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from potstill.artifact.pictures import PIXELS_AT_ONCE, picture_batches, rows_by_size
from potstill.data.columns import arrow_column
from potstill.types import Dataset

PICTURES_AT_ONCE = 256

Pixels = NDArray[np.uint8]
"""``(n, height, width, channels)``."""


def is_of_pictures(dataset: Dataset) -> bool:
    """Whether the rows are pictures."""
    return any(column.kind == "image" for column in dataset.schema.columns)


def answers_to_pictures(
    dataset: Dataset,
    ask: Callable[[Pixels], NDArray[Any]],
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    at_once: int = PICTURES_AT_ONCE,
) -> NDArray[Any]:
    """What a model answers to pictures, which are decoded some at a time.

    Parameters
    ----------
    dataset
        Rows with one column of pictures.
    ask
        Pictures of one size to their answers ``(n,)`` or ``(n, K)``.
    channels
        1 or 3; None for as many as the schema says.
    size
        Height and width that every picture is resized to; None leaves each as it is.
    at_once
        Pictures in one call at most.

    Returns
    -------
    The answers in the order of the rows.
    """
    (column,) = (column for column in dataset.schema.columns if column.kind == "image")
    channels = channels or column.shape[2]
    files = arrow_column(dataset.rows, column.name)
    found: NDArray[Any] | None = None
    start = 0
    for pictures in _batches(files, channels, size):
        for rows in map(np.array, rows_by_size(pictures).values()):
            for some in np.split(rows, range(at_once, len(rows), at_once)):
                answers = ask(np.stack([pictures[row] for row in some]))
                if found is None:
                    found = np.empty((len(files), *answers.shape[1:]))
                found[start + some] = answers
        start += len(pictures)
    return np.empty((0, dataset.task.n_outputs)) if found is None else found


def _batches(files: pa.Array, channels: int, size: tuple[int, int] | None) -> Iterator[NDArray[Any]]:
    """The pictures in order, some at a time, each in its own size or all in one."""
    if size is None:
        yield from picture_batches((file.as_py() for file in files), channels, at_once=PICTURES_AT_ONCE)
        return
    from potstill.modalities.image import pixels_of  # brings the library onnx along

    step = max(1, min(PICTURES_AT_ONCE, PIXELS_AT_ONCE // (size[0] * size[1])))
    for start in range(0, len(files), step):
        yield pixels_of(files.slice(start, step), (*size, channels))
