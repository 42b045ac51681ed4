"""The plain protocol: rows as JSON objects, answers as `Model.predict_one` gives them."""

from __future__ import annotations

from typing import Any

import msgspec

from potstill.artifact import Model, feeds
from potstill.artifact.columns import Feeds
from potstill.errors import UserError
from potstill.server.errors import bad_request, refused
from potstill.server.models import Served
from potstill.types import Bools, Floats


class Rows(msgspec.Struct):
    """The body of a plain request; unknown keys are ignored."""

    instances: list[dict[str, Any]]


class Reference(msgspec.Struct):
    """The body of a request that switches versions."""

    version: str | None = None


_DECODER = msgspec.json.Decoder(Rows)


def read_rows(body: bytes) -> list[dict[str, Any]]:
    """The rows of a plain request.

    Raises
    ------
    RequestError
        It is no such request.
    """
    try:
        return _DECODER.decode(body).instances
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(
            f'The request is not {{"instances": [{{column: value, …}}, …]}}: {error}.'
        ) from None


def read_reference(body: bytes) -> str:
    """The version that a request names, by number, alias or hash; empty where it names none.

    Raises
    ------
    RequestError
        It is no such request.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=Reference).version or ""
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise bad_request(f'The request is not {{"version": "…"}}: {error}.') from None


def feeds_of_rows(rows: list[dict[str, Any]], model: Model) -> Feeds:
    """The graph's inputs for ``rows``.

    Raises
    ------
    RequestError
        A row lacks a column, or a value is of a wrong type.
    """
    try:
        return feeds(rows, model.schema)
    except UserError as error:
        raise refused(error) from None


def write_rows(served: Served, outputs: Floats, asked: Bools | None = None) -> bytes:
    """The body of the answer to a plain request; of a cascade it says who gave each answer."""
    model = served.model
    predictions: list[dict[str, Any]]
    if model.task.is_classification:
        names = [str(label) for label in model.classes]
        predictions = [
            {"label": model.classes[row.index(max(row))], "probabilities": dict(zip(names, row, strict=True))}
            for row in outputs.tolist()
        ]
    else:
        predictions = [{"value": row[0]} for row in outputs.tolist()]
    if asked is not None:
        for prediction, by_ensemble in zip(predictions, asked.tolist(), strict=True):
            prediction["answered_by"] = "ensemble" if by_ensemble else "student"
    return msgspec.json.encode(
        {"model_name": served.name, "model_version": served.version, "predictions": predictions}
    )
