"""A window's counts against the reference: how far apart, and whether that is worth an alarm."""

from __future__ import annotations

import math
from collections.abc import Collection

import msgspec

from potstill.artifact.reference import Histogram, Reference
from potstill.monitoring.counting import Tally, as_counts
from potstill.monitoring.estimate import AccuracyEstimate, estimate_accuracy
from potstill.monitoring.statistics import chi2, jensen_shannon, kolmogorov_smirnov, psi, share_rise
from potstill.types import Ints


class Thresholds(msgspec.Struct, frozen=True):
    """When a difference is an alarm: it must be large *and* more than chance.

    Parameters
    ----------
    psi
        Smallest PSI of a column or an answer.
    rate_rise
        Smallest rise of a column's share of missing, or of unseen, values.
    accuracy_drop
        Smallest fall of the estimated accuracy below that of the reference.
    p_value
        Chance of any alarm by a column in a window without drift, if rows were independent; it is divided
        among the tests.
    min_rows
        A window with fewer rows raises no alarm.
    """

    psi: float = 0.2
    rate_rise: float = 0.05
    accuracy_drop: float = 0.05
    p_value: float = 0.01
    min_rows: int = 200


class Drift(msgspec.Struct, frozen=True):
    """How far the values of one column, or one kind of answer, are from the reference; None: undefined.

    Parameters
    ----------
    psi, jensen_shannon
        See `potstill.monitoring.statistics`.
    ks, ks_p
        Kolmogorov–Smirnov distance over the bins and its p-value; None for categories.
    chi2, chi2_p
        χ² over the bins and its p-value.
    missing, unseen
        Shares of the window's rows.
    reference_missing, reference_unseen
        The same of the reference.
    alarms
        Which of ``distribution``, ``missing``, ``unseen`` are alarms.
    """

    psi: float | None = None
    jensen_shannon: float | None = None
    ks: float | None = None
    ks_p: float | None = None
    chi2: float | None = None
    chi2_p: float | None = None
    missing: float = 0.0
    unseen: float = 0.0
    reference_missing: float | None = None
    reference_unseen: float | None = None
    alarms: tuple[str, ...] = ()


class Window(msgspec.Struct, frozen=True):
    """What one window of traffic looked like.

    Parameters
    ----------
    started, seconds
        Its first row's time, seconds since 1970, and how long it lasted.
    n_rows
        Rows in it.
    columns, answers
        Name to how far it is from the reference.
    accuracy
        Estimated without labels; None where that cannot be done.
    alarms
        Sentences; empty when all is well.
    """

    started: float
    seconds: float
    n_rows: int
    columns: dict[str, Drift]
    answers: dict[str, Drift]
    accuracy: AccuracyEstimate | None = None
    alarms: tuple[str, ...] = ()


def compare_window(
    tally: Tally,
    reference: Reference,
    thresholds: Thresholds,
    *,
    ignore: Collection[str] = (),
    started: float,
    seconds: float,
) -> Window:
    """Hold a window's counts against the reference; columns to ``ignore`` may have another distribution."""
    # each column is tested for its distribution, for missing and for unseen values, each answer once
    level = thresholds.p_value / max(3 * len(reference.columns) + len(reference.answers), 1)
    enough = tally.n_rows >= thresholds.min_rows
    columns = {
        name: _drift(
            counts, reference.columns.get(name), thresholds, level if enough else 0.0, moves=name in ignore
        )
        for name, counts in tally.columns.items()
    }
    answers = {
        name: _drift(counts, reference.answers.get(name), thresholds, level if enough else 0.0)
        for name, counts in tally.answers.items()
    }
    accuracy = None if reference.confidence is None else estimate_accuracy(reference.confidence, tally)
    if accuracy is not None:
        drifted = any("distribution" in drift.alarms for drift in (*columns.values(), *answers.values()))
        accuracy = msgspec.structs.replace(accuracy, trusted=not drifted)
    return Window(
        started=started,
        seconds=seconds,
        n_rows=tally.n_rows,
        columns=columns,
        answers=answers,
        accuracy=accuracy,
        alarms=(*_told(columns, answers), *(_accuracy_alarm(accuracy, thresholds) if enough else ())),
    )


def _drift(
    counts: Ints, known: Histogram | None, thresholds: Thresholds, level: float, *, moves: bool = False
) -> Drift:
    n_rows = int(counts.sum())
    missing, unseen = int(counts[-1]), int(counts[-2])
    shares = Drift(missing=missing / max(n_rows, 1), unseen=unseen / max(n_rows, 1))
    if known is None:
        return shares
    reference = as_counts(known)
    n_reference = int(reference.sum())
    before, now = reference[:-2], counts[:-2]
    distance, distance_p = kolmogorov_smirnov(before, now) if known.edges else (math.nan, math.nan)
    statistic, p = chi2(before, now)
    index = psi(before, now)
    alarms = ["distribution"] if index >= thresholds.psi and p < level and not moves else []
    for name, place in (("missing", -1), ("unseen", -2)):
        rise, rise_p = share_rise(int(reference[place]), n_reference, int(counts[place]), n_rows)
        if rise >= thresholds.rate_rise and rise_p < level:
            alarms.append(name)
    return msgspec.structs.replace(
        shares,
        psi=_defined(index),
        jensen_shannon=_defined(jensen_shannon(before, now)),
        ks=_defined(distance),
        ks_p=_defined(distance_p),
        chi2=_defined(statistic),
        chi2_p=_defined(p),
        reference_missing=int(reference[-1]) / max(n_reference, 1),
        reference_unseen=int(reference[-2]) / max(n_reference, 1),
        alarms=tuple(alarms),
    )


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _told(columns: dict[str, Drift], answers: dict[str, Drift]) -> list[str]:
    said = []
    for what, drifts in (("Column", columns), ("The answers'", answers)):
        for name, drift in drifts.items():
            if "distribution" in drift.alarms:
                said.append(f"{what} {name!r} has drifted: PSI {drift.psi:.2f}.")
            for kind, now, before in (
                ("missing", drift.missing, drift.reference_missing),
                ("unseen", drift.unseen, drift.reference_unseen),
            ):
                if kind in drift.alarms:
                    said.append(f"{what} {name!r} has {now:.1%} {kind} values; it had {before:.1%}.")
    return said


def _accuracy_alarm(accuracy: AccuracyEstimate | None, thresholds: Thresholds) -> list[str]:
    if accuracy is None or accuracy.high > accuracy.reference - thresholds.accuracy_drop / 2:
        return []
    if accuracy.value > accuracy.reference - thresholds.accuracy_drop:
        return []
    return [f"The accuracy is estimated at {accuracy.value:.1%}; it was {accuracy.reference:.1%}."]
