"""What the numbers say, in words: no ratio without its interval, no praise the interval does not bear."""

from __future__ import annotations

import msgspec

from potstill.evaluation.recovery import Interval, Recovered
from potstill.report import words
from potstill.report.contenders import name_of
from potstill.report.facts import ReportFacts


class BigNumber(msgspec.Struct, frozen=True):
    """One of the numbers beside the picture: what it is, the figure, and what stands behind it."""

    name: str
    figure: str
    detail: str


def loss_of(facts: ReportFacts) -> str:
    """The metric the verdict stands on."""
    return "log_loss" if facts.task.is_classification else "rmse"


def verdict(facts: ReportFacts) -> str:
    """One or two sentences: did distilling help, by how much, how sure is it."""
    metric = loss_of(facts)
    gap = facts.evidence.gap_recovered.get(metric)
    if gap is None:
        missing = [
            name_of(m).lower() for m in ("teacher", "twin", "student") if m not in facts.evidence.scores
        ]
        return (
            f"Whether distillation helped cannot be said: no answers of the {words.listing(missing)} "
            "on the test rows."
        )
    name = words.in_text(metric)
    gain = f"{_signed(gap.gain.low, metric)} to {_signed(gap.gain.high, metric)}"
    rows = f"{facts.evidence.n_rows:,} test rows"
    if facts.shipped == "twin" or facts.untaught:
        labels, twin = "the labels alone", "the hard-label twin"
        if facts.shipped != "twin":
            labels, twin = "labels without a teacher", "another twin than the one it is compared with"
        return (
            "Distillation did not help here: on the validation rows nothing the teacher taught was better "
            f"than {labels}, so the artifact holds {twin}, scored here on {rows}."
        )
    if gap.gain.high < 0.0:
        said = (
            f"Distillation did not help here: on {rows} the twin trained on the labels alone has the lower "
            f"{name}, by {words.score(-gap.gain.value, metric)} "
            f"(95\u00a0% interval of the student's gain {gain})."
        )
    elif gap.gain.low <= 0.0:
        said = (
            f"Distillation did not help here as far as {rows} can tell: the 95\u00a0% interval of the "
            f"student's gain over its hard-label twin in {name}, {gain}, contains 0."
        )
    else:
        said = (
            f"Distillation helped: on {rows} the student's {name} is {words.score(gap.gain.value, metric)} "
            f"lower than that of its hard-label twin (95\u00a0% interval {gain})."
        )
        said += _smoothing(facts, metric)
    if gap.edge_is_noise:
        said += " The teacher is not provably better than the twin, so there is no gap to recover."
    return said


def _smoothing(facts: ReportFacts, metric: str) -> str:
    """Whether the twin with smoothed labels, which needs no teacher, does as well."""
    over = facts.evidence.advantages.get("twin_smoothed", {}).get(metric)
    if over is None or over.low > 0.0:
        return ""
    said = "is below 0" if over.high < 0.0 else "contains 0"
    return (
        " Smoothed labels without a teacher may do as much: the interval of the student's gain over that "
        f"twin, {_signed(over.low, metric)} to {_signed(over.high, metric)}, {said}."
    )


def gap_words(gap: Recovered | None) -> str:
    """A gap recovered with its interval, or why there is none."""
    if gap is None:
        return words.NONE
    if gap.value is None or gap.low is None or gap.high is None:
        return "no gap: teacher and twin are equal"
    if gap.edge_is_noise:
        return "no gap: the teacher's edge is within noise"
    return f"{words.percent(gap.value)} ({words.percent(gap.low)} to {words.percent(gap.high)})"


def interval_words(interval: Interval, metric: str) -> str:
    """A difference in a metric with its interval: ``0.0123 (0.0040 to 0.0210)``."""
    value, low, high = (words.score(each, metric) for each in (interval.value, interval.low, interval.high))
    return f"{value} ({low} to {high})"


def big_numbers(facts: ReportFacts) -> list[BigNumber]:
    """Gap recovered, times faster, times smaller, loss of the shipped model against the teacher's."""
    metric = loss_of(facts)
    numbers = [_gap_number(facts, metric)]
    shipped, teacher = facts.models.get(facts.shipped), facts.models.get("teacher")
    if shipped and teacher and shipped.latency and teacher.latency:
        ratio = teacher.latency.p50 / max(shipped.latency.p50, 1e-9)
        detail = f"{words.micros(teacher.latency.p50)} → {words.micros(shipped.latency.p50)}, one row, median"
        numbers.append(_ratio_number(ratio, ("faster", "slower"), detail))
    if shipped and teacher and shipped.size_bytes and teacher.size_bytes:
        ratio = teacher.size_bytes / shipped.size_bytes
        detail = f"{words.size(teacher.size_bytes)} → {words.size(shipped.size_bytes)} on disk"
        numbers.append(_ratio_number(ratio, ("smaller", "larger"), detail))
    own = facts.evidence.scores.get(facts.shipped, {}).get(metric)
    theirs = facts.evidence.scores.get("teacher", {}).get(metric)
    if own is not None:
        detail = "" if theirs is None else f"teacher {words.score(theirs, metric)}; lower is better"
        name = f"{words.METRICS[metric]}, {name_of(facts.shipped).lower()}"
        numbers.append(BigNumber(name, words.score(own, metric), detail))
    return [number for number in numbers if number is not None]


def _gap_number(facts: ReportFacts, metric: str) -> BigNumber:
    gap = facts.evidence.gap_recovered.get(metric)
    name = f"Gap recovered, {words.in_text(metric)}"
    if gap is None:
        return BigNumber(name, words.NONE, "teacher or twin did not answer the test rows")
    if gap.value is None or gap.low is None or gap.high is None:
        return BigNumber(name, "no gap", "teacher and twin are equal on the test rows")
    if gap.edge_is_noise:
        return BigNumber(name, "no gap", "the teacher's edge over the twin is within noise")
    interval = f"95\u00a0% interval {words.percent(gap.low)} to {words.percent(gap.high)}"
    if gap.high < 0.0:
        interval += "; below 0, the twin is better"
    if facts.untaught and facts.shipped != "twin":
        interval += "; no teacher had a part in it"
    return BigNumber(name, words.percent(gap.value), interval)


def _ratio_number(ratio: float, adjectives: tuple[str, str], detail: str) -> BigNumber:
    better, worse = adjectives
    if ratio >= 1.0:
        return BigNumber(f"Times {better}", words.times(ratio), detail)
    return BigNumber(f"Times {worse}", words.times(1.0 / ratio), detail)


def _signed(value: float, metric: str) -> str:
    return ("+" if value > 0 else "") + words.score(value, metric)
