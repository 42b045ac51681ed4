"""What Prometheus is told: of requests as they come, of drift when it asks. Needs prometheus-client.

========================================  =========  ===================================
name                                      kind       labels
========================================  =========  ===================================
potstill_requests_total                   counter    model, version, protocol, status
potstill_rows_total                       counter    model, version
potstill_request_seconds                  histogram  model, version, protocol
potstill_in_flight_requests               gauge
potstill_window_rows                      gauge      model
potstill_watched_rows_total               counter    model
potstill_psi_ratio                        gauge      model, kind (column, answer), name
potstill_js_distance_ratio                gauge      model, kind, name
potstill_missing_ratio                    gauge      model, name
potstill_unseen_ratio                     gauge      model, name
potstill_drift_alarms                     gauge      model
potstill_estimated_accuracy_ratio         gauge      model, bound (value, low, high)
potstill_reference_accuracy_ratio         gauge      model
potstill_shadow_rows_total                counter    model, outcome (asked, dropped, failed)
potstill_shadow_agreement_ratio           gauge      model
potstill_cascade_rows_total               counter    model, by (student, ensemble, failed)
========================================  =========  ===================================

Figures of drift are those of the last closed window, of the open one until there is one; an alarm of either
counts. Where several processes serve side by side, all of these have the label worker too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from potstill.monitoring.cascade import CascadeCounts
from potstill.monitoring.watch import WatchReport

LATENCY_BUCKETS_S = (
    *(50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 750e-6),
    *(1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1.0, 5.0),
)
"""Upper bounds in seconds: a small model answers where the usual buckets begin."""

UNNAMED = "-"
"""Stands for the model in the metrics of requests that name none that is there."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@final
class ServingMetrics:
    """The metrics of one server process. Safe between threads.

    Parameters
    ----------
    registry
        Where they are registered; None makes one of their own.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._requests = Counter(
            "potstill_requests_total",
            "Requests that were answered, by HTTP or gRPC status.",
            ("model", "version", "protocol", "status"),
            registry=self.registry,
        )
        self._rows = Counter(
            "potstill_rows_total", "Rows that were answered.", ("model", "version"), registry=self.registry
        )
        self._seconds = Histogram(
            "potstill_request_seconds",
            "Seconds from the request's last byte to the answer's first.",
            ("model", "version", "protocol"),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "potstill_in_flight_requests", "Requests being answered now.", registry=self.registry
        )
        self._counted: dict[tuple[str, str, str, str], Callable[[float, int], None]] = {}
        self._watched = WatchCollector()
        self.registry.register(self._watched)

    def answered(
        self, model: str, version: str, protocol: str, *, status: str, n_rows: int, seconds: float
    ) -> None:
        """Count an answered request; rows only of those that succeeded."""
        labels = (model, version, protocol, status)
        count = self._counted.get(labels)
        if count is None:  # to look three metrics up by their labels takes longer than to count
            count = self._counted[labels] = self._counter(*labels)
        count(seconds, n_rows)

    def refused(self, status: str) -> None:
        """Count a request that was refused before anybody looked at what it asks."""
        self._requests.labels(UNNAMED, UNNAMED, "http", status).inc()

    def _counter(self, model: str, version: str, protocol: str, status: str) -> Callable[[float, int], None]:
        requests = self._requests.labels(model, version, protocol, status)
        duration = self._seconds.labels(model, version, protocol)
        rows = self._rows.labels(model, version)

        def count(seconds: float, n_rows: int) -> None:
            requests.inc()
            duration.observe(seconds)
            if n_rows:
                rows.inc(n_rows)

        return count

    def watch(self, model: str, report: Callable[[], WatchReport]) -> None:
        """From now on tell what this `Watch.report` says of ``model``; replaces an earlier one."""
        self._watched.reports[model] = report

    def cascade(self, model: str, counts: Callable[[], CascadeCounts]) -> None:
        """From now on tell who answers in the cascade of ``model``; replaces an earlier one."""
        self._watched.cascades[model] = counts

    def forget(self, model: str) -> None:
        """Tell nothing more of this model's drift and cascade."""
        self._watched.reports.pop(model, None)
        self._watched.cascades.pop(model, None)

    def text(self) -> bytes:
        """All of it in Prometheus' text format, `CONTENT_TYPE`."""
        return generate_latest(self.registry)


