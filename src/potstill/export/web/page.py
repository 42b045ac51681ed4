"""Artifact → one HTML page: the model is inside, a form is made of its schema, nothing leaves the browser."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import msgspec

from potstill.artifact import load
from potstill.artifact.envelope import PROBES_KEY, open_envelope

RUNTIME_FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What has to lie beside the page, out of ``dist/`` of the npm package onnxruntime-web."""

_TEMPLATE = Path(__file__).with_name("page.html")


def page(data: bytes) -> str:
    """The page of an artifact.

    Parameters
    ----------
    data
        The artifact.

    Raises
    ------
    ArtifactError
        When it is none, was changed, or answers its probe rows otherwise.
    """
    card = load(data, verify=True).card
    probes = open_envelope(data, source="the artifact").metadata[PROBES_KEY]
    facts = {
        "columns": [
            {"name": each.name, "kind": each.kind, "levels": each.levels, "low": each.low, "high": each.high}
            for each in card.schema.columns
        ],
        "classes": [str(label) for label in card.task.classes],
        "target": card.task.target,
        "probes": msgspec.json.decode(probes),
        "model": base64.b64encode(data).decode(),
    }
    encoded = msgspec.json.encode(facts).decode().replace("<", "\\u003c")  # no text can end the script
    title = html.escape(card.name or "model")
    return _TEMPLATE.read_text(encoding="utf-8").replace("{{title}}", title).replace("{{facts}}", encoded)
