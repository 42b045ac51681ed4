"""What Prometheus and OpenTelemetry are told, and that dashboard and rules speak of nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families

from potstill.monitoring import Cascade, Shadow, Watch
from potstill.monitoring.metrics import LATENCY_BUCKETS_S, ServingMetrics
from potstill.monitoring.telemetry import observe_with

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "potstill.json"
RULES = DEPLOY / "prometheus" / "potstill-rules.yml"


@pytest.fixture
def watch(classes):
    """A watch with a shadow that has seen 1,500 rows, one column of them shifted."""
    shadow = Shadow(classes.model, lambda rows: classes.model.predict_proba(list(rows)), share=1.0)
    watch = Watch(classes.model, window_rows=1000, shadow=shadow)
    rows = classes.rows(1500)
    rows["age"] += 10
    inputs = classes.feeds(rows)
    watch.observe(inputs, classes.model.outputs(inputs))
    shadow.drain()
    yield watch
    shadow.close()


@pytest.fixture
def metrics(classes, watch):
    """Metrics of a server that has answered two requests, one of them badly."""
    metrics = ServingMetrics()
    metrics.watch("paid", watch.report)
    cascade = Cascade(classes.model, lambda rows: np.tile([[0.5, 0.5]], (len(rows), 1)), threshold=0.9)
    cascade.answer(classes.rows(100).to_dict("records"))
    metrics.cascade("paid", lambda: cascade.counts)
    metrics.answered("paid", "3", "rest", status="200", n_rows=1, seconds=80e-6)
    metrics.answered("paid", "3", "rest", status="500", n_rows=0, seconds=0.02)
    return metrics


def samples(metrics):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_figures_are_those_of_the_report(metrics, watch):
    told, report = samples(metrics), watch.report()
    age = ("potstill_psi_ratio", ("kind", "column"), ("model", "paid"), ("name", "age"))
    assert told[age] == pytest.approx(report.last.columns["age"].psi)
    assert told["potstill_watched_rows_total", ("model", "paid")] == 1500
    assert told["potstill_window_rows", ("model", "paid")] == 1000
    assert told["potstill_drift_alarms", ("model", "paid")] == len(report.alarms) > 0
    estimated = ("potstill_estimated_accuracy_ratio", ("bound", "value"), ("model", "paid"))
    assert told[estimated] == pytest.approx(report.last.accuracy.value)
    assert told["potstill_shadow_agreement_ratio", ("model", "paid")] == 1.0
    assert told["potstill_shadow_rows_total", ("model", "paid"), ("outcome", "asked")] == 256
    by = {
        by: told["potstill_cascade_rows_total", ("by", by), ("model", "paid")]
        for by in ("student", "ensemble")
    }
    assert sum(by.values()) == 100
    assert min(by.values()) > 0


def test_requests_fall_into_buckets_from_50_microseconds_on(metrics):
    told = samples(metrics)
    labels = (("model", "paid"), ("protocol", "rest"), ("version", "3"))
    counts = {le: told["potstill_request_seconds_bucket", ("le", le), *labels] for le in ("5e-05", "0.0001")}
    assert counts == {"5e-05": 0.0, "0.0001": 1.0}
    assert told["potstill_request_seconds_count", *labels] == 2
    assert (
        told["potstill_requests_total", ("model", "paid"), ("protocol", "rest"), ("status", "500"), labels[2]]
        == 1
    )
    assert told["potstill_rows_total", ("model", "paid"), ("version", "3")] == 1
    assert LATENCY_BUCKETS_S[0] == 50e-6
    assert list(LATENCY_BUCKETS_S) == sorted(set(LATENCY_BUCKETS_S))


def test_a_forgotten_model_is_told_of_no_more(metrics):
    metrics.forget("paid")
    assert not [key for key in samples(metrics) if key[0].startswith(("potstill_psi", "potstill_cascade"))]


def test_a_watch_that_has_seen_nothing_is_told_of(classes):
    metrics = ServingMetrics()
    metrics.watch("paid", Watch(classes.model).report)
    told = samples(metrics)
    assert told["potstill_watched_rows_total", ("model", "paid")] == 0
    assert told["potstill_drift_alarms", ("model", "paid")] == 0
    assert not [key for key in told if key[0] == "potstill_psi_ratio"]


def test_odd_names_are_escaped(metrics, watch):
    odd = 'a "model"\nof\\mine'
    metrics.watch(odd, watch.report)
    assert samples(metrics)["potstill_watched_rows_total", ("model", odd)] == 1500


def known(metrics):
    names = {key[0] for key in samples(metrics)}
    return names | {name.removesuffix("_total") for name in names}


def test_the_dashboard_asks_for_what_is_told(metrics):
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = set(re.findall(r"potstill_\w+", " ".join(_queries(dashboard))))
    assert len(asked) >= 12
    assert asked - known(metrics) == set()
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    spots = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in dashboard["panels"]
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(spots) == len(set(spots))


def _queries(part):
    if isinstance(part, dict):
        own = [part[key] for key in ("expr", "definition") if key in part]
        return own + [query for value in part.values() for query in _queries(value)]
    return [query for value in part for query in _queries(value)] if isinstance(part, list) else []


def test_the_rules_ask_for_what_is_told(metrics):
    text = RULES.read_text(encoding="utf-8")
    asked = set(re.findall(r"potstill_\w+", text))
    assert len(asked) >= 9
    assert asked - known(metrics) == set()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
def test_promtool_finds_no_fault(metrics):
    check = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.text(), capture_output=True, check=False
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
    for command in (["check", "rules", RULES.name], ["test", "rules", "potstill-rules-test.yml"]):
        done = subprocess.run(["promtool", *command], cwd=RULES.parent, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_opentelemetry_is_told_the_same(watch):
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    observe_with(provider.get_meter("potstill"), "paid", watch.report)
    collected = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    told = {
        (metric.name, *sorted(point.attributes.items())): point.value
        for metric in collected
        for point in metric.data.data_points
    }
    provider.shutdown()
    report = watch.report()
    age = ("potstill.psi", ("kind", "column"), ("model", "paid"), ("name", "age"))
    assert told[age] == pytest.approx(report.last.columns["age"].psi)
    assert (
        told["potstill.missing", ("model", "paid"), ("name", "city")] == report.last.columns["city"].missing
    )
    assert told["potstill.drift_alarms", ("model", "paid")] == len(report.alarms)
    assert told["potstill.estimated_accuracy", ("model", "paid")] == report.last.accuracy.value
    assert told["potstill.shadow_agreement", ("model", "paid")] == 1.0
