"""What a budget counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from potstill import Budget
from potstill.artifact.pictures import png_bytes
from potstill.data.dataset import load_dataset
from potstill.distillation.limits import beside_reading
from potstill.types import Dataset


def pictures(side: int) -> Dataset:
    noise: np.ndarray[Any, Any] = np.random.default_rng(0).integers(0, 256, (4, side, side, 3))
    files = [png_bytes(each.astype(np.uint8)) for each in noise]
    return load_dataset(pa.table({"photo": files, "y": [0, 1, 0, 1]}), target="y").dataset


def test_the_default_budget_does_not_count_the_reading_of_files() -> None:
    default = Budget(latency_ms=2.0, size_kb=100)
    small, large = pictures(8), pictures(1500)
    quick, none = beside_reading(default, small, small.schema)
    slow, said = beside_reading(default, large, large.schema)
    assert quick.latency_ms is not None
    assert slow.latency_ms is not None
    assert 2.0 < quick.latency_ms < slow.latency_ms
    assert (quick.size_kb, none) == (100, ())
    assert said[0].startswith("To read a picture's file takes ")
    assert said[0].endswith(" ms, which the default budget of 2 ms a picture does not count.")


def test_tables_have_the_budget_they_had() -> None:
    table = load_dataset(pa.table({"x": [1.0, 2.5, 3.0, 4.0], "y": [0, 1, 0, 1]}), target="y").dataset
    assert beside_reading(Budget(latency_ms=0.1), table, table.schema) == (Budget(latency_ms=0.1), ())
