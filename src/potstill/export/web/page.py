"""Artifact → a folder with one HTML page: the model is inside, a form is made of its schema, nothing leaves
the browser.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from pathlib import Path

import msgspec

from potstill.artifact import load
from potstill.artifact.envelope import PROBES_KEY, open_envelope
from potstill.errors import UserError
from potstill.files import write_whole

RUNTIME_FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What has to lie beside the page, out of ``dist/`` of the npm package onnxruntime-web."""

RUNTIME_VERSION = "1.30"
"""The onnxruntime-web that the pages are tested with; 1.22 answers some boosted trees wrongly (LOG.md)."""

_TEMPLATE = Path(__file__).with_name("page.html")


def find_runtime(folders: Iterable[Path]) -> Path | None:
    """The first folder of `RUNTIME_FILES` that npm has installed in one of some folders."""
    for folder in folders:
        found = folder / "node_modules" / "onnxruntime-web" / "dist"
        if all((found / name).is_file() for name in RUNTIME_FILES):
            return found
    return None


def write_page(data: bytes, folder: Path, *, runtime: Path | None) -> list[str]:
    """Write ``folder/index.html`` for an artifact, and copy the runtime beside it.

    Parameters
    ----------
    data
        The artifact.
    folder
        Made where it is absent; other files in it are left alone.
    runtime
        Folder of `RUNTIME_FILES`; None to copy nothing.

    Returns
    -------
    list of str
        Names of the runtime's files that are still absent from ``folder``.

    Raises
    ------
    ArtifactError
        When it is none, was changed, or answers its probe rows otherwise.
    """
    text = page(data)
    folder.mkdir(parents=True, exist_ok=True)
    if runtime is not None:
        for name in RUNTIME_FILES:
            write_whole((runtime / name).read_bytes(), folder / name)
    write_whole(text.encode(), folder / "index.html")
    return [name for name in RUNTIME_FILES if not (folder / name).is_file()]


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
    UserError
        When its texts need a tokenizer outside the graph.
    """
    card = load(data, verify=True).card
    if card.tokenizer is not msgspec.UNSET:
        raise UserError(
            "A model whose texts are cut into word pieces has no page: its tokenizer runs in Python.",
            hint="Ship a student of the families `static` or `ngram`: their graphs take the text itself.",
        )
    probes = open_envelope(data, source="the artifact").metadata[PROBES_KEY]
    facts = {
        "columns": [
            {
                "name": each.name,
                "kind": each.kind,
                "levels": each.levels,
                "low": each.low,
                "high": each.high,
                "shape": each.shape,
            }
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
