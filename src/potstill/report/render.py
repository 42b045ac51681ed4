"""Facts to one self-contained HTML page: no network, light and dark, wide and narrow."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from potstill.evaluation.calibration import wilson_interval
from potstill.evaluation.evidence import Disagreement
from potstill.report import words
from potstill.report.contenders import contender, name_of
from potstill.report.curves import predicted_chart, reliability_chart, reliability_floor, residual_chart
from potstill.report.dots import MAX_CLASSES, MAX_SLICES, class_chart, slice_chart
from potstill.report.facts import ReportFacts, write_text
from potstill.report.frontier import POINT, columns_chart, frontier_charts
from potstill.report.picture import picture
from potstill.report.svg import Chart, marker_of, svg, variable_of
from potstill.report.tables import (
    candidate_table,
    columns_table,
    cost_table,
    gap_table,
    operating_table,
    others_table,
    score_table,
    slice_table,
)
from potstill.report.verdict import big_numbers, loss_of, verdict

_HERE = Path(__file__).parent
_OPEN_ROWS_UP_TO = 8

_DEFINITIONS = {
    True: (
        "Log-loss: mean −ln p of the label, p at least 1e-7. ROC AUC, average precision: of the positive "
        "class for two classes, the mean of each class against the rest for more. Brier: squared error "
        "summed over the classes, between 0 and 2. ECE: 15 bins of equal width of the most probable class. "
        "Total variation: half the summed absolute difference of two answers."
    ),
    False: "R², RMSE and MAE on the target's own scale. The gap in R² is the gap in mean squared error.",
}


def save_report(facts: ReportFacts, path: str | Path) -> None:
    """Render the facts and write the page, beside and renamed."""
    write_text(Path(path), render(facts))


def render(facts: ReportFacts) -> str:
    """The page as text; the same facts make the same text.

    Parameters
    ----------
    facts
        What to tell. Column names, labels and all other text are escaped.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    script = (_HERE / "pick.js").read_text(encoding="utf-8") if pickable(facts) else ""
    css = Markup((_HERE / "style.css").read_text(encoding="utf-8"))
    charts = {
        name: [tuple(Markup(part) for part in parts) for parts in drawn]
        for name, drawn in _charts(facts).items()
    }
    page = environment.get_template("template.html.j2").render(
        css=css,
        name_of=name_of,
        marker_of=marker_of,
        variable_of=variable_of,
        picture=_only(charts["picture"]),
        reliability=[part for parts in charts["reliability"] for part in parts],
        residuals=charts["residuals"],
        classes=_only(charts["classes"]),
        slices=_only(charts["slices"]),
        candidate_charts=[part for parts in charts["candidates"] for part in parts],
        columns_chart=_only(charts["columns"]),
        point_id=POINT,
        script=Markup(script),
        script_hash=_digest(script),
        command=pick_command(facts),
        frontier=facts.frontier,
        **_head(facts),
        **_tables(facts),
        **_notes(facts),
        **_rows(facts),
        **_account(facts),
    )
    # A lone surrogate in somebody's label cannot be written as UTF-8.
    return page.encode("utf-8", "replace").decode("utf-8")


def pickable(facts: ReportFacts) -> bool:
    """Whether there are points to pick."""
    return any(each.number is not None for each in facts.candidates)


def pick_command(facts: ReportFacts) -> str:
    """The command that ships a point, ``N`` in place of its number."""
    return f"{facts.command or 'potstill distill …'} --pick N"


