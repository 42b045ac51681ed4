"""`load` an artifact and ask it: numpy and ONNX Runtime, nothing of what it was trained with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, final

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.artifact.card import Card, decode_card
from potstill.artifact.columns import (
    LARGE_ROWS_AT_ONCE,
    Feeds,
    concat_feeds,
    feed_batches,
    feeds,
    rows_of,
    slice_feeds,
)
from potstill.artifact.envelope import CARD_KEY, PROBES_KEY, open_envelope, read_file
from potstill.artifact.one_row import Asker, Noted, OneRow, OneText, not_a_row
from potstill.artifact.pictures import PIXELS_AT_ONCE
from potstill.artifact.probes import Probes, as_array
from potstill.artifact.session import open_session
from potstill.artifact.values import joined
from potstill.errors import ArtifactError, UserError
from potstill.types import TABLE_KINDS, Floats, Ints, Label, Schema, Task, Tokenizer

if TYPE_CHECKING:
    import onnxruntime as ort

_ROWS_AT_ONCE = 8192
"""Bounds the memory of intermediate values, and keeps them in the processor's cache."""

_TEXTS_AT_ONCE = 16
"""The same for texts in word pieces."""


def load(path: str | PathLike[str] | bytes, *, verify: bool = False) -> Model:
    """Open an artifact.

    Parameters
    ----------
    path
        The ``.onnx`` file, or its bytes.
    verify
        Also replay the probe rows it carries (see `Model.verify`).

    Raises
    ------
    UserError
        When there is no such file.
    ArtifactError
        When it is no artifact, was changed since it was written, is of a newer format, or ONNX Runtime
        cannot open it.
    """
    source, data = ("the artifact", path) if isinstance(path, bytes) else read_file(path)
    envelope = open_envelope(data, source=source)
    card = decode_card(envelope.metadata[CARD_KEY], source=source)
    if card.graph_hash != envelope.graph_hash:
        raise ArtifactError(f"The card in {source} describes another graph than the one beside it.")
    try:
        session = open_session(data)
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise ArtifactError(
            f"ONNX Runtime {_runtime_version()} cannot open {source}: {str(error).splitlines()[0]}.",
            hint="Upgrade it: pip install --upgrade onnxruntime.",
        ) from None
    model = Model(session, card, probes=envelope.metadata[PROBES_KEY], source=source)
    if verify:
        model.verify()
    return model


def run(session: ort.InferenceSession, inputs: Feeds, tokenizer: Tokenizer | None = None) -> Floats:
    """The first output of the graph for some feeds: ``(n, K)`` probabilities or ``(n,)`` values.

    Parameters
    ----------
    session
        The opened graph.
    inputs
        Rows as `feeds` makes them; pictures of one size are asked about together, unless they are too large,
        and texts of about one length.
    tokenizer
        Turns texts into what a graph takes that has one whole-number input for them; None for no such graph.

    Raises
    ------
    UserError
        When a category holds half a surrogate pair, which UTF-8 cannot say.
    """
    first = [session.get_outputs()[0].name]
    if tokenizer is not None:
        inputs = _tokenized(session, inputs, tokenizer)
    try:
        groups = _by_length(inputs) if tokenizer is not None else _by_size(inputs)
        if groups is None:
            return np.asarray(session.run(first, inputs)[0])
        answers = [(rows, np.asarray(session.run(first, group)[0])) for rows, group in groups]
    except UnicodeEncodeError as error:
        raise _not_utf8(error) from None
    together = np.empty((rows_of(inputs), *answers[0][1].shape[1:]), dtype=np.float32)
    for rows, answer in answers:
        together[rows] = answer
    return together


def _tokenized(session: ort.InferenceSession, inputs: Feeds, tokenizer: Tokenizer) -> Feeds:
    """The texts of all columns as the one input of word pieces, where the graph has it."""
    first = session.get_inputs()[0]
    if first.type != "tensor(int64)":
        return inputs
    return {first.name: tokenizer.ids(joined(inputs.values()))}


