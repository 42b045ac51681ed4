"""Vectors of words that a pretrained encoder gives: what it makes of each word alone, in fewer numbers."""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
from pathlib import Path

import numpy as np

from potstill.files import locked, write_whole
from potstill.modalities.pretrained_pieces import wordpiece_of
from potstill.networks.bert_folder import read_bert, read_shape, read_weights
from potstill.networks.fine_tuning import answers
from potstill.types import Floats

MOST_PIECES = 16
"""Word pieces of a word that are looked at."""

MOST_WORDS = 60_000
"""Words that are asked about; those after them, which are rarer, begin as nothing."""

MOST_WORK = MOST_WORDS * 6 * 12 * 384**2
"""Words times weights in the encoder's layers, at most: half a minute of one core. A large one is asked about
fewer words."""

WORDS_AT_ONCE = 1_000

SCALE = 0.3
"""Small vectors leave more to be learnt by the layers above, which are the same for all words."""


def word_vectors(
    checkpoint: str, tuned: str | None, words: tuple[str, ...], dim: int, limit_s: float | None = None
) -> Floats:
    """The vectors of words.

    What the encoder answers is kept in the system's folder for temporary files, or beside the tuned weights:
    a search fits many students from the same words.

    Parameters
    ----------
    checkpoint
        Folder of an encoder of BERT's kind, as Hugging Face keeps them.
    tuned
        File of its weights after a teacher was fine-tuned from it; None for those in the folder.
    words
        V words, most frequent first.
    dim
        D; more than the encoder has are filled up with zeros.
    limit_s
        Seconds that the encoder may be asked: words for which there is no time begin as nothing, as rare ones
        do, and the next who wants the same is told of these. None for as long as it takes.

    Returns
    -------
    ``(V, D)`` float32, the first principal components, of standard deviation `SCALE` on average.

    Raises
    ------
    UserError
        There is no such encoder.
    """
    shape = read_shape(checkpoint)
    weights = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.inner)
    own = _kept_answers(checkpoint, tuned, words[: min(MOST_WORDS, MOST_WORK // weights)], limit_s)
    centred = own - own.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred / len(centred))
    largest = np.argsort(-variances)[:dim]
    # An eigenvector's sign is arbitrary: its largest part is made positive.
    basis = directions[:, largest]
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
    vectors = np.zeros((len(words), dim), dtype=np.float32)
    unit = SCALE / np.sqrt(variances[largest].mean())
    vectors[: len(own), : basis.shape[1]] = centred @ basis * unit
    return vectors


def _kept_answers(
    checkpoint: str, tuned: str | None, words: tuple[str, ...], limit_s: float | None
) -> Floats:
    """`_answers`, from where they are kept as far as they have been given before."""
    encoder = (Path(checkpoint) / "model.safetensors" if tuned is None else Path(tuned)).resolve()
    changed = encoder.stat().st_mtime_ns if encoder.exists() else 0
    name = hashlib.sha256("\x1f".join([str(encoder), str(changed), *words]).encode()).hexdigest()[:24]
    # Weights that were tuned are a run's own: what is made of them goes when they do.
    home = Path(tempfile.gettempdir()) if tuned is None else encoder.parent
    folder = home / f"potstill-words-{name}"
    folder.mkdir(exist_ok=True)
    with locked(folder, on_wait=lambda _: None):
        file = folder / "vectors.npy"
        known = [np.load(file)] if file.exists() else []
        n_known = sum(map(len, known))
        if n_known < len(words):
            known += [_answers(checkpoint, tuned, words[n_known:], limit_s).astype(np.float16)]
            answered = io.BytesIO()
            np.save(answered, np.concatenate(known))
            write_whole(answered.getvalue(), file)
        kept: Floats = np.concatenate(known).astype(np.float32)
        return kept


def _answers(checkpoint: str, tuned: str | None, words: tuple[str, ...], limit_s: float | None) -> Floats:
    """``(V, H)``: the mean of the last layer over the pieces of each word, as far as there is time."""
    begin = time.monotonic()
    if tuned is None:
        shape, weights = read_bert(checkpoint)
    else:
        shape, weights = read_shape(checkpoint), read_weights(tuned)
    pieces = wordpiece_of(checkpoint, max_pieces=MOST_PIECES).ids(words)
    found: list[Floats] = []
    for start in range(0, len(pieces), WORDS_AT_ONCE):
        if found and limit_s is not None and time.monotonic() - begin > limit_s:
            break
        found.append(answers(weights, shape, pieces[start : start + WORDS_AT_ONCE], "mean", exact=False))
    return np.concatenate(found)
