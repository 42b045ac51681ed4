"""What tests of several rooms need."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from potstill.networks.bert import BertShape


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