def _by_length(inputs: Feeds) -> Iterator[tuple[Ints, Feeds]] | None:
    """Rows and their word pieces, the shortest texts first, each group filled up to its own longest one only.

    None where all can be asked about at once, or the graph takes no word pieces.
    """
    (name, pieces), *others = inputs.items()
    if others or pieces.ndim != 2 or len(pieces) <= _TEXTS_AT_ONCE:
        return None
    lengths = np.count_nonzero(pieces, axis=1)
    order = np.argsort(lengths, kind="stable")
    groups = np.split(order, range(_TEXTS_AT_ONCE, len(order), _TEXTS_AT_ONCE))
    return ((rows, {name: pieces[rows, : lengths[rows[-1]]]}) for rows in groups)


def _by_size(inputs: Feeds) -> Iterator[tuple[Ints, Feeds]] | None:
    """Rows and their inputs: a group for each size of picture, or several where these are large.

    None where all can be asked about at once.
    """
    pictures = _pictures_apart(inputs)
    return _groups_of_pictures(inputs, pictures) if pictures else None


def _pictures_apart(inputs: Feeds) -> list[str]:
    """The columns of pictures that cannot all be asked about at once: of several sizes, or too large."""
    mixed = [
        name
        for name, values in inputs.items()
        if values.dtype == object and len(values) and isinstance(values[0], np.ndarray)
    ]
    alike = [name for name, values in inputs.items() if values.ndim == 4]
    fit = sum(math.prod(inputs[name].shape[:3]) for name in alike) <= PIXELS_AT_ONCE
    return [] if fit and not mixed else mixed + alike


