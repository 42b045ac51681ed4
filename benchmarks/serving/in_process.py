"""One row in process: `Model.predict_one` beside the bare `session.run` of the same graph, in turn.

    python benchmarks/serving/in_process.py MODEL.onnx ...

The bare run is given its inputs ready made; `predict_one` is given a dict and answers with a dict. The rows
are the artifact's own probe rows, cycled, so the two answer the same questions in the same moment and what
else the machine does falls on both. Then eight threads ask one model, and every answer is compared.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from pages import OUT, in_process_table, save

import potstill
from potstill.artifact import feeds

N_THREADS = 8


class InProcess(msgspec.Struct, frozen=True):
    """Medians and 99th percentiles of one row in µs, over calls made in turn."""

    name: str
    n_columns: int
    bare_us: float
    predict_one_us: float
    ratio: float
    predict_one_p99_us: float
    threads_per_s: float
    wrong_answers: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--calls", type=int, default=5000, help="of each kind (default 5000)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help="of the results")
    asked = parser.parse_args()
    results = [measure(path, calls=asked.calls) for path in asked.models]
    save("in_process", results, asked.out)
    print(in_process_table(msgspec.to_builtins(results)))


def measure(path: Path, *, calls: int) -> InProcess:
    model = potstill.load(path)
    rows = model.probe_rows
    ready = [feeds([row], model.schema) for row in rows]
    output = [model.session.get_outputs()[0].name]
    bare, ours = in_turn(
        [
            (lambda inputs: model.session.run(output, inputs), ready),
            (model.predict_one, rows),
        ],
        calls=calls,
    )
    threads_per_s, wrong = eight_threads(path, calls=calls)
    return InProcess(
        name=path.stem,
        n_columns=len(model.schema.columns),
        bare_us=statistics.median(bare),
        predict_one_us=statistics.median(ours),
        ratio=statistics.median(ours) / statistics.median(bare),
        predict_one_p99_us=statistics.quantiles(ours, n=100)[98],
        threads_per_s=threads_per_s,
        wrong_answers=wrong,
    )


def in_turn(contenders: list[tuple[Callable[[Any], object], list[Any]]], *, calls: int) -> list[list[float]]:
    """µs of each call of each contender, one of each in turn, after a tenth as many unmeasured."""
    times: list[list[float]] = [[] for _ in contenders]
    sources = [(call, itertools.cycle(asked)) for call, asked in contenders]
    gc.collect()
    gc.disable()
    try:
        for turn in range(calls + calls // 10):
            for at, (call, asked) in enumerate(sources):
                question = next(asked)
                start = time.perf_counter_ns()
                call(question)
                if turn >= calls // 10:
                    times[at].append((time.perf_counter_ns() - start) / 1000)
    finally:
        gc.enable()
    return times


def eight_threads(path: Path, *, calls: int) -> tuple[float, int]:
    """Rows a second of eight threads on one model, and how many answers differ from those of the table."""
    model = potstill.load(path)
    rows = model.probe_rows
    expected = model.outputs(feeds(rows, model.schema)).tolist()

    def ask(thread: int) -> int:
        wrong = 0
        for turn in range(calls):
            at = (thread + turn) % len(rows)
            answer = model.predict_one(rows[at])
            said = list(answer["probabilities"].values()) if model.classes else [answer["value"]]
            wrong += any(abs(a - b) > 1e-6 * max(1, abs(b)) for a, b in zip(said, expected[at], strict=True))
        return wrong

    start = time.perf_counter()
    with ThreadPoolExecutor(N_THREADS) as pool:
        wrong = sum(pool.map(ask, range(N_THREADS)))
    return N_THREADS * calls / (time.perf_counter() - start), wrong


if __name__ == "__main__":
    main()