def merged_texts(texts: Mapping[str, bytes]) -> bytes:
    """The metrics of several processes as one text: every sample says in ``worker`` whose it is.

    Parameters
    ----------
    texts
        Name of each process to what its `ServingMetrics.text` gave.
    """
    families: dict[str, Metric] = {}
    for worker, text in texts.items():
        for found in text_string_to_metric_families(text.decode()):
            family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
            family.samples += [
                each._replace(labels={**each.labels, "worker": worker}) for each in found.samples
            ]
    registry = CollectorRegistry()
    registry.register(_Collected(list(families.values())))
    return generate_latest(registry)


@final
class _Collected(Collector):
    """Metrics that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


@final
class WatchCollector(Collector):
    """Asks every watch when Prometheus asks; nothing is computed before."""

    def __init__(self) -> None:
        self.reports: dict[str, Callable[[], WatchReport]] = {}
        self.cascades: dict[str, Callable[[], CascadeCounts]] = {}
        self._asking = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        return ()  # or registering would ask

    def collect(self) -> Iterable[Metric]:
        with self._asking:
            reports = {model: report() for model, report in dict(self.reports).items()}
            cascades = {model: counts() for model, counts in dict(self.cascades).items()}
        yield from _drift_metrics(reports)
        yield from _accuracy_metrics(reports)
        yield from _ensemble_metrics(reports, cascades)


def _drift_metrics(reports: Mapping[str, WatchReport]) -> Iterable[Metric]:
    watched = CounterMetricFamily("potstill_watched_rows", "Rows that were watched.", labels=("model",))
    rows = _gauge("potstill_window_rows", "Rows of the window the figures are of.", "model")
    alarms = _gauge("potstill_drift_alarms", "Alarms of the last and of the open window.", "model")
    psi = _gauge("potstill_psi_ratio", "Population stability index.", "model", "kind", "name")
    distance = _gauge("potstill_js_distance_ratio", "Jensen-Shannon distance.", "model", "kind", "name")
    missing = _gauge("potstill_missing_ratio", "Share of missing values.", "model", "name")
    unseen = _gauge("potstill_unseen_ratio", "Share of categories unseen in training.", "model", "name")
    for model, report in reports.items():
        watched.add_metric((model,), report.n_rows)
        alarms.add_metric((model,), len(report.alarms))
        window = report.window
        if window is None:
            continue
        rows.add_metric((model,), window.n_rows)
        for kind, drifts in (("column", window.columns), ("answer", window.answers)):
            for name, drift in drifts.items():
                if drift.psi is not None:
                    psi.add_metric((model, kind, name), drift.psi)
                if drift.jensen_shannon is not None:
                    distance.add_metric((model, kind, name), drift.jensen_shannon)
                if kind == "column":
                    missing.add_metric((model, name), drift.missing)
                    unseen.add_metric((model, name), drift.unseen)
    yield from (watched, rows, alarms, psi, distance, missing, unseen)


def _accuracy_metrics(reports: Mapping[str, WatchReport]) -> Iterable[Metric]:
    estimated = _gauge(
        "potstill_estimated_accuracy_ratio",
        "Accuracy estimated without labels, and its 95 % interval.",
        "model",
        "bound",
    )
    known = _gauge("potstill_reference_accuracy_ratio", "Accuracy on the reference rows.", "model")
    for model, report in reports.items():
        window = report.window
        if window is not None and window.accuracy is not None:
            for bound in ("value", "low", "high"):
                estimated.add_metric((model, bound), getattr(window.accuracy, bound))
            known.add_metric((model,), window.accuracy.reference)
    yield from (estimated, known)


def _ensemble_metrics(
    reports: Mapping[str, WatchReport], cascades: Mapping[str, CascadeCounts]
) -> Iterable[Metric]:
    rows = CounterMetricFamily(
        "potstill_shadow_rows", "Rows copied to the ensemble.", labels=("model", "outcome")
    )
    agreement = _gauge("potstill_shadow_agreement_ratio", "Share of them with the same class.", "model")
    answered = CounterMetricFamily(
        "potstill_cascade_rows", "Rows of a cascade, by who answered.", labels=("model", "by")
    )
    for model, report in reports.items():
        if report.shadow is not None:
            for outcome in ("asked", "dropped", "failed"):
                rows.add_metric((model, outcome), getattr(report.shadow, outcome))
            if report.shadow.agreement is not None:
                agreement.add_metric((model,), report.shadow.agreement)
    for model, counts in cascades.items():
        for by in ("student", "ensemble", "failed"):
            answered.add_metric((model, by), getattr(counts, by))
    yield from (rows, agreement, answered)


def _gauge(name: str, told: str, *labels: str) -> Any:
    return GaugeMetricFamily(name, told, labels=labels)
