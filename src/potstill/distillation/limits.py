"""A budget and the candidates there are: what can no longer be judged, and what would have to give."""

from __future__ import annotations

import time

import msgspec

from potstill.artifact import feeds
from potstill.errors import UserError
from potstill.evaluation.cost import measure_latency
from potstill.graph import chosen_opset
from potstill.training.candidates import Candidate
from potstill.types import Budget, Dataset, Schema

MUCH = 0.1
"""A column whose levels take so much of a budget in bytes is named where nothing keeps it."""

READ_ROWS, WORTH_TELLING = 20, 0.25
"""Pictures whose reading is timed, and the part of a budget from which on it is spoken of."""

BYTES_OF_LEVEL = 8
"""What a level takes in a file beside its text, which is there twice."""


def beside_reading(default: Budget, some: Dataset, schema: Schema) -> tuple[Budget, tuple[str, ...]]:
    """The default budget of some data, its latency counted from where a picture's file is read.

    However small a student is, it does not read files any faster. Also a sentence, where that takes long.
    """
    if default.latency_ms is None or not any(column.shape for column in schema.columns):
        return default, ()
    rows = some.rows[:READ_ROWS, :].rows(named=True)
    reading = measure_latency(
        lambda row: feeds([row], schema), rows, warmup=2, seconds=0.5, min_calls=20, clock=time.thread_time_ns
    )
    reading_ms = reading.p99 / 1000
    budget = msgspec.structs.replace(default, latency_ms=round(default.latency_ms + reading_ms, 2))
    if reading_ms < WORTH_TELLING * default.latency_ms:
        return budget, ()
    said = f"To read a picture's file takes {reading_ms:.2g} ms, which the default budget of"
    return budget, (f"{said} {default.latency_ms:g} ms a picture does not count.",)


def judgeable(budget: Budget, searched: Budget, schema: Schema) -> Budget:
    """``budget`` as it holds for the candidates of a search that is over.

    Parameters
    ----------
    searched
        What they were searched under.
    schema
        The columns that they see.

    Raises
    ------
    UserError
        It allows fewer columns, or only an older operator set than they were measured in.
    """
    n_columns = len(schema.columns)
    if budget.max_columns is not None and budget.max_columns < n_columns:
        raise UserError(
            f"The candidates see {n_columns} columns; none keeps a budget of {budget.max_columns}.",
            hint="Run again with max_columns in the budget: columns are picked before the search.",
        )
    written, allowed = chosen_opset(searched.opset).main, chosen_opset(budget.opset).main
    if allowed < written:
        raise UserError(
            f"The candidates were measured in ONNX operator set {written}; in {allowed} they have other "
            "sizes and speeds.",
            hint="Run again with this opset in the budget.",
        )
    return msgspec.structs.replace(budget, opset=searched.opset)


def over_budget(chosen: Candidate, budget: Budget, schema: Schema) -> tuple[str, ...]:
    """What would have to give where nothing keeps the budget."""
    if chosen.fits_budget:
        return ()
    needed = chosen.assessment
    wanted, advice = [], "name a smaller student"
    if budget.size_kb is not None:
        wanted.append(f"{needed.size_bytes / 1000:.0f} kB where {budget.size_kb:g} kB are allowed")
        large = _large_levels(schema, budget.size_kb) if needed.size_bytes > 1000 * budget.size_kb else ""
        if large:
            advice = f"let the student go without columns whose levels take much of it: {large}"
    if budget.latency_ms is not None:
        wanted.append(
            f"{needed.latency_us.p99 / 1000:.3f} ms at p99 where {budget.latency_ms:g} ms are allowed"
        )
    if budget.memory_mb is not None and needed.memory_bytes is not None:
        wanted.append(f"{needed.memory_bytes / 1e6:.1f} MB of memory where {budget.memory_mb:g} are allowed")
    return (
        f"No student keeps the budget. The one that ships needs {' and '.join(wanted)}; loosen the budget, "
        f"or {advice}.",
    )


def _large_levels(schema: Schema, size_kb: float) -> str:
    """The columns whose levels take much of so many bytes in any file, in graph and account."""
    taken_kb = {
        column.name: sum(2 * len(level.encode()) + BYTES_OF_LEVEL for level in column.levels) / 1000
        for column in schema.columns
    }
    largest = sorted(taken_kb, key=lambda name: -taken_kb[name])
    return ", ".join(
        f"{name!r} (about {taken_kb[name]:.0f} kB)" for name in largest if taken_kb[name] > MUCH * size_kb
    )