def _digest(script: str) -> str:
    """What the page's policy calls its one script by: any other is not run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _only(drawn: Sequence[tuple[str, ...]]) -> str:
    return drawn[0][0] if drawn else ""


def _charts(facts: ReportFacts) -> dict[str, list[tuple[str, ...]]]:
    """All drawings: for each place on the page the charts, each one part or several below each other."""
    evidence, models = facts.evidence, facts.scored()
    metric = loss_of(facts)
    floor = reliability_floor(evidence.reliability.values()) if evidence.reliability else 0.0
    classes = class_chart(evidence.per_class, models) if len(evidence.per_class) > 1 else None
    slices = slice_chart(evidence.slices, models, metric) if evidence.slices else None
    return {
        "picture": _chart(picture(facts), "picture", wide=740),
        "reliability": [
            _small(
                f"reliability-{model}",
                reliability_chart(
                    model, evidence.reliability[model], ece=evidence.scores[model]["ece"], floor=floor
                ),
            )
            for model in models
            if model in evidence.reliability
        ],
        "residuals": [
            _small(
                f"residuals-{model}",
                predicted_chart(model, evidence.predictions, evidence.scores[model]),
                residual_chart(model, evidence.predictions),
            )
            for model in models
            if evidence.predictions and model in evidence.predictions.predicted
        ],
        "classes": _chart(classes, "classes"),
        "slices": _chart(slices, "slices"),
        "candidates": [
            (svg(chart, f"candidates-{place}", wide=500),)
            for place, chart in enumerate(frontier_charts(facts, metric))
        ],
        "columns": _chart(columns_chart(facts.columns, metric), "columns"),
    }


def _chart(chart: Chart | None, name: str, *, wide: int = 640) -> list[tuple[str, ...]]:
    return [(svg(chart, name, wide=wide),)] if chart else []


def _small(name: str, *charts: Chart) -> tuple[str, ...]:
    """Charts of one width for all screens, below each other."""
    return tuple(svg(chart, f"{name}-{i}", wide=250, narrow=250) for i, chart in enumerate(charts))


def _head(facts: ReportFacts) -> dict[str, Any]:
    task = facts.task
    kind = f"Classification, {len(task.classes)} classes" if task.is_classification else "Regression"
    absent = [
        name_of(model).lower()
        for model in facts.scored()
        if contender(model).pictured and (model not in facts.models or facts.models[model].latency is None)
    ]
    return {
        "title": facts.title,
        "subtitle": f"{kind}, predicting “{words.one_line(task.target, 80)}”.",
        "verdict": facts.sentence or verdict(facts),
        "warnings": facts.warnings,
        "numbers": big_numbers(facts),
        "n_rows": f"{facts.evidence.n_rows:,}",
        "candidates_in_picture": any(each.score is not None for each in facts.candidates),
        "not_in_picture": f"Latency was not measured, so a line only: {words.listing(absent)}."
        if absent
        else "",
        "agreement": _agreement(facts),
    }


def _agreement(facts: ReportFacts) -> str:
    measured = facts.evidence.agreement
    if "argmax" in measured:
        share = measured["argmax"]
        low, high = wilson_interval(np.array(share), np.array(facts.evidence.n_rows))
        return (
            f"The student and the teacher choose the same class on {100 * share:.1f}\u00a0% of these rows "
            f"(95\u00a0% interval {100 * low:.1f} to {100 * high:.1f}\u00a0%); "
            f"mean total variation {measured['total_variation']:.4f}, "
            f"mean KL(teacher ‖ student) {measured['kl']:.4f} nats."
        )
    if "rmse" in measured:
        correlation = f", correlation {measured['correlation']:.4f}" if "correlation" in measured else ""
        return f"Student against teacher: RMSE {words.digits(measured['rmse'])}{correlation}."
    return ""


def _tables(facts: ReportFacts) -> dict[str, Any]:
    metric = loss_of(facts)
    return {
        "scores": score_table(facts),
        "gaps": gap_table(facts),
        "others": others_table(facts),
        "slice_table": slice_table(facts, metric),
        "operating": operating_table(facts),
        "cost": cost_table(facts),
        "candidates": candidate_table(facts, metric),
        "columns": columns_table(facts.columns, metric),
        "dot_models": [model for model in facts.scored() if contender(model).by_part],
    }


def _notes(facts: ReportFacts) -> dict[str, str]:
    evidence = facts.evidence
    reference = "teacher" if "teacher" in evidence.scores else "twin"
    binary = facts.task.kind == "binary"
    positive = words.one_line(facts.task.classes[1]) if binary else ""
    of = f"the probability of “{positive}”" if binary else "the probability of the most probable class"
    n_classes = len(evidence.per_class)
    most = f"The {MAX_CLASSES} of {n_classes} classes" if n_classes > MAX_CLASSES else "All classes"
    order = f" where the student is furthest below the {reference}" if n_classes > MAX_CLASSES else ""
    loss = words.in_text(loss_of(facts))
    return {
        "reliability_note": f"A model is calibrated where {of} is what happens: on the dashed line. "
        "Bars are 95\u00a0% intervals; points have about equally many rows.",
        "residuals_note": "Stronger colour is more rows; the dashed line is where both are equal. "
        "Below, what is left over: the median in tenths of the rows, and bars that hold 80\u00a0% of them.",
        "classes_note": f"{most}{order}. Recall: the share of a class's rows that get this class.",
        "slices_note": f"The {min(MAX_SLICES, len(evidence.slices))} of {len(evidence.slices)} slices where "
        f"the student most surely loses against the {reference}; {loss}, lower is better.",
        "operating_note": f"Share of the rows that are “{positive}” that each model catches when at most "
        "this share of the others is called so; a row is positive at the threshold or above. Thresholds were "
        "read off these test rows: choose your own on rows of your own.",
        "disagreements_note": f"The test rows where student and {reference} are furthest apart. "
        "Where the label sides with the teacher, distilling lost something; where it sides with the student, "
        "the teacher may be wrong, or the label.",
        "cost_note": "An estimate: CPU seconds measured on a batch, "
        f"times {facts.watts:g} W a busy core and {facts.currency}{facts.price_per_cpu_hour:g} a core-hour, "
        "both stated and not measured. Idle machines, network and serving code are not in it.",
        "definitions": _DEFINITIONS[facts.task.is_classification],
    }


def _rows(facts: ReportFacts) -> dict[str, Any]:
    rows = [_row(facts, each) for each in facts.evidence.disagreements]
    wide = max((len(row["cells"]) for row in rows), default=0)
    return {"disagreements": rows, "open_rows": len(rows) if wide <= _OPEN_ROWS_UP_TO else 0}


def _row(facts: ReportFacts, each: Disagreement) -> dict[str, Any]:
    said = []
    for model, answer in (("teacher", each.teacher), ("student", each.student)):
        if facts.task.is_classification:
            chosen = max(range(len(answer)), key=answer.__getitem__)
            text = f"{words.one_line(facts.task.classes[chosen], 18)} {answer[chosen]:.2f}"
            said.append({"model": model, "share": round(100 * answer[chosen]), "text": text})
        else:
            said.append({"model": model, "share": None, "text": words.digits(answer[0], 6)})
    truth = None
    if each.truth is not None:
        label = facts.task.classes[int(each.truth)] if facts.task.is_classification else None
        truth = words.digits(each.truth, 6) if label is None else words.one_line(label, 24)
    pictures = [value for value in each.row.values() if _is_picture(value)]
    cells = [
        (words.one_line(name), _cell(value)) for name, value in each.row.items() if not _is_picture(value)
    ]
    return {"index": each.index, "truth": truth, "said": said, "cells": cells, "pictures": pictures}


def _is_picture(value: object) -> bool:
    """Whether a cell is a picture, which the page carries in itself: nothing is loaded from elsewhere."""
    return isinstance(value, str) and value.startswith("data:image/")


def _cell(value: str | float | int | bool | None) -> str:
    if value is None:
        return "missing"
    return f"{value:g}" if isinstance(value, float) else words.one_line(value, 400)


def _account(facts: ReportFacts) -> dict[str, Any]:
    """The Card, and where the numbers come from."""
    measured = [(f"{words.one_line(name)} rows", f"{n:,}") for name, n in facts.rows.items()]
    measured += list(facts.soft_targets.items())
    measured += [(f"{name}, time", words.seconds(spent)) for name, spent in facts.seconds.items()]
    return {"card": list(facts.card.items()), "measured": measured}
