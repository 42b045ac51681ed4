"""One member of a teacher at work: fitted fold by fold, its answers put into its job, its cost measured."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from potstill.transfer.ask import ask, ask_out_of_fold, measure_latency
from potstill.transfer.fingerprint import digest
from potstill.transfer.store import FORMAT, Facts, Job, Landing, answers_file, guarded
from potstill.types import (
    BaggedTrainable,
    Dataset,
    EncoderTeacher,
    Floats,
    Ints,
    KeepingTrainable,
    Latency,
    OutOfFoldTeacher,
    SizedTeacher,
    StoppingTrainable,
    Teacher,
    Trainable,
)

PIECE_ROWS = 4_096
"""Rows that a teacher which came fitted answers between two saves."""

ENCODER = "encoder"
"""Name of the shard with an encoder's weights."""

_LATENCY_SECONDS = 1.0
_HASH_LETTERS = 16


@dataclass(frozen=True)
class Plan:
    """What every member is asked.

    Parameters
    ----------
    parts
        Name to rows; ``train`` is one of them.
    hashes
        Name to the digest of those rows.
    folds
        ``(n_train,)`` fold of each training row.
    seed
        Seed of the whole collection.
    chunk_rows
        Rows asked at a time.
    """

    parts: Mapping[str, Dataset]
    hashes: Mapping[str, str]
    folds: Ints
    seed: int
    chunk_rows: int

    @property
    def fold_ids(self) -> list[int]:
        return [int(fold) for fold in np.unique(self.folds)]


@dataclass(frozen=True)
class Piece:
    """Some rows of a part, and the name of the shard with a model's answers to them."""

    shard: str
    rows: slice

    def of(self, dataset: Dataset) -> Dataset:
        """These rows of the part."""
        if self.rows == slice(0, len(dataset)):
            return dataset
        return dataset.take(np.arange(self.rows.start, self.rows.stop))


