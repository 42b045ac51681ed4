"""Vectors of words that a pretrained encoder gives: what it makes of each word alone, in fewer numbers."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from potstill.files import locked
from potstill.modalities.pretrained_pieces import wordpiece_of
from potstill.types import Floats

WORDS_AT_ONCE = 512
MOST_PIECES = 16
"""Word pieces of a word that are looked at."""

MOST_WORDS = 30_000
"""Words that are asked about; those after them, which are rarer, begin as nothing."""

FREQUENT = 1e-3
"""A word that is this part of all words weighs half of one that is very rare."""


def word_vectors(checkpoint: str, words: tuple[str, ...], dim: int) -> tuple[Floats, Floats]:
    """The vectors of words, and how much each should weigh in a text.

    Frequencies are guessed from the order, by Zipf's law. What the encoder answers is kept in the system's
    folder for temporary files: a search fits many students from the same words.

    Parameters
    ----------
    checkpoint
        Folder of an encoder of BERT's kind, as Hugging Face keeps them.
    words
        V words, most frequent first.
    dim
        D; more than the encoder has are filled up with zeros.

    Returns
    -------
    ``(V, D)`` float32, the first principal components, of variance 1 on average; ``(V,)`` float32 logarithms
    of weights.

    Raises
    ------
    UserError
        There is no such encoder.

    References
    ----------
    Arora, Liang, Ma (2017), A Simple but Tough-to-Beat Baseline for Sentence Embeddings (the weights).
    """
    own = _kept_answers(checkpoint, words[:MOST_WORDS])
    centred = own - own.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred / len(centred))
    largest = np.argsort(-variances)[:dim]
    # An eigenvector's sign is arbitrary: its largest part is made positive.
    basis = directions[:, largest]
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
    vectors = np.zeros((len(words), dim), dtype=np.float32)
    vectors[: len(own), : basis.shape[1]] = centred @ basis / np.sqrt(variances[largest].mean())
    share = 1 / np.arange(1, len(words) + 1)
    gain = np.log(FREQUENT / (FREQUENT + share / share.sum()))
    return vectors, gain.astype(np.float32)


def _kept_answers(checkpoint: str, words: tuple[str, ...]) -> Floats:
    """`_answers`, from the folder for temporary files if they have been given before."""
    name = hashlib.sha256("\x1f".join([str(Path(checkpoint).resolve()), *words]).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"potstill-words-{name}"
    folder.mkdir(exist_ok=True)
    with locked(folder, on_wait=lambda _: None):
        file = folder / "vectors.npy"
        if not file.exists():
            np.save(file, _answers(checkpoint, words).astype(np.float16))
        kept: Floats = np.load(file).astype(np.float32)
        return kept


def _answers(checkpoint: str, words: tuple[str, ...]) -> Floats:
    """``(V, H)``: the mean of the encoder's last layer over the pieces of each word."""
    from transformers import AutoModel

    tokenizer = wordpiece_of(checkpoint, max_pieces=MOST_PIECES)
    encoder: Any = AutoModel.from_pretrained(checkpoint, local_files_only=True).eval()
    pieces = torch.from_numpy(tokenizer.ids(words))
    lengths = (pieces != 0).sum(dim=1)
    vectors = torch.empty(len(words), encoder.config.hidden_size)
    with torch.inference_mode():
        for rows in torch.split(torch.argsort(lengths, stable=True), WORDS_AT_ONCE):
            asked = pieces[rows, : int(lengths[rows].max())]
            there = (asked != 0).long()
            states = encoder(input_ids=asked, attention_mask=there).last_hidden_state
            vectors[rows] = (states * there[:, :, None]).sum(dim=1) / there.sum(dim=1, keepdim=True)
    answers: Floats = vectors.numpy()
    return answers
