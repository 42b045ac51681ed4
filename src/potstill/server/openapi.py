"""The server's own OpenAPI document, with the columns of the models it serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from potstill import __version__
from potstill.artifact import Model
from potstill.server.models import Served
from potstill.server.tensors import DTYPES

_JSON = "application/json"
_ERRORS = {"400": "The request is wrong.", "404": "There is no such model.", "413": "Too large."}
_COMMON = {"401": "A token is needed.", "408": "Took too long.", "429": "Too many requests at once."}


def document(models: Iterable[Served]) -> dict[str, Any]:
    """OpenAPI 3.1 of a server with these models."""
    served = list(models)
    paths: dict[str, Any] = {
        "/v2": {"get": _answers("What the server is", {"name": _text(), "version": _text()})},
        "/v2/health/live": {"get": _answers("Whether the process lives", {"live": {"type": "boolean"}})},
        "/v2/health/ready": {"get": _answers("Whether models answer", {"ready": {"type": "boolean"}})},
        "/v1/models": {"get": _answers("Names and versions", {"models": {"type": "array"}})},
    }
    schemas: dict[str, Any] = {"Error": _object({"error": _text()}), "Infer": _infer()}
    for each in served:
        schemas[f"Row.{each.name}"] = _row(each.model)
        base = f"/v2/models/{each.name}"
        paths[base] = {"get": _answers("Inputs and outputs", {"name": _text(), "inputs": {"type": "array"}})}
        paths[f"{base}/ready"] = {"get": _answers("Whether it answers", {"ready": {"type": "boolean"}})}
        paths[f"{base}/infer"] = {
            "post": _takes("Open Inference Protocol", "Infer", {"outputs": {"type": "array"}})
        }
        schemas[f"Rows.{each.name}"] = _object(
            {
                "instances": {
                    "type": "array",
                    "items": {"$ref": f"#/components/schemas/Row.{each.name}"},
                    "maxItems": 100,
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
    kinds: dict[str, Any] = {
        "numeric": {"type": ["number", "null"]},
        "boolean": {"type": ["boolean", "null"]},
        "categorical": {"type": ["string", "null"]},
        "date": {"type": ["string", "null"], "format": "date", "examples": ["2024-05-31"]},
    }
    return _object({column.name: kinds[column.kind] for column in model.schema.columns})


def _infer() -> dict[str, Any]:
    tensor = {
        "name": _text(),
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"enum": [*DTYPES, "BYTES"]},
        "data": {"type": "array"},
    }
    fields = {"inputs": {"type": "array", "items": _object(tensor)}, "id": _text()}
    return {**_object(fields), "required": ["inputs"]}


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
