"""What an answer costs: latency of one row, throughput of many, energy and money of a million."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from potstill.errors import UserError
from potstill.types import Latency

WATTS_PER_CORE = 10.0
"""Stated, not measured: a busy server core with its share of memory, board and power supply."""

PRICE_PER_CPU_HOUR = 0.05
"""Stated, not measured: list price of one on-demand cloud vCPU for an hour, in dollars, rounded."""


class Throughput(msgspec.Struct, frozen=True):
    """Speed on many rows at once.

    Parameters
    ----------
    rows_per_s
        Rows answered in a second of wall clock.
    cpu_seconds_per_row
        CPU seconds of the process, all threads, for one row.
    """

    rows_per_s: float
    cpu_seconds_per_row: float


def measure_latency(
    call: Callable[[Any], object],
    rows: Sequence[Any],
    *,
    warmup: int = 50,
    seconds: float = 1.0,
    min_calls: int = 100,
    max_calls: int = 20_000,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Latency:
    """One-row latency of ``call``, in microseconds.

    Rows are cycled so that no answer can be cached; the garbage collector is off while the clock runs.

    Parameters
    ----------
    call
        Answers one raw row, as the caller of the model would pass it.
    rows
        Raw single rows, at least one.
    warmup
        Calls before the clock starts, for a second at most.
    seconds
        Stop after this much time, but not before ``min_calls``.
    clock
        Tells nanoseconds. `time.thread_time_ns` counts what the calling thread computes, not when it
        waits for a core, which is what a model of one thread takes where it has a core of its own.
    min_calls
        Fewest calls; a p99 of fewer than 100 is the maximum. Given up after ten times ``seconds``.

    Raises
    ------
    UserError
        When there are no rows.
    """
    if len(rows) == 0:
        raise UserError("Latency needs at least one row to ask about, got none.")
    begin = time.perf_counter_ns()
    for i in range(warmup):
        call(rows[i % len(rows)])
        if time.perf_counter_ns() - begin > 1_000_000_000:
            break
    taken = []
    with _no_garbage_collection():
        begin = time.perf_counter_ns()
        for i in range(max_calls):
            row = rows[i % len(rows)]
            start = clock()
            call(row)
            end = clock()
            taken.append(end - start)
            spent = (time.perf_counter_ns() - begin) / 1e9
            if (spent > seconds and i + 1 >= min_calls) or spent > 10 * seconds:
                break
    p50, p99 = np.percentile(np.array(taken) / 1000.0, [50, 99])
    return Latency(p50=float(p50), p99=float(p99))


def measure_batch(
    call: Callable[[Any], object], batch: Any, n_rows: int, *, seconds: float = 0.5, max_calls: int = 100
) -> Throughput:
    """Speed of ``call`` on a whole batch, the first call not counted.

    Parameters
    ----------
    call
        Answers the batch.
    batch
        Raw rows in the form the caller of the model would pass.
    n_rows
        Rows in ``batch``.
    seconds
        Stop after this much time, but not before one call.
    """
    if n_rows < 1:
        raise UserError(f"Throughput needs a batch of at least one row, got {n_rows}.")
    call(batch)
    with _no_garbage_collection():
        wall, cpu = time.perf_counter(), time.process_time()
        calls = 0
        while calls < max_calls and (calls == 0 or time.perf_counter() - wall < seconds):
            call(batch)
            calls += 1
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    answered = calls * n_rows
    return Throughput(rows_per_s=answered / max(wall, 1e-9), cpu_seconds_per_row=cpu / answered)


def cost_of_million(
    cpu_seconds_per_row: float,
    *,
    watts: float = WATTS_PER_CORE,
    price_per_cpu_hour: float = PRICE_PER_CPU_HOUR,
) -> dict[str, float]:
    """Energy and money of a million predictions: measured CPU seconds times stated watts and price.

    An estimate: it leaves out idle machines, the network, and whatever wraps the model.

    Parameters
    ----------
    cpu_seconds_per_row
        Measured, see `Throughput`.
    watts
        Power of one busy core.
    price_per_cpu_hour
        Money for one core for one hour, any currency.

    Returns
    -------
    dict
        ``cpu_hours``, ``kwh``, ``price``, and what was assumed: ``watts``, ``price_per_cpu_hour``.

    Examples
    --------
    >>> cost_of_million(0.0036)["cpu_hours"]
    1.0
    """
    cpu_hours = cpu_seconds_per_row * 1e6 / 3600.0
    return {
        "cpu_hours": cpu_hours,
        "kwh": cpu_hours * watts / 1000.0,
        "price": cpu_hours * price_per_cpu_hour,
        "watts": watts,
        "price_per_cpu_hour": price_per_cpu_hour,
    }


def file_size(path: str | Path) -> int:
    """Size on disk in bytes: of a file, or of all files under a folder."""
    place = Path(path)
    if place.is_dir():
        return sum(each.stat().st_size for each in place.rglob("*") if each.is_file())
    return place.stat().st_size


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
