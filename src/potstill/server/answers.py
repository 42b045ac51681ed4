"""The requests that come by the thousand: read, answered, written and counted, at once or after a wait."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeAlias, final

from potstill.artifact import Model
from potstill.artifact.columns import Feeds, rows_of
from potstill.artifact.pictures import announced_pixels
from potstill.errors import UserError
from potstill.monitoring.ensemble import Row, told_rows
from potstill.monitoring.metrics import UNNAMED, ServingMetrics
from potstill.server import oip
from potstill.server.errors import RequestError, bad_request, refused
from potstill.server.models import Models, Served
from potstill.server.plain import feeds_of_rows, read_rows, write_rows
from potstill.server.settings import Settings
from potstill.server.tensors import Tensor, answer_tensors, row_of_tensors, rows_of_tensors
from potstill.server.traffic import JSON, Reply, Told
from potstill.types import Bools, Floats

log = logging.getLogger("potstill.server")

Headers: TypeAlias = Mapping[bytes, bytes]
"""Names in small letters."""

Answered: TypeAlias = tuple[Floats, Bools | None]
"""``(n, K)`` answers, and where there is a cascade ``(n,)`` whether the ensemble gave them."""

THREADED_ROWS = 64
"""From so many rows on a request is answered in a thread: others need not wait for it."""

ENSEMBLE_THREADS = 32
"""Requests that wait at once for the ensemble of a cascade."""

_HEADER_LENGTH = oip.HEADER_LENGTH.lower().encode()


class Question(NamedTuple):
    """Rows to be answered: ``row`` where it is one, else ``inputs``.

    Parameters
    ----------
    served
        Who is asked.
    row
        The row as it came.
    inputs
        The rows as the graph takes them.
    rows
        Those as they came, where they came as rows.
    """

    served: Served
    row: Row | None = None
    inputs: Feeds | None = None
    rows: Sequence[Row] | None = None

    @property
    def many(self) -> Feeds:
        """The inputs, of a question that has them."""
        assert self.inputs is not None
        return self.inputs

    def told_rows(self) -> Sequence[Row]:
        """The rows as an ensemble may be shown them."""
        if self.row is not None:
            return [self.row]
        if self.rows is not None:
            return self.rows
        return told_rows(self.many, self.served.model)


Ask: TypeAlias = Callable[[], Question]
"""Makes the question of what was read of a request; raises RequestError. Pictures are decoded in it."""

Writer: TypeAlias = Callable[[Floats, Bools | None], Reply]
"""Makes the reply of the answers, and of who gave them."""


class _Call:
    """What is counted of one request."""

    __slots__ = ("begun", "name", "protocol", "version")

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.name = self.version = UNNAMED
        self.begun = time.perf_counter()


class _Waiting(NamedTuple):
    """A request that was read, and who is told the reply."""

    call: _Call
    question: Question
    write: Writer
    told: Told


@final
class Answers:
    """Answers the two paths of inference, and says what comes of it to the watch and the metrics.

    Parameters
    ----------
    settings
        The limits.
    models
        Who answers.
    metrics
        Are told of every request.
    """

    def __init__(self, settings: Settings, models: Models, metrics: ServingMetrics) -> None:
        self._settings, self._models, self._metrics = settings, models, metrics
        self._asking = ThreadPoolExecutor(ENSEMBLE_THREADS, "potstill-cascade")
        # As many as there are cores, which also bounds the decoded pictures that are in memory at once.
        self._looking = ThreadPoolExecutor(os.cpu_count(), "potstill-pictures")
        self._waiting: list[_Waiting] = []
        self._readers = {"json": self._read_rows, "oip": self._read_tensors}

    def now(
        self,
        protocol: str,
        name: str,
        version: str | None,
        headers: Headers,
        body: bytes,
        told: Told,
        alone: bool,
    ) -> None:
        """Answer a request that has nothing to wait for but others of one row, read in the same turn.

        Parameters
        ----------
        protocol
            ``json`` or ``oip``.
        name, version
            Of the model.
        headers, body
            Of the request.
        told
            Is given the reply, at once or by `settle`; None where it may take longer, and then nothing of
            the request is kept.
        alone
            Whether no others of one row are to be expected in this turn.
        """
        call = _Call(protocol)
        read: tuple[Question, Writer] | None = None
        try:
            served = self._named(call, name, version)
            if served.cascade is None and not served.model.picture_columns:
                ask, write = self._readers[protocol](served, headers, body)
                read = ask(), write
        except RequestError as error:
            told(self._refused(call, error))
            return
        except Exception:
            _log_broken()
        if read is None:
            told(None)
            return
        question, write = read
        request = _Waiting(call, question, write, told)
        if alone or question.row is None or served.shadow is not None or not served.model.is_of_tables:
            self._finish(request)
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.settle)
        self._waiting.append(request)

    def settle(self) -> None:
        """Answer the requests that wait; the rows that one model is asked about are asked about together."""
        waiting, self._waiting = self._waiting, []
        groups: dict[Model, list[_Waiting]] = {}
        for request in waiting:
            groups.setdefault(request.question.served.model, []).append(request)
        for requests in groups.values():
            for request, outputs in zip(requests, self._outputs_together(requests), strict=True):
                self._finish(request, outputs)

    def _outputs_together(self, requests: Sequence[_Waiting]) -> Sequence[Floats | None]:
        """``(1, K)`` answers to each, which are watched; None where they are to be asked about one by one."""
        served = requests[0].question.served
        if len(requests) > 1:
            rows = [request.question.row or {} for request in requests]
            try:
                inputs, outputs = served.model.note_together(rows)
            except Exception:  # whichever is wrong, or broken, will say so by itself
                return [None] * len(requests)
            if served.watch is not None:
                served.watch.observe(inputs, outputs)
            return [outputs[at : at + 1] for at in range(len(outputs))]
        return [None]

    def _finish(self, request: _Waiting, outputs: Floats | None = None) -> None:
        """Tell the reply; computes the outputs unless they are given."""
        call, question, write, told = request
        reply = None
        try:
            if outputs is not None or not _takes_long(question):
                outputs = _computed(question) if outputs is None else outputs
                reply = self._written(call, write, outputs, None)
        except RequestError as error:
            reply = self._refused(call, error)
        except Exception:
            _log_broken()
        told(reply)

    async def later(
        self, protocol: str, name: str, version: str | None, headers: Headers, body: bytes
    ) -> Reply:
        """The answer to any request; takes what `now` does."""
        call = _Call(protocol)
        try:
            served = self._named(call, name, version)
            ask, write = self._readers[protocol](served, headers, body)
            return self._written(call, write, *await self.outputs(served, ask))
        except RequestError as error:
            return self._refused(call, error)
        except asyncio.CancelledError:
            raise  # it took too long: whoever refuses it counts it
        except BaseException:
            self._count(call, 500)
            raise

    async def outputs(self, served: Served, ask: Ask) -> Answered:
        """What the rows are answered with, which is watched; of a cascade by the ensemble where it must.

        Raises
        ------
        RequestError
            The rows are not as the model takes them.
        """
        loop = asyncio.get_running_loop()
        if served.model.picture_columns:
            question, outputs = await loop.run_in_executor(self._looking, _looked_at, ask)
        else:
            question = ask()
            if _takes_long(question):
                outputs = await asyncio.to_thread(_computed, question)
            else:
                outputs = _computed(question)
        cascade = served.cascade
        if cascade is None:
            return outputs, None
        unsure = cascade.unsure(outputs)
        if not unsure.any():
            return cascade.settle(outputs, unsure, question.told_rows)
        return await loop.run_in_executor(self._asking, cascade.settle, outputs, unsure, question.told_rows)

    def question_of_tensors(self, served: Served, tensors: Sequence[Tensor]) -> Question:
        """The rows that some tensors hold.

        Raises
        ------
        RequestError
            The tensors are not the model's columns, or hold more rows or pixels than are allowed.
        """
        files = [each for each in tensors if each.datatype == "BYTES"]
        self._check_pixels(each.values for each in files if each.name in served.model.picture_columns)
        row = row_of_tensors(tensors, served.model)
        if row is not None:
            return Question(served, row)
        inputs = rows_of_tensors(tensors, served.model)
        self._check_rows(rows_of(inputs))
        return Question(served, None, inputs)

    def _question_of_rows(self, served: Served, rows: list[dict[str, Any]]) -> Question:
        self._check_pixels([row.get(name) for row in rows] for name in served.model.picture_columns)
        if len(rows) == 1:
            return Question(served, rows[0])
        return Question(served, None, feeds_of_rows(rows, served.model), rows)

    def _read_tensors(self, served: Served, headers: Headers, body: bytes) -> tuple[Ask, Writer]:
        length = headers.get(_HEADER_LENGTH)
        asked = oip.read_request(body, None if length is None else length.decode("latin-1"))

        def write(outputs: Floats, _: Bools | None) -> Reply:
            return Reply(200, *oip.write_answer(served, asked, answer_tensors(served.model, outputs)))

        return partial(self.question_of_tensors, served, asked.tensors), write

    def _read_rows(self, served: Served, headers: Headers, body: bytes) -> tuple[Ask, Writer]:  # noqa: ARG002
        rows = read_rows(body)
        self._check_rows(len(rows))

        def write(outputs: Floats, asked: Bools | None) -> Reply:
            return Reply(200, write_rows(served, outputs, asked))

        return partial(self._question_of_rows, served, rows), write

    def _named(self, call: _Call, name: str, version: str | None) -> Served:
        served = self._models.named(name, version)
        call.name, call.version = served.name, served.version
        return served

    def _written(self, call: _Call, write: Writer, outputs: Floats, asked: Bools | None) -> Reply:
        reply = write(outputs, asked)
        self._count(call, reply.status, len(outputs))
        return reply

    def _refused(self, call: _Call, error: RequestError) -> Reply:
        self._count(call, error.status)
        return Reply(error.status, error.body, {**JSON, **error.headers})

    def _count(self, call: _Call, status: int, n_rows: int = 0) -> None:
        seconds = time.perf_counter() - call.begun
        self._metrics.answered(
            call.name, call.version, call.protocol, status=str(status), n_rows=n_rows, seconds=seconds
        )

    def _check_rows(self, n_rows: int) -> None:
        if n_rows > self._settings.max_rows:
            raise bad_request(
                f"The request has {n_rows:,} rows; at most {self._settings.max_rows:,} are taken."
            )

    def _check_pixels(self, columns: Iterable[Iterable[Any]]) -> None:
        """Refuse picture files that are too large together; none of them is decoded yet."""
        n_pixels = sum(announced_pixels(value) for column in columns for value in column)
        if n_pixels > self._settings.max_pixels:
            raise bad_request(
                f"The pictures of the request have {n_pixels:,} pixels together; at most "
                f"{self._settings.max_pixels:,} are taken. Send fewer at a time, or smaller ones."
            )


def _log_broken() -> None:
    """The usual way will fail likewise, and say so to the caller."""
    log.exception("a request could not be answered at once")


def _takes_long(question: Question) -> bool:
    """Whether others would have to wait for the answers."""
    return question.row is None and rows_of(question.many) >= THREADED_ROWS


def _computed(question: Question) -> Floats:
    """The model's own answers, which are watched."""
    model, watch, row = question.served.model, question.served.watch, question.row
    if row is not None:
        try:
            noted, outputs = model.note_one(row)
        except UserError as error:
            raise refused(error) from None
        if watch is not None:
            watch.observe_one(noted, outputs, row)
        return outputs
    outputs = model.outputs(question.many)
    if watch is not None and len(outputs):
        watch.observe(question.many, outputs, question.rows)
    return outputs


def _looked_at(ask: Ask) -> tuple[Question, Floats]:
    """A question of pictures and its answers."""
    question = ask()
    return question, _computed(question)