def _groups_of_pictures(inputs: Feeds, pictures: list[str]) -> Iterator[tuple[Ints, Feeds]]:
    shapes = [tuple(inputs[name][row].shape for name in pictures) for row in range(rows_of(inputs))]
    for shape in dict.fromkeys(shapes):
        alike = np.array([row for row, each in enumerate(shapes) if each == shape], dtype=np.int64)
        at_once = max(1, PIXELS_AT_ONCE // sum(height * width for height, width, _ in shape))
        for rows in np.split(alike, range(at_once, len(alike), at_once)):
            yield (
                rows,
                {
                    name: np.stack(list(values[rows])) if name in pictures else values[rows]
                    for name, values in inputs.items()
                },
            )


class Verification(msgspec.Struct, frozen=True):
    """What replaying the probe rows gave.

    Parameters
    ----------
    n_rows
        Number of probe rows.
    max_difference
        Largest absolute difference of an answer from the recorded one.
    """

    n_rows: int
    max_difference: float


@final
class Model:
    """A loaded artifact. Made by `load`; safe to share between threads.

    Parameters
    ----------
    session
        The opened graph.
    card
        The artifact's account of itself.
    probes
        Probe rows as JSON.
    source
        What to call the artifact in errors.
    """

    __slots__ = (
        "_answer",
        "_ask",
        "_at_once",
        "_labels",
        "_probes",
        "_session",
        "_source",
        "_tokenizer",
        "card",
        "classes",
        "picture_columns",
    )

    def __init__(self, session: ort.InferenceSession, card: Card, *, probes: str, source: str) -> None:
        self.card = card
        self.classes: tuple[Label, ...] = card.task.classes
        self.picture_columns = tuple(column.name for column in card.schema.columns if column.shape)
        self._labels: NDArray[Any] = np.array(self.classes)
        self._session = session
        self._tokenizer = None if card.tokenizer is msgspec.UNSET else card.tokenizer
        # Texts in word pieces are asked about in groups of one length, picked of as many as there are.
        few = not self.is_of_tables and self._tokenizer is None
        self._at_once = LARGE_ROWS_AT_ONCE if few else _ROWS_AT_ONCE
        self._ask: Asker = _OneLargeRow(self)
        if self.is_of_tables:
            self._ask = OneRow(session, card.schema)
        elif self._tokenizer is None and all(column.kind == "text" for column in card.schema.columns):
            self._ask = OneText(session, card.schema)
        self._probes = probes
        self._source = source
        self._answer: Callable[[list[float]], dict[str, Any]] = (
            self._classify_one if card.task.is_classification else _regress_one
        )

    @property
    def task(self) -> Task:
        return self.card.task

    @property
    def is_of_tables(self) -> bool:
        """Whether its rows hold no pictures and no texts, each of which is much work."""
        return all(column.kind in TABLE_KINDS for column in self.schema.columns)

    @property
    def schema(self) -> Schema:
        return self.card.schema

    @property
    def session(self) -> ort.InferenceSession:
        """The ONNX Runtime session itself, for those who feed it their own arrays."""
        return self._session

    @property
    def probe_rows(self) -> list[dict[str, Any]]:
        """The raw rows the artifact carries, as `predict_one` takes them."""
        columns = self._decoded_probes().rows
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def predict_proba(self, rows: Any) -> Floats:
        """Probabilities of the classes.

        Parameters
        ----------
        rows
            A dict of columns, a list of dicts, or a pandas, polars or pyarrow table. See `feeds`.

        Returns
        -------
        ndarray
            ``(n, K)`` float32, columns in the order of `classes`.

        Raises
        ------
        UserError
            When the rows are not as the model takes them, or the model predicts values.
        """
        if not self.task.is_classification:
            raise UserError(
                f"{self._source} predicts values of {self.task.target!r}, which have no probabilities.",
                hint="Call predict.",
            )
        return self.outputs_of(rows)

    def predict(self, rows: Any) -> NDArray[Any]:
        """The most probable label, or the value, of each row.

        Returns
        -------
        ndarray
            ``(n,)`` labels in their original type (text, integers, booleans); float32 values for regression.

        Raises
        ------
        UserError
            When the rows are not as the model takes them.
        """
        outputs = self.outputs_of(rows)
        if not self.task.is_classification:
            return outputs[:, 0]
        labels: NDArray[Any] = self._labels[outputs.argmax(axis=1)]
        return labels

    def predict_one(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one row, the fast way.

        Parameters
        ----------
        row
            Column name to value, None where it is missing; names the model does not know are ignored.

        Returns
        -------
        dict
            ``{"label": "yes", "probabilities": {"no": 0.25, "yes": 0.75}}`` with labels in their original
            type, or ``{"value": 21.5}`` for regression.

        Raises
        ------
        UserError
            When the row lacks a column or a value is of a wrong type.
        """
        try:
            return self._answer(self._ask(row))
        except UnicodeEncodeError as error:
            raise _not_utf8(error) from None

    def note_one(self, row: Mapping[str, Any]) -> tuple[Noted, Floats]:
        """One row as fast as `predict_one`, in the form that a watch takes note of.

        Returns
        -------
        tuple
            What `noted_feeds` makes the row's inputs of, and what `outputs` answers to it.

        Raises
        ------
        UserError
            When the row lacks a column or a value is of a wrong type.
        """
        try:
            noted, outputs = self._ask.noted(row)
        except UnicodeEncodeError as error:
            raise _not_utf8(error) from None
        return noted, outputs.reshape(1, -1)

    def noted_feeds(self, noted: Sequence[Noted]) -> Feeds:
        """What `feeds` makes of a list with the rows that `note_one` has noted."""
        return self._ask.feeds(noted)

    def note_together(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Feeds, Floats]:
        """A few rows as `note_one` takes them, asked about at once: for tens of rows faster than a table.

        The answers differ from those to each row alone by no more than rounding.

        Raises
        ------
        UserError
            When a row lacks a column or a value is of a wrong type; it does not say which row.
        """
        try:
            inputs, outputs = self._ask.noted_together(rows)
        except UnicodeEncodeError as error:
            raise _not_utf8(error) from None
        return inputs, outputs.reshape(len(rows), -1)

    def verify(self) -> Verification:
        """Replay the probe rows the artifact carries, raw values and all.

        Raises
        ------
        ArtifactError
            When an answer differs from the recorded one by more than rounding explains.
        """
        probes = self._decoded_probes()
        expected = as_array(probes.outputs)
        answered = self.outputs(feeds(probes.rows, self.schema))
        difference = np.abs(answered - expected)
        wrong = ~(difference <= probes.atol + probes.rtol * np.abs(expected)).all(axis=1)
        if wrong.any():
            raise ArtifactError(
                f"{self._source} answers {int(wrong.sum())} of its {len(wrong)} probe rows otherwise than "
                f"when it was written: row {int(wrong.argmax())} is off by {float(difference.max()):.3g}.",
                hint=f"Report this with your processor and ONNX Runtime's version, {_runtime_version()}.",
            )
        return Verification(n_rows=len(expected), max_difference=float(difference.max(initial=0.0)))

    def _decoded_probes(self) -> Probes:
        try:
            return msgspec.json.decode(self._probes, type=Probes)
        except msgspec.MsgspecError as error:
            raise ArtifactError(f"The probe rows in {self._source} cannot be read: {error}.") from None

    def outputs_of(self, rows: Any) -> Floats:
        """``(n, K)`` probabilities, or ``(n, 1)`` values, for rows as `feeds` takes them.

        Raises
        ------
        UserError
            When the rows are not as the model takes them.
        """
        return np.concatenate([self.outputs(inputs) for inputs in feed_batches(rows, self.schema)])

    def outputs(self, inputs: Feeds) -> Floats:
        """``(n, K)`` probabilities, or ``(n, 1)`` values, for inputs already converted by `feeds`."""
        n_rows, at_once = rows_of(inputs), self._at_once
        if n_rows <= at_once:
            return run(self._session, inputs, self._tokenizer).reshape(n_rows, self.task.n_outputs)
        outputs = np.empty((n_rows, self.task.n_outputs), dtype=np.float32)
        for start in range(0, n_rows, at_once):
            stop = min(start + at_once, n_rows)
            answer = run(self._session, slice_feeds(inputs, start, stop), self._tokenizer)
            outputs[start:stop] = answer.reshape(stop - start, -1)
        return outputs

    def _classify_one(self, probabilities: list[float]) -> dict[str, Any]:
        label = self.classes[probabilities.index(max(probabilities))]
        return {"label": label, "probabilities": dict(zip(self.classes, probabilities, strict=True))}


@final
class _OneLargeRow:
    """Single rows of pictures and word pieces, which take the way of many: reading is little of the work."""

    __slots__ = ("_model",)

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self, row: Mapping[str, Any]) -> list[float]:
        answer: list[float] = self.noted(row)[1].ravel().tolist()
        return answer

    def noted(self, row: Mapping[str, Any]) -> tuple[Noted, Floats]:
        if not isinstance(row, Mapping):
            raise not_a_row(row)
        return self.noted_together([row])

    def feeds(self, noted: Sequence[Noted]) -> Feeds:
        return concat_feeds(list(noted))

    def noted_together(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Feeds, Floats]:
        inputs = feeds(list(rows), self._model.schema)
        return inputs, self._model.outputs(inputs)


def _regress_one(values: list[float]) -> dict[str, Any]:
    return {"value": values[0]}


def _runtime_version() -> str:
    import onnxruntime as ort

    return str(ort.__version__)


def _not_utf8(error: UnicodeEncodeError) -> UserError:
    return UserError(
        f"A category holds text that UTF-8 cannot say: {error.object!r}.",
        hint="Clean the text first, for instance with text.encode('utf-8', 'replace').decode().",
    )
