"""Training rows → the inputs of the graph, by the training half's own reading of a column."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np

from potstill.artifact.columns import Feeds
from potstill.data.columns import arrow_column, to_texts
from potstill.modalities.tabular import raw_column
from potstill.types import Schema


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
        if column.kind == "categorical":
            texts = to_texts(arrow_column(rows, column.name), column.name).fill_null("")
            inputs[column.name] = np.array(texts.to_pylist(), dtype=object)
        else:
            inputs[column.name] = raw_column(rows, column)
    return inputs
