"""Hugging Face transformers: sequence classifiers and sentence encoders, in folders or as live models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.errors import UserError
from potstill.teachers.adapter import library, packages, path_of
from potstill.teachers.answers import checked, sigmoid, softmax, speaking_for
from potstill.teachers.classes import match
from potstill.teachers.digests import digest, file_digest
from potstill.teachers.files import require_trust
from potstill.types import Dataset, Doubles, Floats, Ints, Task, Teacher, Trainable

if TYPE_CHECKING:
    from potstill.teachers.text_heads import Head

_VERSION = "1"
_INSTALL = "potstill[text]"

MOST_PIECES = 512
"""Of a text, where the tokenizer sets no limit."""

ROWS_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class HuggingFaceTeacher:
    """A sequence classifier, asked in evaluation mode, without gradients, in batches of about one length.

    Several text columns are joined by a blank; other columns are not read.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    model
        The ``transformers`` model with its head.
    tokenizer
        What makes pieces of the texts.
    labels
        What the columns of its answers stand for, in its own words; empty for regression and for a single
        output, which is the logit of the second class.
    """

    name: str
    fingerprint: str
    model: Any
    tokenizer: Any
    labels: tuple[Any, ...]

    def predict(self, dataset: Dataset) -> Floats:
        """Probabilities ``(n, K)`` in the order of the task's classes, or values ``(n, 1)``."""
        texts = _texts(dataset, self.name)
        with speaking_for(self.name, "answer the texts"):
            width = self.model.config.num_labels
            values = _in_batches(self.model, self.tokenizer, texts, width, lambda output, _: output.logits)
        if dataset.task.is_classification:
            values = softmax(values) if self.labels else sigmoid(values)
        labels = self.labels or None
        return checked(values, task=dataset.task, n_rows=len(texts), teacher=self.name, labels=labels)


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """An encoder without a head: it is left as it is, and logistic (linear) regression fitted on its vectors.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Trainable`.
    model, tokenizer
        As in `HuggingFaceTeacher`.
    first
        A text's vector is that of its first piece; otherwise the mean of all.
    """

    name: str
    fingerprint: str
    model: Any
    tokenizer: Any
    first: bool = False

    def fit(self, dataset: Dataset, *, seed: int) -> FittedSentenceEncoder:
        return self.fit_whole(dataset, seed=seed)

    def fit_whole(self, dataset: Dataset, *, seed: int) -> FittedSentenceEncoder:
        """Fit a head for each fold of the rows; their mean answers all other rows."""
        from potstill.teachers.text_heads import cross_fitted_head

        assert dataset.labels is not None
        head, own = cross_fitted_head(
            self.vectors(dataset), dataset.labels, dataset.weight, dataset.task, seed=seed
        )
        ids = np.arange(len(dataset)) if dataset.ids is None else dataset.ids
        order = np.argsort(ids)
        labels = np.ascontiguousarray(dataset.labels).tobytes()
        fingerprint = digest(self.fingerprint, str(seed), *_texts(dataset, self.name), labels)
        return FittedSentenceEncoder(self, fingerprint, head, ids[order], own[order])

    def vectors(self, dataset: Dataset) -> Floats:
        """``(n, H)`` float32."""

        def pooled(output: Any, mask: Any) -> Any:
            hidden = output.last_hidden_state
            if self.first:
                return hidden[:, 0]
            there = mask[:, :, None].to(hidden.dtype)
            return (hidden * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)

        texts = _texts(dataset, self.name)
        with speaking_for(self.name, "encode the texts"):
            width = self.model.config.hidden_size
            return _in_batches(self.model, self.tokenizer, texts, width, pooled).astype(np.float32)


@dataclass(frozen=True, eq=False)
class FittedSentenceEncoder:
    """A sentence encoder with the head that was fitted on its vectors.

    Parameters
    ----------
    encoder
        What makes the vectors.
    fingerprint
        See `potstill.types.Teacher`.
    head
        Vectors to answers.
    ids
        ``(n,)`` ids of the rows it was fitted on, ascending.
    own
        ``(n, K)`` the answers to them of heads that have not seen them.
    """

    encoder: SentenceEncoder
    fingerprint: str
    head: Head
    ids: Ints
    own: Floats

    @property
    def name(self) -> str:
        return self.encoder.name

    def predict(self, dataset: Dataset) -> Floats:
        """Probabilities ``(n, K)`` in the order of the task's classes, or values ``(n, 1)``."""
        return self.head.answers(self.encoder.vectors(dataset))

    def predict_out_of_fold(self, dataset: Dataset) -> Floats:
        """The answers of heads that have not seen the rows; NaN for other rows."""
        wanted = np.arange(len(dataset)) if dataset.ids is None else dataset.ids
        place = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        known = self.ids[place] == wanted
        answers: Floats = np.where(known[:, None], self.own[place], np.nan).astype(np.float32)
        return answers


