"""Memory and speed of asking teachers about a file larger than memory should hold.

Writes a Parquet file of 5,000,000 rows by 30 columns batch by batch, fits three small LightGBM models on a
sample and has `potstill.transfer.collect_file` ask them about every row, in a process of its own whose peak
resident memory is reported. Run with::

    python benchmarks/collect_5m.py [--rows 5000000] [--folder /tmp/somewhere]

Prints JSON, then a Markdown table. Exits with 1 when the peak is above 2 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from potstill.transfer import collect_file
from potstill.types import Column, Dataset, Floats, Schema, Task

N_COLUMNS = 30
BATCH_ROWS = 250_000
FIT_ROWS = 20_000
LIMIT_BYTES = 2_000_000_000
NAMES = [f"x{i:02d}" for i in range(N_COLUMNS)]
TASK = Task("binary", "y", classes=(0, 1))
SCHEMA = Schema(tuple(Column(name, "numeric") for name in NAMES))


@dataclass(frozen=True)
class BoosterTeacher:
    """A LightGBM model read from its text file."""

    path: Path
    booster: lightgbm.Booster

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def fingerprint(self) -> str:
        return self.path.read_text()

    def predict(self, dataset: Dataset) -> Floats:
        positive = np.asarray(self.booster.predict(dataset.rows.select(NAMES).to_numpy(), num_threads=2))
        return np.column_stack([1 - positive, positive]).astype(np.float32)


def make_batch(n: int, rng: np.random.Generator) -> tuple[pa.Table, Floats]:
    x = rng.normal(size=(n, N_COLUMNS))
    x[rng.random(x.shape) < 0.02] = np.nan
    score = np.nan_to_num(x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + x[:, 3])
    y = (score + rng.normal(size=n) > 0).astype(np.float32)
    return pa.table({name: x[:, i] for i, name in enumerate(NAMES)}), y


def prepare(folder: Path, n_rows: int) -> None:
    """Write ``rows.parquet`` and three models."""
    rng = np.random.default_rng(0)
    sample, y = make_batch(FIT_ROWS, rng)
    x = np.column_stack([sample[name].to_numpy() for name in NAMES])
    for seed, leaves in enumerate((15, 31, 63)):
        settings = {
            "objective": "binary",
            "num_leaves": leaves,
            "seed": seed,
            "verbose": -1,
            "num_threads": 2,
        }
        booster = lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=50)
        booster.save_model(folder / f"model{seed}.txt")
    with pq.ParquetWriter(folder / "rows.parquet", sample.schema) as writer:
        for start in range(0, n_rows, BATCH_ROWS):
            writer.write_table(make_batch(min(BATCH_ROWS, n_rows - start), rng)[0])


def ask(folder: Path) -> None:
    """The measured process: prints one JSON object."""
    teachers = [
        BoosterTeacher(path, lightgbm.Booster(model_file=path)) for path in sorted(folder.glob("model*.txt"))
    ]
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.perf_counter()
    collected = collect_file(
        teachers,
        folder / "rows.parquet",
        load_batch=lambda table, _: Dataset(nw.from_native(table, eager_only=True), TASK, SCHEMA),
        out=folder / "answers",
    )
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    facts = {
        "rows": collected.rows,
        "columns": N_COLUMNS,
        "members": len(collected.members),
        "batches": len(collected.files),
        "source_bytes": (folder / "rows.parquet").stat().st_size,
        "answers_bytes": sum(path.stat().st_size for path in collected.files),
        "peak_rss_bytes": after.ru_maxrss * 1024,
        "rss_before_bytes": before.ru_maxrss * 1024,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "rows_per_second": round(collected.rows / seconds),
    }
    print(json.dumps(facts))


def report(facts: dict[str, float]) -> str:
    """The facts as a Markdown table."""
    return "\n".join(
        [
            "| rows x columns | members | peak resident | before the first row | rows/s | seconds (CPU) |",
            "|---|--:|--:|--:|--:|--:|",
            f"| {facts['rows']:,} x {facts['columns']} | {facts['members']} "
            f"| {facts['peak_rss_bytes'] / 1e9:.2f} GB | {facts['rss_before_bytes'] / 1e9:.2f} GB "
            f"| {facts['rows_per_second']:,} | {facts['seconds']} ({facts['cpu_seconds']}) |",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument(
        "--folder", type=Path, default=None, help="keep the files here (default: a temporary folder)"
    )
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(options.folder)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, options.rows)
        command = [sys.executable, __file__, "--ask", "--folder", str(folder)]
        facts = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(json.dumps(facts, indent=1))
    print()
    print(report(facts))
    return int(facts["peak_rss_bytes"] > LIMIT_BYTES)


if __name__ == "__main__":
    sys.exit(main())
