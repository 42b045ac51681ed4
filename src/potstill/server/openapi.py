"""The server's own OpenAPI document, with the columns of the models it serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from potstill import __version__
from potstill.artifact import Model
from potstill.server.models import Served
from potstill.server.tensors import COLUMN_DATATYPES
from potstill.types import Column

_JSON = "application/json"
_ERRORS = {"400": "The request is wrong.", "404": "There is no such model.", "413": "Too large."}
_FILE = {"type": "string", "contentEncoding": "base64"}
_VALUES: dict[str, Any] = {
    "numeric": {"type": ["number", "boolean", "null"]},
    "boolean": {"anyOf": [{"type": ["boolean", "null"]}, {"enum": [0, 1]}, {"enum": ["true", "false"]}]},
    "categorical": {"type": ["string", "number", "boolean", "null"]},
    "date": {
        "anyOf": [{"type": "string", "format": "date"}, {"enum": ["", None]}],
        "examples": ["2024-05-31"],
    },
    "text": {"type": ["string", "null"]},
    "image": {"anyOf": [_FILE, {"type": "array", "description": "Its pixels, channels last, 0 to 255."}]},
}
_COMMON = {"401": "A token is needed.", "408": "Took too long.", "429": "Too many requests at once."}


def document(models: Iterable[Served], *, max_rows: int) -> dict[str, Any]:
    """OpenAPI 3.1 of a server with these models that takes at most so many rows at once."""
    served = list(models)
    paths: dict[str, Any] = {
        "/v2": {"get": _answers("What the server is", {"name": _text(), "version": _text()})},
        "/v2/health/live": {"get": _answers("Whether the process lives", {"live": {"type": "boolean"}})},
        "/v2/health/ready": {"get": _answers("Whether models answer", {"ready": {"type": "boolean"}})},
        "/v1/models": {"get": _answers("Names and versions", {"models": {"type": "array"}})},
    }
    schemas: dict[str, Any] = {"Error": _object({"error": _text()})}
    for each in served:
        schemas[f"Row.{each.name}"] = _row(each.model)
        schemas[f"Infer.{each.name}"] = _infer(each.model)
        base = f"/v2/models/{each.name}"
        paths[base] = {"get": _answers("Inputs and outputs", {"name": _text(), "inputs": {"type": "array"}})}
        paths[f"{base}/ready"] = {"get": _answers("Whether it answers", {"ready": {"type": "boolean"}})}
        paths[f"{base}/infer"] = {
            "post": _takes("Open Inference Protocol", f"Infer.{each.name}", {"outputs": {"type": "array"}})
        }
        schemas[f"Rows.{each.name}"] = _object(
            {
                "instances": {
                    "type": "array",
                    "items": {"$ref": f"#/components/schemas/Row.{each.name}"},
                    "maxItems": max_rows,
                }
            }
        )
        paths[f"/v1/models/{each.name}:predict"] = {
            "post": _takes("Rows as JSON objects", f"Rows.{each.name}", {"predictions": {"type": "array"}})
        }
        paths[f"/v1/models/{each.name}"] = {"get": _answers("Its Card", {"card": {"type": "object"}})}
    return {
        "openapi": "3.1.0",
        "info": {"title": "potstill", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _row(model: Model) -> dict[str, Any]:
    return _object({column.name: _VALUES[column.kind] for column in model.schema.columns})


def _infer(model: Model) -> dict[str, Any]:
    """A request of one row; with more rows the shapes and data are longer, other datatypes convert."""
    tensors = [
        _picture(each) if each.shape else _tensor(each.name, COLUMN_DATATYPES[each.kind], _VALUES[each.kind])
        for each in model.schema.columns
    ]
    n_columns = len(tensors)
    fields = {
        "inputs": {
            "type": "array",
            "prefixItems": tensors,
            "items": False,
            "minItems": n_columns,
            "maxItems": n_columns,
        },
        "id": {"type": ["string", "null"]},
    }
    return {**_object(fields), "required": ["inputs"]}


def _tensor(name: str, datatype: str, value: dict[str, Any]) -> dict[str, Any]:
    """A tensor of one such value."""
    return _object(
        {
            "name": {"const": name},
            "shape": {"const": [1]},
            "datatype": {"const": datatype},
            "data": {"type": "array", "minItems": 1, "maxItems": 1, "items": value},
        }
    )


def _picture(column: Column) -> dict[str, Any]:
    """A tensor of one picture, as its pixels or as a file."""
    side = {"type": "integer", "minimum": 1}
    shape = {
        "type": "array",
        "prefixItems": [{"const": 1}, side, side, {"const": column.shape[2]}],
        "items": False,
        "minItems": 4,
    }
    pixels = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0, "maximum": 255}}
    fields = {"name": {"const": column.name}, "shape": shape, "datatype": {"const": "UINT8"}, "data": pixels}
    return {"anyOf": [_object(fields), _tensor(column.name, "BYTES", _FILE)]}


def _takes(summary: str, schema: str, answer: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}
    return {**_answers(summary, answer), "requestBody": body}


def _answers(summary: str, fields: dict[str, Any]) -> dict[str, Any]:
    error = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses: dict[str, Any] = {
        "200": {"description": "OK", "content": {_JSON: {"schema": _object(fields)}}}
    }
    for status, description in {**_ERRORS, **_COMMON}.items():
        responses[status] = {"description": description, "content": error}
    return {"summary": summary, "responses": responses}


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields)}


def _text() -> dict[str, Any]:
    return {"type": "string"}