@dataclass(frozen=True)
class Member:
    """A teacher, fitted or not, with its name and place in the plan.

    Parameters
    ----------
    source
        What was given.
    name
        Its name, made unique among the members.
    twin
        How many members before it have the same fingerprint: they get other seeds.
    """

    source: Teacher | Trainable
    name: str
    twin: int
    plan: Plan = field(repr=False)

    @property
    def trainable(self) -> bool:
        return isinstance(self.source, Trainable)

    @property
    def crossed(self) -> bool:
        """Whether it is fitted fold by fold."""
        return self.trainable and not self._bagged

    @property
    def _bagged(self) -> bool:
        """Whether one fit answers the rows it was fitted on by parts of it that have not seen them."""
        train = self.plan.parts["train"]
        return isinstance(self.source, BaggedTrainable) and train.groups is None and train.ids is not None

    @property
    def models(self) -> list[int]:
        """Ids of its models: one a fold, or the one it is."""
        return self.plan.fold_ids if self.crossed else [0]

    @property
    def key(self) -> str:
        """Digest of all that its answers depend on but the rows asked."""
        if not self.trainable:
            return digest(FORMAT, "fitted", self.source.fingerprint)
        folds = digest(*self.plan.folds.tolist()) if self.crossed else "whole"
        train = self.plan.hashes["train"]
        return digest(FORMAT, "cross-fit", train, folds, self.source.fingerprint, self.twin, self.plan.seed)

    @property
    def what(self) -> str:
        kind = f"{len(self.models)} fold models of" if self.crossed else "the one model of"
        kind = kind if self.trainable else "the fitted teacher"
        return f"the answers of {kind} {self.name}"

    def pieces(self, model: int, part: str) -> list[Piece]:
        """One model's answers to a part: one shard for a fold model, several for a teacher that came fitted.

        Such a teacher may be slow, far away or paid for: what it has answered is asked only once.
        """
        name = f"{part}-{model}-{self.plan.hashes[part.removesuffix(_OUT_OF_FOLD)][:_HASH_LETTERS]}"
        n_rows = len(self.plan.parts[part.removesuffix(_OUT_OF_FOLD)])
        if self.trainable or n_rows <= PIECE_ROWS:
            return [Piece(name, slice(0, n_rows))]
        starts = range(0, n_rows, PIECE_ROWS)
        return [Piece(f"{name}-{start}", slice(start, min(start + PIECE_ROWS, n_rows))) for start in starts]

    @property
    def keeps_encoder(self) -> bool:
        """Whether its encoder is kept in the job, for students to begin with."""
        return isinstance(self.source, KeepingTrainable) and self.source.keeps_encoder

    def encoder(self, job: Job) -> Path | None:
        """The file of its encoder, where it is kept."""
        return job.path(ENCODER) if self.keeps_encoder else None

    def shards(self, model: int) -> list[str]:
        """Names of all that one model leaves in the job."""
        return [*self._answer_shards(model), *([ENCODER] if self.keeps_encoder else [])]

    def _answer_shards(self, model: int) -> list[str]:
        parts = list(self.plan.parts)
        if self._knows_out_of_fold:
            parts.append("train" + _OUT_OF_FOLD)
        return [piece.shard for part in parts for piece in self.pieces(model, part)]

    @property
    def _knows_out_of_fold(self) -> bool:
        return self._bagged or isinstance(self.source, OutOfFoldTeacher)

    def has(self, job: Job, model: int) -> bool:
        """Whether all of one model's answers, and its encoder where it is kept, are in the job."""
        return str(model) in job.manifest.facts and all(job.has(name) for name in self.shards(model))

    def seconds(self, job: Job, model: int) -> float:
        """What one model's fit and answers took when they were made."""
        took = job.manifest.facts[str(model)]["fit_seconds"]
        return took + sum(job.manifest.shards[name].facts["seconds"] for name in self.shards(model))

    def compute(self, job: Job, model: int) -> None:
        """Fit one fold's model, put its answers into the job, measure it and let it go."""
        begin = time.perf_counter()
        teacher = self._model(model)
        fit_seconds = time.perf_counter() - begin
        for part, dataset in self.plan.parts.items():
            for piece in self.pieces(model, part):
                if not job.has(piece.shard):
                    rows = piece.of(dataset)
                    _put(job, piece.shard, rows, ask(teacher, rows, chunk_rows=self.plan.chunk_rows))
        if isinstance(teacher, OutOfFoldTeacher) and not self.crossed:
            train = self.plan.parts["train"]
            for piece in self.pieces(model, "train" + _OUT_OF_FOLD):
                rows = piece.of(train)
                answers = ask_out_of_fold(
                    teacher.predict_out_of_fold, self.name, rows, chunk_rows=self.plan.chunk_rows
                )
                _put(job, piece.shard, rows, answers)
        if self.keeps_encoder and not job.has(ENCODER):
            assert isinstance(teacher, EncoderTeacher)
            with (
                job.landing(ENCODER, suffix=".safetensors") as landing,
                _timed(landing),
                guarded(job.directory),
            ):
                teacher.write_encoder(landing.path)
        job.record(str(model), self._measure(teacher, fit_seconds))

    def _model(self, model: int) -> Teacher:
        if not isinstance(self.source, Trainable):
            return self.source
        train = self.plan.parts["train"]
        seed = int(digest(self.plan.seed, self.source.fingerprint, self.twin, model)[:8], 16) >> 1
        if isinstance(self.source, BaggedTrainable) and self._bagged:
            return self.source.fit_whole(train, seed=seed)
        left_out = self.plan.folds == model
        kept = train.take(np.flatnonzero(~left_out))
        if isinstance(self.source, StoppingTrainable):
            return self.source.fit_until(kept, train.take(np.flatnonzero(left_out)), seed=seed)
        return self.source.fit(kept, seed=seed)

    def _measure(self, teacher: Teacher, fit_seconds: float) -> Facts:
        seconds = _LATENCY_SECONDS / len(self.models)
        latency = measure_latency(teacher, self.plan.parts["train"], seconds=seconds)
        facts = {"fit_seconds": fit_seconds, "latency_us_p50": latency.p50, "latency_us_p99": latency.p99}
        size_bytes = teacher.size_bytes if isinstance(teacher, SizedTeacher) else pickled_size(teacher)
        if size_bytes is not None:
            facts["size_bytes"] = float(size_bytes)
        return facts

    def read(self, job: Job, part: str, out: Floats) -> None:
        """Write the mean of the models' answers to a part into ``out`` ``(n, K)``."""
        out[...] = 0.0
        for model in self.models:
            for rows, answers in self._answers(job, model, part):
                out[rows] += answers
        out /= len(self.models)

    def read_out_of_fold(self, job: Job, out: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Write each training row's out-of-fold answer into ``out``; return ``(n,)`` where it is one.

        Where there is none, ``out`` gets the answer of the whole member.
        """
        if self.crossed:
            for model in self.models:
                held_out = self.plan.folds == model
                for rows, answers in self._answers(job, model, "train"):
                    chosen = held_out[rows]
                    out[rows][chosen] = answers[chosen]
            return np.ones(len(out), dtype=np.bool_)
        self.read(job, "train", out)
        excluded = np.zeros(len(out), dtype=np.bool_)
        if self._knows_out_of_fold:
            for rows, answers in self._answers(job, 0, "train" + _OUT_OF_FOLD):
                excluded[rows] = ~np.isnan(answers[:, 0])
                out[rows][excluded[rows]] = answers[excluded[rows]]
        return excluded

    def _answers(self, job: Job, model: int, part: str) -> Iterator[tuple[slice, Floats]]:
        for piece in self.pieces(model, part):
            start = piece.rows.start
            for answers in job.batches(piece.shard):
                yield slice(start, start + len(answers)), answers
                start += len(answers)

    def cost(self, job: Job) -> MemberCost:
        """What its models took and take, summed over them."""
        models = [job.manifest.facts[str(model)] for model in self.models]
        shards = [job.manifest.shards[name] for model in self.models for name in self._answer_shards(model)]
        per_row = len(self.models) / max(sum(shard.rows for shard in shards), 1)
        return MemberCost(
            latency=Latency(
                p50=sum(facts["latency_us_p50"] for facts in models),
                p99=sum(facts["latency_us_p99"] for facts in models),
            ),
            fit_seconds=sum(facts["fit_seconds"] for facts in models),
            batch_seconds_per_row=sum(shard.facts["seconds"] for shard in shards) * per_row,
            batch_cpu_seconds_per_row=sum(shard.facts["cpu_seconds"] for shard in shards) * per_row,
            size_bytes=int(sum(facts.get("size_bytes", np.nan) for facts in models))
            if all("size_bytes" in facts for facts in models)
            else None,
        )


@dataclass(frozen=True)
class MemberCost:
    """What one member took to fit and takes to answer, all its fold models together.

    Parameters
    ----------
    latency
        One row, microseconds: the sums of the models' medians and of their p99, so an upper estimate.
    fit_seconds
        Wall-clock seconds of the fits; 0 for a teacher that came fitted.
    batch_seconds_per_row, batch_cpu_seconds_per_row
        Wall-clock and processor seconds a row, answering many at once.
    size_bytes
        Size of the models, pickled where a model does not know it; None where it cannot be.
    """

    latency: Latency
    fit_seconds: float
    batch_seconds_per_row: float
    batch_cpu_seconds_per_row: float
    size_bytes: int | None


_OUT_OF_FOLD = "_out_of_fold"


class _Scale(io.RawIOBase):
    """A file that keeps nothing but its length."""

    n_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        length = memoryview(data).nbytes
        self.n_bytes += length
        return length


def pickled_size(teacher: Teacher) -> int | None:
    """Bytes of a pickled teacher, without keeping it; None for what cannot be pickled."""
    scale = _Scale()
    try:
        cloudpickle.dump(teacher, scale)
    except Exception:  # each library refuses in its own way
        return None
    return scale.n_bytes


def _put(job: Job, name: str, dataset: Dataset, answers: Iterator[Floats]) -> None:
    n_outputs = dataset.task.n_outputs
    with (
        job.landing(name, suffix=".arrow") as landing,
        _timed(landing),
        answers_file(landing, n_outputs=n_outputs) as append,
    ):
        for chunk in answers:
            append(chunk)


@contextmanager
def _timed(landing: Landing) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    landing.facts["seconds"] = time.perf_counter() - wall
    landing.facts["cpu_seconds"] = time.process_time() - cpu
