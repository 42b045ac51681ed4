"""Several artifacts side by side: the facts, and the tables that say them in terminal and page."""

from __future__ import annotations

import msgspec

from potstill.evaluation.recovery import Interval
from potstill.report import words
from potstill.report.tables import Cell, Line, Table
from potstill.report.verdict import interval_words
from potstill.types import Latency, Task


class Compared(msgspec.Struct, frozen=True, omit_defaults=True):
    """One artifact among others.

    Parameters
    ----------
    name
        What to call it: its path, as far as needed to tell it from the others.
    family
        Of the model in it.
    n_parameters
        Weights, thresholds and leaf values, those of the preprocessing among them.
    size_bytes, latency
        Of the file; one raw row, measured on this machine.
    n_columns
        Columns it asks for.
    card_scores, card_rows
        What its Card says it scored on how many test rows of its own.
    scores
        On the rows given; empty without rows.
    better_by
        Than the first artifact, metric to difference with its interval, on the same rows.
    agreement
        Of its answers with the first one's.
    """

    name: str
    family: str
    n_parameters: int
    size_bytes: int
    latency: Latency
    n_columns: int
    card_scores: dict[str, float | None] = {}
    card_rows: int = 0
    scores: dict[str, float] = {}
    better_by: dict[str, Interval] = {}
    agreement: dict[str, float] = {}


class Comparison(msgspec.Struct, frozen=True):
    """Artifacts of one task.

    Parameters
    ----------
    task
        What all of them predict.
    artifacts
        In the order given; the others are held against the first.
    rows
        File of the labelled rows all were asked about; None where none was given.
    n_rows
        Rows of it that have a label.
    same_card_rows
        The Cards were measured on the same data, so that their scores may be compared.
    """

    task: Task
    artifacts: tuple[Compared, ...]
    rows: str | None = None
    n_rows: int = 0
    same_card_rows: bool = False


SHOWN = {True: ("accuracy", "log_loss", "ece"), False: ("r2", "rmse", "mae")}
"""Metrics of the tables, for classification and for values."""


def comparison_tables(comparison: Comparison) -> list[Table]:
    """What each is and costs; then how all answer the rows given, or what their Cards say."""
    answers = _answer_table(comparison) if comparison.rows else _card_table(comparison)
    return [_artifact_table(comparison), *([answers] if answers else [])]


def _artifact_table(comparison: Comparison) -> Table:
    lines = []
    for each in comparison.artifacts:
        cells = [
            Cell(each.family or words.NONE),
            Cell(words.count(each.n_columns)),
            Cell(words.count(each.n_parameters)),
            Cell(words.size(each.size_bytes)),
            Cell(words.micros(each.latency.p50)),
            Cell(words.micros(each.latency.p99)),
        ]
        lines.append(Line(words.one_line(each.name, 60), cells))
    heads = ["", "Family", "Columns", "Parameters", "Size", "p50, 1 row", "p99, 1 row"]
    return Table("Artifacts", heads, lines)


def _card_table(comparison: Comparison) -> Table | None:
    """What each one's Card says it scored."""
    metrics = SHOWN[comparison.task.is_classification]
    lines = [
        Line(
            words.one_line(each.name, 60),
            [
                Cell(words.count(each.card_rows)),
                *(Cell(words.score(each.card_scores.get(metric), metric)) for metric in metrics),
            ],
        )
        for each in comparison.artifacts
        if each.card_scores
    ]
    heads = ["", "Test rows", *(words.METRICS[metric] for metric in metrics)]
    return Table("What their Cards say", heads, lines) if lines else None


def _answer_table(comparison: Comparison) -> Table:
    """How each answers the rows given, and what it is better by than the first."""
    metrics = SHOWN[comparison.task.is_classification]
    loss, alike = ("log_loss", "argmax") if comparison.task.is_classification else ("rmse", "rmse")
    first = comparison.artifacts[0]
    lines = []
    for each in comparison.artifacts:
        cells = [Cell(words.score(each.scores.get(metric), metric)) for metric in metrics]
        if each is first:
            cells += [Cell(words.NONE), Cell(words.NONE)]
        else:
            share = each.agreement[alike]
            cells.append(Cell(interval_words(each.better_by[loss], loss)))
            cells.append(Cell(f"{100 * share:.1f}\u00a0%" if alike == "argmax" else words.digits(share)))
        lines.append(Line(words.one_line(each.name, 60), cells))
    name = words.one_line(first.name, 24)
    heads = ["", *(words.METRICS[metric] for metric in metrics)]
    heads += [f"{words.METRICS[loss]} better than {name} by (95\u00a0%)"]
    heads += [f"Same class as {name}" if alike == "argmax" else f"RMSE to {name}"]
    return Table(f"On {comparison.n_rows:,} rows of {comparison.rows}", heads, lines)


def comparison_note(comparison: Comparison) -> str:
    """What a reader has to know before reading the scores; empty where there is nothing."""
    if comparison.rows or comparison.same_card_rows:
        return ""
    return (
        "The Cards' scores may be of different rows and cannot be held against each other; give labelled "
        "rows with --test to have all scored on the same."
    )
