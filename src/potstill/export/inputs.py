"""Training rows → the inputs of the graph, by the training half's own reading of a column."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from potstill.artifact.columns import Feeds, lone_picture_column, picture_feeds
from potstill.artifact.pictures import pictures_of
from potstill.artifact.values import free_texts
from potstill.data.columns import arrow_column, to_texts
from potstill.modalities.tabular import raw_column
from potstill.types import Column, ColumnKind, Schema


def graph_inputs(rows: nw.DataFrame[Any], schema: Schema) -> Feeds:
    """What `potstill.artifact.feeds` gives for the same rows, said the way the encoder reads them.

    Where the caller declared a text column numeric, training read it; `feeds` refuses text. So rows of the
    training half go this way.

    Raises
    ------
    UserError
        A column is not there, or holds what cannot be read as its kind.
    """
    inputs: Feeds = {}
    for column in schema.columns:
        inputs[column.name] = _READERS[column.kind](rows, column)
    return inputs


def input_batches(rows: nw.DataFrame[Any], schema: Schema) -> Iterator[Feeds]:
    """`graph_inputs` of all the rows, pictures some at a time, so that few of them are decoded at once.

    Raises
    ------
    UserError
        As `graph_inputs`.
    """
    column = lone_picture_column(schema)
    if column is None:
        yield graph_inputs(rows, schema)
        return
    files = arrow_column(rows, column.name)
    yield from picture_feeds((file.as_py() for file in files), column)


def _texts(rows: nw.DataFrame[Any], column: Column) -> NDArray[Any]:
    texts = to_texts(arrow_column(rows, column.name), column.name).fill_null("")
    return np.array(texts.to_pylist(), dtype=object)


def _free_texts(rows: nw.DataFrame[Any], column: Column) -> NDArray[Any]:
    return free_texts(_texts(rows, column))


def _pictures(rows: nw.DataFrame[Any], column: Column) -> NDArray[Any]:
    return pictures_of(arrow_column(rows, column.name).to_pylist(), column.shape[2])


_READERS: dict[ColumnKind, Callable[[nw.DataFrame[Any], Column], NDArray[Any]]] = {
    "numeric": raw_column,
    "boolean": raw_column,
    "date": raw_column,
    "categorical": _texts,
    "text": _free_texts,
    "image": _pictures,
}
