"""What tests of several rooms need."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    import narwhals as nw
    import onnx
    from torch import Tensor

    from potstill.artifact import Card
    from potstill.graph import GraphBuilder
    from potstill.modalities import ImageEncoder
    from potstill.networks.bert import BertShape
    from potstill.types import Floats, Tensors


@dataclass
class Decoded:
    """How many pixels of decoded files are there, and were at most; batches have ``budget`` pixels."""

    budget: int
    files: int = 0
    now: int = 0
    most: int = 0

    def note(self, picture: np.ndarray[Any, Any]) -> None:
        n_pixels = picture.shape[0] * picture.shape[1]
        self.files += 1
        self.now += n_pixels
        self.most = max(self.most, self.now)
        weakref.finalize(picture, self.forget, n_pixels)

    def forget(self, n_pixels: int) -> None:
        self.now -= n_pixels


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """Few pixels may be decoded at once, and those that are get counted."""
    from potstill.artifact import pictures

    seen, decode = Decoded(budget=2_000), pictures._decoded

    def noted(value: Any) -> Any:
        picture = decode(value)
        if not isinstance(value, np.ndarray):
            seen.note(picture)
        return picture

    monkeypatch.setattr(pictures, "_decoded", noted)
    for module in ("artifact.pictures", "artifact.model", "teachers.pixels"):
        monkeypatch.setattr(f"potstill.{module}.PIXELS_AT_ONCE", seen.budget)
    return seen


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray[Any, Any]]:
    """60 pictures in colour of all sizes, 60,000 pixels together."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 45, (60, 2))
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]


@dataclass(frozen=True)
class Weighted:
    """A student of pictures without a fit: the weighted sum of the pixels."""

    weights: Floats
    n_parameters: int = 0

    def logits(self, tensors: Tensors) -> Floats:
        flat = tensors["pixels"].reshape(-1, len(self.weights)).astype(np.float32)
        return flat @ self.weights

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        flat = graph.node("Reshape", tensors["pixels"], graph.constant(np.array([-1, len(self.weights)])))
        return graph.node("MatMul", flat, graph.constant(self.weights))


@dataclass(frozen=True)
class Album:
    """Photos as the files of a frame, a graph that weighs their pixels, and what its student says of them."""

    rows: nw.DataFrame[Any]
    card: Card
    encoder: ImageEncoder
    student: Weighted
    graph: onnx.ModelProto
    artifact: bytes
    expected: Floats


@pytest.fixture(scope="session")
def album(photos: list[np.ndarray[Any, Any]]) -> Album:
    import narwhals as nw
    import pyarrow as pa

    from potstill.artifact import Affine, Card
    from potstill.artifact.pictures import pnm_bytes
    from potstill.export import artifact_bytes, compose
    from potstill.modalities import ImageEncoder
    from potstill.types import Column, Schema, Task

    rows = nw.from_native(pa.table({"photo": [pnm_bytes(photo) for photo in photos]}), eager_only=True)
    schema = Schema((Column("photo", "image", shape=(8, 12, 3)),))
    card = Card(name="y", task=Task("regression", "y"), schema=schema, calibration=Affine(2.0, 1.0))
    weights = np.random.default_rng(1).uniform(0, 1e-3, (8 * 12 * 3, 1)).astype(np.float32)
    encoder, student = ImageEncoder(schema), Weighted(weights)
    graph = compose(encoder, student, card.calibration, task=card.task)
    said = card.calibration.apply(student.logits(encoder.encode(rows)))
    return Album(rows, card, encoder, student, graph, artifact_bytes(graph, card, rows), said)


@pytest.fixture(scope="session")
def write_bert() -> Callable[[Path, BertShape, Mapping[str, Tensor], tuple[str, ...]], str]:
    """Writes an encoder and its word pieces as a Hugging Face folder; returns its path."""

    def write(folder: Path, shape: BertShape, weights: Mapping[str, Tensor], pieces: tuple[str, ...]) -> str:
        from safetensors.torch import save_file

        folder.mkdir(parents=True)
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
        (folder / "config.json").write_text(json.dumps(config(shape)))
        save_file(as_stored(weights, shape), folder / "model.safetensors", metadata={"format": "pt"})
        return str(folder)

    return write


def config(shape: BertShape) -> dict[str, object]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "vocab_size": shape.pieces,
        "max_position_embeddings": shape.positions,
        "layer_norm_eps": shape.epsilon,
        "type_vocab_size": 1,
        "pad_token_id": 0,
    }


def as_stored(weights: Mapping[str, Tensor], shape: BertShape) -> dict[str, Tensor]:
    """Our weights under the names and in the layout of the file; the one segment's vector is 0."""
    import torch

    stored = {
        "embeddings.word_embeddings.weight": weights["word"],
        "embeddings.position_embeddings.weight": weights["position"],
        "embeddings.token_type_embeddings.weight": torch.zeros(1, shape.width),
        "embeddings.LayerNorm.weight": weights["norm_scale"],
        "embeddings.LayerNorm.bias": weights["norm_shift"],
    }
    for i in range(shape.layers):
        layer = f"encoder.layer.{i}"
        dense = {
            f"attention.self.{part}": (matrix, bias)
            for part, matrix, bias in zip(
                ("query", "key", "value"),
                weights[f"attend{i}"].chunk(3, dim=1),
                weights[f"attend_bias{i}"].chunk(3),
                strict=True,
            )
        }
        dense["attention.output.dense"] = weights[f"mix{i}"], weights[f"mix_bias{i}"]
        dense["intermediate.dense"] = weights[f"widen{i}"], weights[f"widen_bias{i}"]
        dense["output.dense"] = weights[f"narrow{i}"], weights[f"narrow_bias{i}"]
        for name, (matrix, bias) in dense.items():
            stored[f"{layer}.{name}.weight"], stored[f"{layer}.{name}.bias"] = matrix.T, bias
        for name, ours in (("attention.output.LayerNorm", "mix"), ("output.LayerNorm", "narrow")):
            stored[f"{layer}.{name}.weight"] = weights[f"{ours}_scale{i}"]
            stored[f"{layer}.{name}.bias"] = weights[f"{ours}_shift{i}"]
    return {name: weight.detach().clone().contiguous() for name, weight in stored.items()}
