"""Rows of pictures as torch modules and ONNX graphs take them: batches of one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.artifact.pictures import pictures_of, rows_by_size
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
    files = arrow_column(dataset.rows, column.name).to_pylist()
    found: NDArray[Any] | None = None
    for start in range(0, len(files), PICTURES_AT_ONCE):
        pictures = pictures_of(files[start : start + PICTURES_AT_ONCE], channels)
        if size is not None:
            from potstill.modalities.image import resized  # brings the library onnx along

            pictures = resized(pictures, (*size, channels))
        for rows in map(np.array, rows_by_size(pictures).values()):
            for some in np.split(rows, range(at_once, len(rows), at_once)):
                answers = ask(np.stack([pictures[row] for row in some]))
                if found is None:
                    found = np.empty((len(files), *answers.shape[1:]))
                found[start + some] = answers
    return np.empty((0, dataset.task.n_outputs)) if found is None else found
