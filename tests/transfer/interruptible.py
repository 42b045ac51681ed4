"""A program that asks teachers and can be told to hang at a given moment, for the tests to kill.

``interruptible.py collect|file FOLDER HANG_AT`` hangs in the HANG_AT-th call of a teacher (0: never), after
saying so on stdout. Every fit and every call is written to ``FOLDER/calls``. The last line on stdout is the
digest of all answers.
"""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from potstill.transfer import Store, collect, collect_file
from potstill.types import Column, Dataset, Floats, Schema, Task

TASK = Task("multiclass", "y", classes=("a", "b", "c"))
SCHEMA = Schema((Column("u", "numeric"), Column("v", "numeric")))


@dataclass
class Calls:
    """The side file: one letter a call."""

    path: Path
    hang_at: int
    predicted: int = 0

    def log(self, letter: str) -> None:
        with self.path.open("a") as file:
            file.write(letter)

    def predict(self) -> None:
        self.predicted += 1
        if self.predicted == self.hang_at:
            print("hanging", flush=True)
            time.sleep(60)
        self.log("p")


@dataclass
class Centroids:
    """Fitted: softmax of the negative squared distance to each class's mean."""

    name: str
    means: Floats
    calls: Calls

    @property
    def fingerprint(self) -> str:
        return f"centroids {self.name}"

    def predict(self, dataset: Dataset) -> Floats:
        if len(dataset) > 1:
            self.calls.predict()
        points = dataset.rows.select("u", "v").to_numpy()
        logits = -np.square(points[:, None, :] - self.means[None]).sum(axis=2)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass
class CentroidsRecipe:
    name: str
    calls: Calls

    @property
    def fingerprint(self) -> str:
        return f"recipe {self.name}"

    def fit(self, dataset: Dataset, *, seed: int) -> Centroids:
        self.calls.log("f")
        assert dataset.labels is not None
        points = dataset.rows.select("u", "v").to_numpy()
        means = np.stack([points[dataset.labels == k].mean(axis=0) for k in range(3)])
        return Centroids(
            self.name, means + np.random.default_rng(seed).normal(0, 0.1, means.shape), self.calls
        )


def make_dataset(n: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    table = pa.table({"u": labels + rng.normal(size=n), "v": rng.normal(size=n)})
    return Dataset(nw.from_native(table, eager_only=True), TASK, SCHEMA, labels=labels)


def run_collect(folder: Path, calls: Calls) -> bytes:
    parts = {"train": make_dataset(90, 0), "test": make_dataset(50, 1)}
    members = [CentroidsRecipe("one", calls), CentroidsRecipe("two", calls)]
    collected = collect(
        members, parts, folds=np.arange(90) % 3, store=Store(folder / "store"), seed=7, chunk_rows=30
    )
    return b"".join(a.tobytes() for a in (*collected.answers.values(), collected.out_of_fold))


def run_file(folder: Path, calls: Calls) -> bytes:
    source = folder / "rows.parquet"
    if not source.exists():
        pq.write_table(make_dataset(1000, 2).rows.to_arrow(), source, row_group_size=130)
    teachers = [Centroids(name, np.eye(3, 2) + shift, calls) for name, shift in (("one", 0.0), ("two", 0.5))]
    collected = collect_file(
        teachers,
        source,
        load_batch=lambda table, _: Dataset(nw.from_native(table, eager_only=True), TASK, SCHEMA),
        out=folder / "answers",
        batch_rows=100,
    )
    return b"".join(path.read_bytes() for path in collected.files)


def main() -> None:
    what, folder, hang_at = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    calls = Calls(folder / "calls", hang_at)
    answers = {"collect": run_collect, "file": run_file}[what](folder, calls)
    print(hashlib.sha256(answers).hexdigest())


if __name__ == "__main__":
    main()