class HuggingFaceAdapter:
    """Adapter of folders with a ``config.json``, of pairs (model, tokenizer) and of pipelines."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        path = path_of(source)
        if path is not None:
            return (path / "config.json").is_file()
        if isinstance(source, tuple):
            return len(source) == 2 and "transformers" in packages(source[0])
        return "transformers" in packages(source)

    @classmethod
    def adopt(cls, source: Any, *, task: Task, trust: bool, name: str | None) -> Teacher | Trainable:
        path = path_of(source)
        if path is not None:
            name = name or path.name
            model, tokenizer, first = _opened(path, name, trust)
            fingerprint = digest("huggingface", _VERSION, file_digest(path))
        else:
            model, tokenizer = _live(source)
            name, first = name or type(model).__name__, False
            fingerprint = _fingerprint(model, tokenizer)
        if not type(model).__name__.endswith("ForSequenceClassification"):
            return SentenceEncoder(name, fingerprint, model, tokenizer, first)
        return HuggingFaceTeacher(name, fingerprint, model, tokenizer, _labels(model, task, name))


def encoder_folder(source: object) -> str | None:
    """The folder of a teacher whose encoder students can begin with; None for every other source.

    It holds a network of BERT's kind, with a head or without one, and its word pieces.
    """
    from potstill.modalities.vocabulary import read_vocabulary
    from potstill.networks.bert_folder import read_bert

    path = path_of(source)
    if path is None or not HuggingFaceAdapter.recognises(path):
        return None
    try:
        shape, _ = read_bert(path)
        fits = len(read_vocabulary(path).pieces) <= shape.pieces
    except Exception:  # where it cannot be read by anybody, adopting it says so
        return None
    return str(path) if fits else None


def _opened(path: Path, name: str, trust: bool) -> tuple[Any, Any, bool]:
    """Model and tokenizer of a folder, and whether it pools the first piece."""
    library("transformers", wanted_for=f"Opening {str(path)!r}", install=_INSTALL)
    import transformers

    whole = any(path.glob("*.safetensors"))
    if not whole:
        require_trust(path, trust, instead="model.safetensors (save_pretrained does)")
    with speaking_for(name, f"be read from {str(path)!r}"):
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        classifies = any(
            architecture.endswith("ForSequenceClassification")
            for architecture in config.get("architectures") or []
        )
        loader = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModel
        options = {"local_files_only": True, "trust_remote_code": False}
        model = loader.from_pretrained(str(path), use_safetensors=whole, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(path), **options)
        pooling = path / "1_Pooling" / "config.json"
        first = pooling.is_file() and bool(json.loads(pooling.read_text()).get("pooling_mode_cls_token"))
    return model.eval(), tokenizer, first


def _live(source: Any) -> tuple[Any, Any]:
    """Model and tokenizer of a pair or of a pipeline."""
    if isinstance(source, tuple):
        return source[0], source[1]
    model, tokenizer = getattr(source, "model", None), getattr(source, "tokenizer", None)
    if model is None or tokenizer is None:
        raise UserError(
            f"A {type(source).__name__} does not say how texts become pieces: wanted a pair (model, "
            "tokenizer), a text-classification pipeline or a folder.",
            hint="Pass (model, tokenizer).",
        )
    return model, tokenizer


def _labels(model: Any, task: Task, name: str) -> tuple[Any, ...]:
    """The model's own labels, which are classes of the task; empty where it has a single output."""
    n_outputs = int(model.config.num_labels)
    allowed = {task.n_outputs, 1} if task.kind == "binary" else {task.n_outputs}
    if not task.is_classification or n_outputs == 1:
        if n_outputs not in allowed:
            raise UserError(
                f"Teacher {name!r} has {n_outputs} outputs: wanted {task.n_outputs} for the {task.kind} "
                f"target {task.target!r}."
            )
        return ()
    own = [model.config.id2label[at] for at in range(n_outputs)]
    # What nobody named is numbered.
    unnamed = [re.fullmatch(r"LABEL_(\d+)", str(label)) for label in own]
    labels = [int(found[1]) if found else label for found, label in zip(unnamed, own, strict=True)]
    match(labels, task, name)
    return tuple(labels)


def _texts(dataset: Dataset, name: str) -> list[str]:
    from potstill.modalities.text import joined_texts, text_columns

    if not text_columns(dataset.schema):
        raise UserError(
            f"Teacher {name!r} reads texts: wanted a text column, got "
            f"{', '.join(map(repr, dataset.schema.names))}.",
            hint="A column of texts is one of kind text in the schema.",
        )
    return joined_texts(dataset.rows, dataset.schema)


def _in_batches(model: Any, tokenizer: Any, texts: Sequence[str], width: int, taken: Any) -> Doubles:
    """``(n, width)`` of what is ``taken`` of the model's output for the texts and their mask."""
    import torch

    limit = min(int(tokenizer.model_max_length), MOST_PIECES)
    order = np.argsort([len(text) for text in texts], kind="stable")
    out: NDArray[np.float64] = np.empty((len(texts), width))
    device = next(model.parameters()).device
    with torch.no_grad(), _evaluating(model):
        for start in range(0, len(order), ROWS_AT_ONCE):
            rows = order[start : start + ROWS_AT_ONCE]
            batch = tokenizer(
                [texts[row] for row in rows],
                truncation=True,
                max_length=limit,
                padding=True,
                return_tensors="pt",
            ).to(device)
            found = taken(model(**batch), batch["attention_mask"])
            out[rows] = found.to("cpu", torch.float64).numpy()
    return out


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _fingerprint(model: Any, tokenizer: Any) -> str:
    """Digest of a live model's weights and settings and of its tokenizer's vocabulary."""
    import torch

    settings = model.config.to_json_string()
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    parts: list[str | bytes] = ["huggingface", _VERSION, type(model).__name__, settings]
    parts += [type(tokenizer).__name__, vocabulary]
    for key, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().cpu().contiguous().flatten()
        parts += [key, str(tensor.dtype), str(tuple(tensor.shape)), flat.view(torch.uint8).numpy().tobytes()]
    return digest(*parts)
