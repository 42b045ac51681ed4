"""The summary of a run as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.cli.output import table

if TYPE_CHECKING:
    from rich.table import Table

    from potstill.report import ReportFacts


def summary_table(facts: ReportFacts) -> Table:
    """Teacher, best member, twin and student: scores, one-row latency, size, and the gap recovered."""
    from potstill.report import summary_rows, words

    rows = summary_rows(facts)
    metrics = list(rows[0].scores) if rows else []
    heads = ("", *(words.METRICS[metric] for metric in metrics), "p50", "p99", "size", "gap recovered")
    cells = [
        (row.model, *row.scores.values(), row.latency_p50, row.latency_p99, row.size, row.gap_recovered)
        for row in rows
    ]
    return table(f"{facts.title}: {facts.evidence.n_rows:,} test rows", heads, cells)
