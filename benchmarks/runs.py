"""What the benchmarks share: the sets of a folder, results on disk, losses row by row, tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from potstill.evaluation import Interval, Pooled, SetLosses
from potstill.evaluation.metrics import log_losses, squared_errors

RESULTS = Path(__file__).parent / "results"
FLOOR = {"log_loss": 0.01, "accuracy": 0.01, "rmse": 0.0}
"""Twin's loss below which a set's differences are divided by this instead, see `SetLosses`."""


def tabular_sets(folder: Path) -> list[str]:
    """Names of the tabular sets: by ``datasets.json`` where there is one, else every file with a target."""
    described = folder / "datasets.json"
    if described.exists():
        listed = json.loads(described.read_text())["datasets"]
        return [one["name"] for one in listed if one["modality"] == "tabular"]
    return [
        path.stem
        for path in sorted(folder.glob("*.parquet"))
        if {"target", "split"} <= set(pq.read_schema(path).names)
        and not {"image", "text"} & set(pq.read_schema(path).names)
    ]


def parts(folder: Path, name: str) -> tuple[pa.Table, pa.Table]:
    """Training and test rows of a set, without the column that tells them apart."""
    table = pq.read_table(folder / f"{name}.parquet")
    return tuple(
        table.filter(pc.equal(table["split"], pa.scalar(part))).drop_columns(["split"])
        for part in ("train", "test")
    )  # type: ignore[return-value]


def is_regression(train: pa.Table) -> bool:
    return pa.types.is_floating(train.schema.field("target").type)


def test_labels(test: pa.Table, classes: Sequence[Any]) -> NDArray[Any]:
    """Class indices in the order of ``classes``; the values where there are none."""
    values = test["target"].to_pylist()
    if not classes:
        return np.array(values, dtype=np.float64)
    position = {label: place for place, label in enumerate(classes)}
    return np.array([position[label] for label in values])


def row_losses(outputs: NDArray[Any], labels: NDArray[Any], *, regression: bool) -> dict[str, NDArray[Any]]:
    """Metric to the loss of each row: ``log_loss`` and ``accuracy`` (1 where wrong), or ``rmse`` (squared).

    Probabilities are clipped to [1e-7, 1] before their logarithm, those of every model alike.
    """
    if regression:
        return {"rmse": squared_errors(outputs, labels)}
    wrong = (outputs.argmax(axis=1) != labels).astype(np.float64)
    return {"log_loss": log_losses(outputs, labels), "accuracy": wrong}


def keep(place: Path, result: Mapping[str, Any]) -> None:
    """Write a result whole or not at all: a killed run leaves none that is half."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_suffix(".part")
    beside.write_text(json.dumps(result, indent=1) + "\n")
    beside.replace(place)


def keep_rows(place: Path, losses: Mapping[str, NDArray[Any]]) -> None:
    """Losses row by row, float32, for pooling with `set_losses`; ``model/metric`` to ``(rows,)``."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_suffix(".part.npz")
    np.savez_compressed(beside, **{name: values.astype(np.float32) for name, values in losses.items()})
    beside.replace(place)


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    """Name to result of every JSON file in ``folder``."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def set_losses(place: Path, metric: str) -> SetLosses | None:
    """The losses `keep_rows` wrote; None where one of the models, the metric or the file is missing.

    The files are not kept with the results: they are where the benchmark ran.
    """
    if not place.exists():
        return None
    with np.load(place) as rows:
        names = [f"{model}/{metric}" for model in ("teacher", "twin", "student")]
        if not set(names) <= set(rows.files):
            return None
        losses = (rows[name].astype(np.float64) for name in names)
        return SetLosses(*losses, root=metric == "rmse", floor=FLOOR[metric])


def pending(
    jobs: Iterable[tuple[str, Path, Callable[[], Mapping[str, Any]]]],
) -> int:
    """Do each job whose place has no result yet; one that fails is told and passed over. Returns failures."""
    failed = 0
    for what, place, work in jobs:
        if place.exists():
            print(f"{what}: already there", file=sys.stderr)
            continue
        try:
            keep(place, work())
        except Exception as error:
            failed += 1
            print(f"{what}: failed: {error}", file=sys.stderr)
        else:
            print(f"{what}: done", file=sys.stderr)
    return failed


def show(page: str, out: Path) -> None:
    """Print a Markdown page and keep it with its results."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "README.md").write_text(page, encoding="utf-8")
    print(page)


def cores_words(count: int) -> str:
    return f"{count} cores" if count > 1 else "one core"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; the first column is text, the others numbers."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    return lines + [f"| {' | '.join(cells)} |" for cells in rows]


def interval(found: Interval | None) -> str:
    return "–" if found is None else f"[{found.low:.2f}, {found.high:.2f}]"


def pooled_words(pooled: Pooled) -> list[str]:
    """Cells: the ratio, its interval over rows, its interval over sets, sets with a proven edge."""
    proven = sum(not share.edge_is_noise for share in pooled.sets.values())
    value = "none" if pooled.value is None else f"**{pooled.value:.2f}**"
    return [value, interval(pooled.over_rows), interval(pooled.over_sets), f"{proven} of {len(pooled.sets)}"]
