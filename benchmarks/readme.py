"""The README's picture and table out of the results of tables.py.

python benchmarks/readme.py [--results benchmarks/results/tables/1MB]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "tables" / "1MB"
"""One JSON file a set: a budget's folder of the results of tables.py."""
BEGIN, END = "<!-- table: made by benchmarks/readme.py -->", "<!-- end of table -->"
COLOURS = {"teacher": "#0b6aa8", "twin": "#cf5d8a", "student": "#12936a"}
NAMES = {"teacher": "ensemble", "twin": "hard-label twin", "student": "potstill's student"}
MARKS = {"teacher": "o", "twin": "^", "student": "D"}
SHOWN = (0.8, 1.25)
"""Multiples of the ensemble's loss that the picture has room for."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", default=str(RESULTS))
    arguments = parser.parse_args()
    results = {
        path.stem: json.loads(path.read_text()) for path in sorted(Path(arguments.results).glob("*.json"))
    }
    draw(results, ROOT / "docs" / "tables.svg")
    readme = ROOT / "README.md"
    beside = readme.with_suffix(".part")
    beside.write_text(with_table(readme.read_text(encoding="utf-8"), results), encoding="utf-8")
    beside.replace(readme)


def with_table(text: str, results: dict[str, dict[str, Any]]) -> str:
    """The README with the table of ``results`` between its two marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table(results)}\n{END}{after}"


def table(results: dict[str, dict[str, Any]]) -> str:
    """One row a set: losses of the three models, what was recovered, what it costs."""
    values = [name for name, result in results.items() if result["task"] == "regression"]
    rmse = f", for {', '.join(values)} RMSE" if values else ""
    lines = [
        "| set | ensemble | twin | **student** | gap recovered | ships | one row | size | ensemble's row |",
        "|---|--:|--:|--:|---|---|--:|--:|--:|",
        *(row(name, result) for name, result in results.items()),
        "",
        f"Log-loss{rmse}, on the test rows; the gap is that of the loss.",
    ]
    return "\n".join(lines)


def row(name: str, result: dict[str, Any]) -> str:
    metric = "rmse" if result["task"] == "regression" else "log_loss"
    gap, student, teacher = result["gap_recovered"][metric], result["student"], result["teacher"]
    losses = [result[model][metric] for model in ("teacher", "twin", "student")]
    recovered = f"{gap['value'] or 0:.0%} [{gap['low'] or 0:.0%}, {gap['high'] or 0:.0%}]"
    cells = [
        name,
        *(f"{loss:,.0f}" if loss >= 100 else f"{loss:.4f}" for loss in losses),
        "no provable edge" if gap["edge_is_noise"] else recovered,
        f"{result['shipped']}, {result['family']}",
        f"{student['latency_us']['p50']:.0f} µs",
        f"{student['size_bytes'] / 1000:.0f} kB",
        f"{teacher['latency_us']['p50'] / 1000:.0f} ms",
    ]
    return f"| {' | '.join(cells)} |"


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
            shown = min(max(ratio, SHOWN[0]), SHOWN[1])
            size = 7 + 2 * (model == "twin")
            axes.plot(shown, place, MARKS[model], color=colour, markersize=size, alpha=0.9, clip_on=False)
            if shown != ratio:
                # What lies outside stands at the edge, with its figure: student above, twin below.
                across, side = (9, "left") if shown == SHOWN[0] else (-9, "right")
                axes.annotate(
                    f"{ratio:.2g}",
                    (shown, place),
                    xytext=(across, 5 if model == "student" else -5),
                    textcoords="offset points",
                    ha=side,
                    va="center",
                    fontsize=7,
                    color=colour,
                )
        student = result["student"]
        cost = f"{student['latency_us']['p50']:.0f} µs, {student['size_bytes'] / 1000:.0f} kB"
        axes.annotate(cost, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set_yticks(range(len(results)), list(results))
    axes.invert_yaxis()
    axes.set_xlim(*SHOWN)
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
