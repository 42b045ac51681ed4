"""A graph and its card → a file, wholly or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from os import PathLike
from pathlib import Path
from typing import Any

import narwhals as nw
import onnx

from potstill.artifact.card import Card
from potstill.artifact.seal import seal
from potstill.errors import UserError
from potstill.export.inputs import graph_inputs

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
    return seal(graph, card, graph_inputs(rows[:_N_PROBE_CANDIDATES, :], card.schema))


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


def write_whole(data: bytes, path: str | PathLike[str]) -> None:
    """Write a file that is there wholly or not at all: beside it first, to the disk, then renamed.

    Raises
    ------
    UserError
        When it cannot be written; what was there before is then still there.
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        raise _not_written(target, error) from None
    finally:
        beside.unlink(missing_ok=True)


def _not_written(target: Path, error: OSError) -> UserError:
    if error.errno == errno.ENOSPC:
        return UserError(
            f"{target} cannot be written: the disk is full.", hint="Free some space, or write elsewhere."
        )
    if error.errno == errno.ENOENT:
        return UserError(
            f"{target} cannot be written: there is no folder {target.parent}.", hint="Make the folder first."
        )
    return UserError(f"{target} cannot be written: {error.strerror}.", hint="Write to a place of your own.")
