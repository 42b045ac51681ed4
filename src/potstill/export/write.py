"""A graph and its card → a file, wholly or not at all."""

from __future__ import annotations

from os import PathLike
from typing import Any

import narwhals as nw
import onnx

from potstill.artifact.card import Card
from potstill.artifact.probes import probe_candidates
from potstill.artifact.seal import seal
from potstill.export.inputs import graph_inputs
from potstill.files import write_whole

_N_PROBE_CANDIDATES = 1_000


def artifact_bytes(model: onnx.ModelProto, card: Card, rows: nw.DataFrame[Any]) -> bytes:
    """The artifact as bytes, the same for the same graph, card and rows.

    Parameters
    ----------
    model
        What `compose` made.
    card
        Its hash of the graph, version and size are filled in.
    rows
        Some real rows, of which a dozen are carried along as probes.
    """
    graph = model.SerializeToString(deterministic=True)
    candidates = probe_candidates(card.schema, min(len(rows), _N_PROBE_CANDIDATES))
    return seal(graph, card, graph_inputs(rows[candidates, :], card.schema))


def write_artifact(
    model: onnx.ModelProto, card: Card, rows: nw.DataFrame[Any], path: str | PathLike[str]
) -> bytes:
    """Write the artifact and return its bytes; see `artifact_bytes`.

    Raises
    ------
    UserError
        When the file cannot be written: no such folder, not allowed, the disk is full.
    """
    data = artifact_bytes(model, card, rows)
    write_whole(data, path)
    return data
