"""Pictures: a column of them to pixels of one height and width, in numpy and as ONNX nodes.

Resizing is said once, as ONNX nodes, and ONNX Runtime does it on both sides: so they agree bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from onnx import TensorProto

from potstill.artifact.columns import wrong_value
from potstill.artifact.pictures import Picture, picture_batches, rows_by_size
from potstill.artifact.refused import Refused
from potstill.artifact.session import open_session
from potstill.data.columns import arrow_column
from potstill.graph import GraphBuilder
from potstill.types import Column, Dataset, FeatureSpec, Schema, Tensors

if TYPE_CHECKING:
    import onnxruntime as ort

_AT_ONCE = 256
"""Pictures of one size that are resized at a time."""


@dataclass(frozen=True)
class ImageEncoder:
    """The Encoder of one column of pictures. It holds nothing but the schema, in which their shape is.

    A picture becomes its pixels, resized to the shape of the column (bilinear, each new pixel a mean of all
    that it covers), grey turned to colour or colour to grey.
    """

    schema: Schema

    @classmethod
    def fit(cls, dataset: Dataset) -> ImageEncoder:
        """The encoder of ``dataset``'s schema."""
        return cls(dataset.schema)

    @property
    def spec(self) -> FeatureSpec:
        return FeatureSpec(image=self._column.shape)

    @property
    def tokenizer(self) -> None:
        """There are no texts."""

    def encode(self, rows: nw.DataFrame[Any]) -> Tensors:
        """``pixels`` ``(n, H, W, C)`` uint8; ``numeric`` and ``categorical`` have no columns.

        Raises
        ------
        UserError
            The column is not there, or holds what is no picture.
        """
        files = arrow_column(rows, self._column.name)
        try:
            pixels = pixels_of(files, self._column.shape)
        except Refused as refusal:
            raise wrong_value(self._column.name, refusal) from None
        return {
            "pixels": pixels,
            "numeric": np.zeros((len(files), 0), dtype=np.float32),
            "categorical": np.zeros((len(files), 0), dtype=np.int64),
        }

    def build(self, graph: GraphBuilder) -> Mapping[str, str]:
        """Add the input, UINT8 ``(n, height, width, C)`` of any height and width, and the resizing nodes.

        Returns
        -------
        ``pixels``: FLOAT ``(n, H, W, C)``, whole numbers from 0 to 255.
        """
        name, channels = self._column.name, self._column.shape[2]
        graph.input(name, TensorProto.UINT8, ["n", "height", "width", channels])
        return {"pixels": _build_resizing(graph, name, self._column.shape)}

    @property
    def _column(self) -> Column:
        (column,) = self.schema.columns
        return column


def pixels_of(files: pa.Array, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Picture files as pixels ``(n, H, W, C)`` of the wanted ``shape`` ``(H, W, C)``, few decoded at once.

    Raises
    ------
    Refused
        With the row of the first that is no picture.
    """
    found = np.empty((len(files), *shape), dtype=np.uint8)
    start = 0
    for pictures in picture_batches((file.as_py() for file in files), shape[2]):
        stop = start + len(pictures)
        found[start:stop] = resized(pictures, shape)
        start = stop
    return found


def resized(pictures: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pictures of any height and width as ``(n, H, W, C)`` uint8 of the wanted ``shape`` ``(H, W, C)``.

    Parameters
    ----------
    pictures
        ``(n, height, width, C)`` uint8, or an ``(n,)`` object array of pictures ``(height, width, C)``.
    shape
        Of the result, row by row.
    """
    if pictures.dtype == np.uint8 and pictures.shape[1:] == shape:
        return pictures
    found = np.empty((len(pictures), *shape), dtype=np.uint8)
    for size, rows in rows_by_size(pictures).items():
        # Large pictures a few at a time: as floats they take four times the memory.
        at_once = max(1, min(_AT_ONCE, int(2e7 / np.prod(size))))
        for first in range(0, len(rows), at_once):
            some = rows[first : first + at_once]
            found[some] = _resized_alike(np.stack([pictures[row] for row in some]), shape)
    return found


def _resized_alike(pictures: NDArray[np.uint8], shape: tuple[int, ...]) -> Picture:
    if pictures.shape[1:] == shape:
        return pictures
    answer: NDArray[np.float32] = _resizer(shape).run(None, {"pictures": pictures})[0]
    return answer.astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _resizer(shape: tuple[int, ...]) -> ort.InferenceSession:
    """The graph that resizes and nothing else."""
    graph = GraphBuilder("resize")
    pictures = graph.input("pictures", TensorProto.UINT8, ["n", "height", "width", shape[2]])
    graph.output(_build_resizing(graph, pictures, shape), "pixels", TensorProto.FLOAT, ["n", *shape])
    return open_session(graph.model().SerializeToString())


def _build_resizing(graph: GraphBuilder, pictures: str, shape: tuple[int, ...]) -> str:
    """Nodes from ``(n, h, w, C)`` UINT8 to ``(n, H, W, C)`` FLOAT of whole numbers."""
    height, width, channels = shape
    planes = graph.node("Transpose", graph.node("Cast", pictures, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    n_rows = graph.node("Shape", planes, start=0, end=1)
    sizes = graph.node("Concat", n_rows, graph.constant(np.array([channels, height, width])), axis=0)
    smooth = graph.node("Resize", planes, "", "", sizes, mode="linear", antialias=1)
    whole = graph.node("Round", smooth)
    within = graph.node(
        "Clip", whole, graph.constant(np.array(0, np.float32)), graph.constant(np.array(255, np.float32))
    )
    return graph.node("Transpose", within, perm=[0, 2, 3, 1])
