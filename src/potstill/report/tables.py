"""The tables of the page, as rows of written cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from potstill.evaluation.cost import cost_of_million
from potstill.report import words
from potstill.report.contenders import contender, name_of
from potstill.report.facts import ColumnFacts, ReportFacts
from potstill.report.verdict import gap_words, interval_words

MAX_SLICES = 40


class Cell(NamedTuple):
    text: str
    best: bool = False


class Line(NamedTuple):
    """A row of a table; ``model`` gives it the model's mark, ``kind`` is its CSS class, ``point`` its number
    among the points that can be picked."""

    name: str
    cells: Sequence[Cell]
    label: str = ""
    model: str = ""
    kind: str = ""
    point: int | None = None


class Table(NamedTuple):
    name: str
    heads: Sequence[str]
    lines: Sequence[Line]


def score_table(facts: ReportFacts) -> Table:
    """Every score, latency, size and speed of every model."""
    models = facts.measured()
    scores = facts.evidence.scores
    metrics = [m for m in words.METRICS if any(m in scores.get(model, {}) for model in models)]
    columns = [
        [_best(metric, [scores.get(model, {}).get(metric) for model in models]) for model in models]
        for metric in metrics
    ]
    lines = []
    for row, model in enumerate(models):
        measured = facts.models.get(model)
        latency = measured.latency if measured else None
        cells = [
            Cell(words.score(value, metric), best=value is not None and value == column[row])
            for metric, column in zip(metrics, columns, strict=True)
            for value in [scores.get(model, {}).get(metric)]
        ]
        cells += [
            Cell(words.micros(latency.p50 if latency else None)),
            Cell(words.micros(latency.p99 if latency else None)),
            Cell(words.count(measured.rows_per_s if measured else None)),
            Cell(words.size(measured.size_bytes if measured else None)),
        ]
        kind = f"ships is-{model}" if model == facts.shipped else ""
        lines.append(Line(name_of(model), cells, measured.label if measured else "", model, kind))
    heads = ["", *(words.METRICS[m] for m in metrics), "p50, 1 row", "p99, 1 row", "rows/s", "Size"]
    return Table("Scores of all models", heads, lines)


def gap_table(facts: ReportFacts) -> Table | None:
    """Gap recovered with what it is made of: the teacher's edge and the student's gain over the twin."""
    lines = []
    for metric, gap in facts.evidence.gap_recovered.items():
        cells = [Cell(gap_words(gap))]
        cells += [Cell(interval_words(interval, metric)) for interval in (gap.edge, gap.gain)]
        lines.append(Line(words.METRICS[metric], cells))
    heads = ["", "Gap recovered", "Teacher better than twin by", "Student better than twin by"]
    return Table("Gap recovered", heads, lines) if lines else None


def others_table(facts: ReportFacts) -> Table | None:
    """What the student is better by than every other model, metric by metric."""
    advantages = facts.evidence.advantages
    models = [model for model in facts.scored() if model in advantages]
    metrics = list(dict.fromkeys(metric for model in models for metric in advantages[model]))
    lines = []
    for model in models:
        cells = [
            Cell(
                interval_words(advantages[model][metric], metric)
                if metric in advantages[model]
                else words.NONE
            )
            for metric in metrics
        ]
        lines.append(Line(name_of(model), cells, model=model))
    heads = ["", *(words.METRICS[metric] for metric in metrics)]
    return Table("Student against each of the others", heads, lines) if lines else None


def slice_table(facts: ReportFacts, metric: str) -> Table:
    """The worst slices in numbers."""
    models = [model for model in facts.scored() if contender(model).by_part]
    reference = "teacher" if "teacher" in models else "twin"
    lines = []
    for each in facts.evidence.slices[:MAX_SLICES]:
        cells = [Cell(words.count(each.n))]
        cells += [Cell(words.score(each.scores.get(model, {}).get(metric), metric)) for model in models]
        excess = (words.digits(v, 3) for v in (each.excess.value, each.excess.low, each.excess.high))
        cells.append(Cell("{} ({} to {})".format(*excess)))
        lines.append(Line(f"{words.one_line(each.column)}: {words.one_line(each.level)}", cells))
    loss = "log-loss" if facts.task.is_classification else "squared error"
    heads = ["", "Rows", *(name_of(m) for m in models), f"Student's {loss} − {reference}'s (95\u00a0%)"]
    return Table(f"{words.METRICS[metric]} by slice", heads, lines)


def operating_table(facts: ReportFacts) -> Table | None:
    """Recall at fixed false-positive rates of every model, and the shipped one's threshold and precision."""
    points = facts.evidence.operating_points
    own = points.get(facts.shipped)
    if not own:
        return None
    models = [model for model in facts.scored() if model in points]
    lines = []
    for row, point in enumerate(own):
        cells = [Cell(f"{points[model][row].recall:.3f}") for model in models]
        cells += [
            Cell(words.NONE if point.threshold is None else f"{point.threshold:.4f}"),
            Cell(words.NONE if point.precision is None else f"{point.precision:.3f}"),
            Cell(f"{point.reached_fpr:.4f}"),
        ]
        lines.append(Line(f"{100 * point.fpr:g}\u00a0%", cells))
    shipped = name_of(facts.shipped).lower()
    heads = ["At most", *(f"Recall, {name_of(m).lower()}" for m in models)]
    heads += [f"Threshold, {shipped}", f"Precision, {shipped}", "Rate reached"]
    return Table("Operating points", heads, lines)


