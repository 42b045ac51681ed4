"""The main job with its defaults on real tables, through the command line, one set after the other.

    python benchmarks/tables.py FOLDER [--sets adult,letter] [--out benchmarks/results/tables]

FOLDER holds one Parquet file a set, with a column ``target`` and a column ``split`` (``train`` or ``test``).
Nothing is tuned to a set: each gets ``potstill distill train.parquet --target target --test test.parquet``.
A set that has its result already is skipped, so a stopped run goes on where it was. Results are one JSON file
a set and one Markdown table of all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

DEFAULT_SETS = (
    "adult",
    "letter",
    "spambase",
    "covertype_15k",
    "nursery",
    "krkopt",
    "sick",
    "california_housing",
    "diamonds",
)


def main() -> None:
    arguments = parsed()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    for name in arguments.sets.split(","):
        place = out / f"{name}.json"
        if place.exists():
            print(f"{name}: already there", file=sys.stderr)
            continue
        result = run(Path(arguments.folder) / f"{name}.parquet", arguments.more)
        beside = place.with_suffix(".part")
        beside.write_text(json.dumps(result, indent=1) + "\n")
        beside.replace(place)
        print(f"{name}: {result['seconds']['total']:.0f} s", file=sys.stderr)
    results = {place.stem: json.loads(place.read_text()) for place in sorted(out.glob("*.json"))}
    text = markdown(results)
    (out / "README.md").write_text(text)
    print(text)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--sets", default=",".join(DEFAULT_SETS))
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "tables"))
    parser.add_argument("more", nargs="*", help="after --: more options for potstill distill")
    return parser.parse_args()


def run(source: Path, more: list[str]) -> dict[str, Any]:
    """One set, from files on disk to the result's JSON, with nothing reused from earlier runs."""
    table = pq.read_table(source)
    with tempfile.TemporaryDirectory() as folder:
        for part in ("train", "test"):
            rows = table.filter(pc.equal(table["split"], pa.scalar(part))).drop_columns(["split"])
            pq.write_table(rows, Path(folder) / f"{part}.parquet")
        command = [str(Path(sys.executable).with_name("potstill")), "distill", "train.parquet"]
        command += ["--target", "target", "--test", "test.parquet", "--out", "model.onnx"]
        command += ["--report", "model.html", "--json", "--quiet", *more]
        environment = {**os.environ, "POTSTILL_CACHE": str(Path(folder) / "cache")}
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    result.pop("artifact")
    return result


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """All results as one table: log-loss (RMSE) of the four models, recovery, latency, size, time."""
    lines = [
        "# The main job with its defaults",
        "",
        f"`python benchmarks/tables.py FOLDER`: {os.cpu_count()} cores, {platform.machine()}, seed 0.",
        "Loss is log-loss, or RMSE for regression, on the test rows; accuracy is R² for regression.",
        "",
        "| set | task | loss: teacher | best member | twin | student | accuracy: teacher | twin | student "
        "| loss gap recovered | family | ships | one row p50 | size | times faster | total |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|---|--:|--:|--:|--:|",
    ]
    lines += [row(name, result) for name, result in results.items()]
    classified = [result for result in results.values() if result["task"] != "regression"]
    kept = sum(result["student"]["log_loss"] <= result["twin"]["log_loss"] for result in classified)
    lines += [
        "",
        f"The student's log-loss is at most its twin's on {kept} of {len(classified)} classification sets.",
    ]
    return "\n".join(lines) + "\n"


def row(name: str, result: dict[str, Any]) -> str:
    loss, score = ("rmse", "r2") if result["task"] == "regression" else ("log_loss", "accuracy")
    gap = result["gap_recovered"][loss]
    student, teacher = result["student"], result["teacher"]
    recovered = "–" if gap["value"] is None else f"{gap['value']:.2f} [{gap['low']:.2f}, {gap['high']:.2f}]"
    if gap["edge_is_noise"]:
        recovered += " (edge is noise)"
    losses = [f"{result[model][loss]:.4g}" for model in ("teacher", "best_member", "twin", "student")]
    scores = [f"{result[model][score]:.4f}" for model in ("teacher", "twin", "student")]
    faster = teacher["latency_us"]["p50"] / student["latency_us"]["p50"]
    cells = [
        name,
        result["task"],
        *losses,
        *scores,
        recovered,
        result["family"],
        result["shipped"],
        f"{student['latency_us']['p50']:.0f} µs",
        f"{student['size_bytes'] / 1000:.0f} kB",
        f"{faster:,.0f}",
        f"{result['seconds']['total']:.0f} s",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
