"""How often `potstill.monitoring.Watch` alarms without drift, and with it; how far its accuracy is off.

For each set a small student is distilled from the training rows. Windows are test rows drawn at random: as
they are (every alarm is a false one), and with one column changed in all of them: its numbers moved by half
a standard deviation, or a tenth of its values missing, or a tenth of a kind never seen. Default thresholds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from numpy.typing import NDArray

import potstill
import runs
from potstill.artifact.columns import Feeds
from potstill.monitoring import Watch, Window

SETS = ("adult", "bank_marketing", "credit_default", "magic_telescope", "letter", "california_housing")
SIZES = (200, 1_000, 5_000)
CHANGED_COLUMNS = 6
"""Columns that are changed in turns, evenly spread over the table."""

Change = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--windows", type=int, default=300, help="of each size without drift")
    parser.add_argument("--out", default=str(runs.RESULTS / "drift"))
    return parser.parse_args()


def run(name: str, arguments: argparse.Namespace) -> Mapping[str, Any]:
    """One set's figures."""
    train, test = runs.parts(Path(arguments.folder), name)
    kind = LGBMRegressor if runs.is_regression(train) else LGBMClassifier
    model = potstill.distill(
        train.to_pandas(),
        target="target",
        teachers=kind(n_estimators=200, num_leaves=31, n_jobs=1, verbose=-1),
        student=potstill.students.GBDT(rounds=60, leaves=16),
        recipe=potstill.Recipe(synthetic=0, cache=False, folds=3),
    ).model
    inputs = potstill.artifact.feeds(test.to_pandas(), model.schema)
    labels = runs.test_labels(test, model.classes)
    rng = np.random.default_rng(0)
    return {
        "n_columns": len(model.schema.columns),
        "false_alarms": {
            str(size): without_drift(model, inputs, labels, size, arguments.windows, rng) for size in SIZES
        },
        "alarms": {str(size): with_drift(model, inputs, size, rng) for size in SIZES},
    }


def without_drift(
    model: potstill.Model,
    inputs: Feeds,
    labels: NDArray[Any],
    size: int,
    n_windows: int,
    rng: np.random.Generator,
) -> dict[str, float | int | None]:
    """Windows with an alarm, mean absolute error of the accuracy, and how often its interval holds."""
    outputs = model.outputs(inputs)
    alarmed, errors, held = 0, [], []
    for _ in range(n_windows):
        rows = rng.integers(0, len(labels), size)
        window = watched(model, {name: values[rows] for name, values in inputs.items()}, outputs[rows])
        alarmed += bool(window.alarms)
        if window.accuracy is not None:
            truth = float((outputs[rows].argmax(axis=1) == labels[rows]).mean())
            errors.append(abs(window.accuracy.value - truth))
            held.append(window.accuracy.low <= truth <= window.accuracy.high)
    return {
        "windows": n_windows,
        "alarmed": alarmed,
        "accuracy_error": float(np.mean(errors)) if errors else None,
        "interval_holds": float(np.mean(held)) if held else None,
    }


def with_drift(
    model: potstill.Model, inputs: Feeds, size: int, rng: np.random.Generator
) -> dict[str, dict[str, int]]:
    """Change to the number of windows, and those in which the changed column itself is an alarm."""
    counts = {change: {"windows": 0, "alarmed": 0} for change in ("moved", "missing", "unseen")}
    columns = model.schema.columns
    places = np.unique(np.linspace(0, len(columns) - 1, CHANGED_COLUMNS).astype(int))
    for column in (columns[place] for place in places):
        for change, changed in changes(inputs[column.name], column.kind).items():
            for _ in range(5):
                rows = rng.integers(0, len(inputs[column.name]), size)
                drawn = {name: values[rows] for name, values in inputs.items()}
                drawn[column.name] = changed(drawn[column.name], rng)
                window = watched(model, drawn, model.outputs(drawn))
                counts[change]["windows"] += 1
                counts[change]["alarmed"] += bool(window.columns[column.name].alarms)
    return counts


def changes(values: NDArray[Any], kind: str) -> dict[str, Change]:
    """The changes that a column of this kind can undergo."""

    def replaced(by: Any) -> Change:
        def change(drawn: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
            return np.where(rng.random(len(drawn)) < 0.1, by, drawn).astype(drawn.dtype)

        return change

    if kind == "categorical":
        return {"missing": replaced(""), "unseen": replaced("never seen before")}
    found: dict[str, Change] = {"missing": replaced(np.nan)}
    if kind == "numeric":
        step = values.dtype.type(0.5 * np.nanstd(values))
        found["moved"] = lambda drawn, _: drawn + step
    return found


def watched(model: potstill.Model, inputs: Feeds, outputs: NDArray[Any]) -> Window:
    watch = Watch(model, window_rows=10**9)
    watch.observe(inputs, outputs)
    window = watch.report().current
    assert window is not None
    return window


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The results as Markdown."""
    head = ("set", "columns", "rows a window", "false alarms", "accuracy off by", "interval holds")
    head += ("moved by σ/2", "10 % missing", "10 % unseen")
    lines = []
    for name, result in results.items():
        for size in map(str, SIZES):
            quiet, loud = result["false_alarms"][size], result["alarms"][size]
            error, holds = quiet["accuracy_error"], quiet["interval_holds"]
            lines.append(
                (
                    name,
                    str(result["n_columns"]),
                    size,
                    f"{quiet['alarmed']} of {quiet['windows']}",
                    "–" if error is None else f"{error:.4f}",
                    "–" if holds is None else f"{holds:.0%}",
                    *(
                        f"{loud[change]['alarmed']} of {loud[change]['windows']}"
                        for change in ("moved", "missing", "unseen")
                    ),
                )
            )
    assert __doc__ is not None
    return "\n".join(["# Drift", "", *__doc__.splitlines()[1:], "", *runs.table(head, lines)]) + "\n"


def main() -> int:
    arguments = parsed()
    out = Path(arguments.out)
    failed = runs.pending(
        (name, out / f"{name}.json", partial(run, name, arguments)) for name in arguments.sets.split(",")
    )
    runs.show(page(runs.kept(out)), out)
    return failed


if __name__ == "__main__":
    sys.exit(main())
