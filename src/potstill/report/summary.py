"""The summary as rows, for terminals."""

from __future__ import annotations

import msgspec

from potstill.report import words
from potstill.report.contenders import name_of
from potstill.report.facts import ReportFacts
from potstill.report.verdict import gap_words, loss_of


class SummaryRow(msgspec.Struct, frozen=True):
    """One model in written cells; ``scores`` has accuracy, log_loss, ece or r2, rmse, mae, in this order."""

    model: str
    scores: dict[str, str]
    latency_p50: str
    latency_p99: str
    size: str
    gap_recovered: str = ""


def summary_rows(facts: ReportFacts) -> list[SummaryRow]:
    """Every model that was measured, in the order of the page; the gap stands in the student's row."""
    metrics = ("accuracy", "log_loss", "ece") if facts.task.is_classification else ("r2", "rmse", "mae")
    rows = []
    for model in facts.measured():
        scores, measured = facts.evidence.scores.get(model), facts.models.get(model)
        if scores is None and measured is None:
            continue
        latency = measured.latency if measured else None
        gap = facts.evidence.gap_recovered.get(loss_of(facts)) if model == "student" else None
        rows.append(
            SummaryRow(
                model=name_of(model),
                scores={metric: words.score((scores or {}).get(metric), metric) for metric in metrics},
                latency_p50=words.micros(latency.p50 if latency else None),
                latency_p99=words.micros(latency.p99 if latency else None),
                size=words.size(measured.size_bytes if measured else None),
                gap_recovered=gap_words(gap) if gap else "",
            )
        )
    return rows
