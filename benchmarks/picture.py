"""The README's picture out of the results of tables.py: the three models' loss against the teacher's.

python benchmarks/picture.py [--results benchmarks/results/tables] [--out docs/tables.svg]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

COLOURS = {"teacher": "#0b6aa8", "twin": "#cf5d8a", "student": "#12936a"}
NAMES = {"teacher": "ensemble", "twin": "same family, labels alone", "student": "potstill's student"}
MARKS = {"teacher": "o", "twin": "^", "student": "D"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", default=str(Path(__file__).parent / "results" / "tables"))
    parser.add_argument("--out", default=str(Path(__file__).parent.parent / "docs" / "tables.svg"))
    arguments = parser.parse_args()
    results = {
        path.stem: json.loads(path.read_text()) for path in sorted(Path(arguments.results).glob("*.json"))
    }
    draw(results, Path(arguments.out))


def draw(results: dict[str, dict[str, Any]], out: Path) -> None:
    """One row a set; left is better. The student's latency and size stand at the right."""
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "potstill", "font.family": "sans-serif"}
    figure, axes = plt.subplots(figsize=(8.5, 0.42 * len(results) + 1.3))
    for place, result in enumerate(results.values()):
        metric = "rmse" if result["task"] == "regression" else "log_loss"
        base = result["teacher"][metric]
        axes.axhline(place, color="#dddddd", linewidth=0.8, zorder=0)
        for model, colour in COLOURS.items():
            ratio = result[model][metric] / base
            axes.plot(
                ratio, place, MARKS[model], color=colour, markersize=7 + 2 * (model == "twin"), alpha=0.9
            )
        student = result["student"]
        cost = f"{student['latency_us']['p50']:.0f} µs, {student['size_bytes'] / 1000:.0f} kB"
        axes.annotate(cost, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set_yticks(range(len(results)), list(results))
    axes.invert_yaxis()
    axes.axvline(1.0, color=COLOURS["teacher"], linewidth=0.8, alpha=0.5, zorder=0)
    axes.set_xlabel("loss on unseen rows, as a multiple of the ensemble's (left is better)")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    handles = [
        plt.Line2D([], [], marker=MARKS[model], color=colour, linestyle="", label=NAMES[model])
        for model, colour in COLOURS.items()
    ]
    figure.legend(handles=handles, loc="upper center", ncols=3, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0, 0.99, 0.95))
    beside = out.with_suffix(".part")
    figure.savefig(beside, format="svg", metadata={"Date": None}, facecolor="white")
    beside.replace(out)


if __name__ == "__main__":
    main()