def cost_table(facts: ReportFacts) -> Table | None:
    """CPU time, energy and money of a million predictions."""
    lines = []
    for model in facts.measured():
        measured = facts.models.get(model)
        if measured is None or measured.cpu_seconds_per_row is None:
            continue
        cost = cost_of_million(
            measured.cpu_seconds_per_row, watts=facts.watts, price_per_cpu_hour=facts.price_per_cpu_hour
        )
        cells = [
            Cell(words.seconds(3600 * cost["cpu_hours"])),
            Cell(f"{words.digits(1000 * cost['kwh'], 3)} Wh"),
            Cell(f"{facts.currency}{words.digits(cost['price'], 3)}"),
        ]
        lines.append(Line(name_of(model), cells, model=model))
    return (
        Table("Cost of a million predictions", ["", "CPU time", "Energy", "Cost"], lines) if lines else None
    )


def candidate_table(facts: ReportFacts, metric: str) -> Table | None:
    """The candidates, best validation loss first, those on the Pareto front with their number."""
    lines = []
    for each in sorted(facts.candidates, key=lambda candidate: candidate.loss):
        notes = ["in the artifact"] if each.chosen else []
        notes += [] if each.fits_budget else ["over the budget"]
        cells = [
            Cell(words.one_line(each.name, 60)),
            Cell(words.score(each.loss, metric)),
            Cell(words.micros(each.latency.p50 if each.latency else None)),
            Cell(words.micros(each.latency.p99 if each.latency else None)),
            Cell(words.size(each.size_bytes)),
            Cell(", ".join(notes)),
        ]
        kind = "ships" if each.chosen else ""
        number = "" if each.number is None else f"{each.number}"
        lines.append(Line(number, cells, kind=kind, point=each.number))
    heads = [
        "No.",
        "Candidate",
        f"Validation {words.METRICS[metric]}",
        "p50, 1 row",
        "p99, 1 row",
        "Size",
        "",
    ]
    return Table("Candidates", heads, lines) if lines else None


def columns_table(columns: Sequence[ColumnFacts], metric: str) -> Table | None:
    """What each number of columns is worth, and which column came last."""
    ordered = sorted(columns, key=lambda each: each.n_columns)
    lines = []
    for place, each in enumerate(ordered):
        before = set(ordered[place - 1].names) if place else set()
        added = ", ".join(words.one_line(name, 30) for name in each.names if name not in before)
        interval = (
            words.NONE
            if each.low is None or each.high is None
            else f"{words.score(each.low, metric)} to {words.score(each.high, metric)}"
        )
        cells = [Cell(added), Cell(words.score(each.loss, metric)), Cell(interval)]
        cells.append(Cell("in the artifact" if each.chosen else ""))
        lines.append(Line(f"{each.n_columns}", cells, kind="ships" if each.chosen else ""))
    heads = ["Columns", "Added", f"Validation {words.METRICS[metric]}", "95\u00a0% interval", ""]
    return Table("What each number of columns is worth", heads, lines) if lines else None


def _best(metric: str, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    return min(known) if metric in words.LOWER_IS_BETTER else max(known)
