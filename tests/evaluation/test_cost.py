"""Latency, throughput, energy and money."""

from __future__ import annotations

import gc
import time

import pytest

from potstill.errors import UserError
from potstill.evaluation import cost_of_million, file_size, measure_batch, measure_latency


def wait(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_latency_is_that_of_one_row_without_garbage_collection():
    asked, collecting = [], []

    def call(row):
        asked.append(row)
        collecting.append(gc.isenabled())
        wait(200e-6)

    latency = measure_latency(call, ["a", "b", "c"], warmup=3, seconds=0.05, min_calls=120)
    assert 200.0 <= latency.p50 < 2000.0
    assert latency.p50 <= latency.p99
    assert asked[3:9] == ["a", "b", "c", "a", "b", "c"]
    assert len(asked) >= 123
    assert not any(collecting[3:])
    assert gc.isenabled()


def test_garbage_collection_comes_back_after_an_error():
    def call(row):
        raise RuntimeError("broken model")

    with pytest.raises(RuntimeError, match="broken model"):
        measure_latency(call, [0], warmup=0)
    assert gc.isenabled()


def test_latency_of_no_rows_is_refused():
    with pytest.raises(UserError) as caught:
        measure_latency(len, [])
    assert str(caught.value) == "Latency needs at least one row to ask about, got none."


def test_throughput_counts_rows_and_cpu():
    measured = measure_batch(lambda batch: wait(0.002), None, 100, seconds=0.05)
    assert 5_000 < measured.rows_per_s <= 50_000
    assert 0.0 < measured.cpu_seconds_per_row < 1e-3


def test_a_million_costs_cpu_hours_times_what_was_stated():
    cost = cost_of_million(0.0036, watts=20.0, price_per_cpu_hour=0.5)
    assert cost == pytest.approx(
        {"cpu_hours": 1.0, "kwh": 0.02, "price": 0.5, "watts": 20.0, "price_per_cpu_hour": 0.5}
    )


def test_file_size_of_a_file_and_of_a_folder(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"123")
    assert file_size(tmp_path / "a") == 5
    assert file_size(tmp_path) == 8
