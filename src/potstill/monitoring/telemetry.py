"""The figures of a `Watch` for OpenTelemetry: asked for whenever a reader collects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from potstill.errors import UserError
from potstill.monitoring.watch import WatchReport


def observe_with(meter: Any, model: str, report: Callable[[], WatchReport]) -> None:
    """Register gauges of a watch with an OpenTelemetry meter.

    They are ``potstill.psi`` (attributes ``model``, ``kind``, ``name``), ``potstill.missing``,
    ``potstill.unseen``, ``potstill.drift_alarms``, ``potstill.estimated_accuracy`` and
    ``potstill.shadow_agreement``.

    Parameters
    ----------
    meter
        Of ``opentelemetry.metrics.get_meter("potstill")``.
    model
        The attribute ``model`` of every figure.
    report
        `Watch.report`.

    Raises
    ------
    UserError
        OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.metrics import Observation
    except ModuleNotFoundError:
        raise UserError(
            "OpenTelemetry is not installed.",
            hint="pip install 'potstill[otel]' and an exporter of your own.",
        ) from None

    def gauge(
        name: str, told: str, read: Callable[[WatchReport], Iterable[tuple[float | None, Any]]]
    ) -> None:
        def observed(_: Any) -> list[Observation]:
            return [
                Observation(value, {"model": model, **attributes})
                for value, attributes in read(report())
                if value is not None
            ]

        meter.create_observable_gauge(name, callbacks=[observed], unit="1", description=told)

    gauge("potstill.psi", "Population stability index.", _psi)
    gauge("potstill.missing", "Share of missing values.", lambda each: _rates(each, "missing"))
    gauge("potstill.unseen", "Share of categories unseen in training.", lambda each: _rates(each, "unseen"))
    gauge("potstill.drift_alarms", "Alarms now.", lambda each: [(float(len(each.alarms)), {})])
    gauge("potstill.estimated_accuracy", "Accuracy, without labels.", lambda each: [(_accuracy(each), {})])
    gauge("potstill.shadow_agreement", "Share of the same class.", lambda each: [(_agreement(each), {})])


def _psi(report: WatchReport) -> Iterable[tuple[float | None, dict[str, str]]]:
    window = report.window
    if window is not None:
        for kind, drifts in (("column", window.columns), ("answer", window.answers)):
            for name, drift in drifts.items():
                yield drift.psi, {"kind": kind, "name": name}


def _rates(report: WatchReport, which: str) -> Iterable[tuple[float | None, dict[str, str]]]:
    window = report.window
    if window is not None:
        for name, drift in window.columns.items():
            yield getattr(drift, which), {"name": name}


def _accuracy(report: WatchReport) -> float | None:
    window = report.window
    return window.accuracy.value if window is not None and window.accuracy is not None else None


def _agreement(report: WatchReport) -> float | None:
    return None if report.shadow is None else report.shadow.agreement
