"""The main job on pictures and on texts, default ensemble and default budget.

    python benchmarks/pictures_and_texts.py FOLDER [--sets trec6,cifar10_12k] [--time-limit 2400]

FOLDER holds one Parquet file a set, with ``target``, ``split`` (``train`` or ``test``) and ``image`` (files)
or ``text``. Nothing is tuned to a set: each gets what ``potstill distill train.parquet --target target --test
test.parquet --time-limit SECONDS`` does. A set that has its results already is skipped. Results are a folder
for each time limit, with one JSON file a set and losses row by row beside it, and one Markdown page. Of texts
the best student of every family is measured too, beside the twin of that family, and one whole transformer.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import pyarrow.parquet as pq

import families
import potstill
import runs
from potstill import Recipe
from potstill.evaluation import pooled_gap
from tables import rows_kept


def main() -> int:
    arguments = parsed()
    folder, out = Path(arguments.folder), Path(arguments.out)
    names = arguments.sets.split(",") if arguments.sets else unusual_sets(folder)
    within = out / f"{arguments.time_limit:.0f}s"
    jobs = [
        (name, within / f"{name}.json", lambda name=name: measured(folder, name, within, arguments))
        for name in names
    ]
    failed = runs.pending(jobs)
    runs.show(markdown(out), out)
    return int(failed > 0)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--sets", help="names, with commas; all sets of pictures or texts by default")
    parser.add_argument("--time-limit", type=float, default=2400.0, help="seconds for a set [2400]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(runs.RESULTS / "pictures_and_texts"))
    return parser.parse_args()


def unusual_sets(folder: Path) -> list[str]:
    """Names of the sets that have a column of pictures or of texts."""
    return [
        path.stem
        for path in sorted(folder.glob("*.parquet"))
        if {"image", "text"} & set(pq.read_schema(path).names)
    ]


def measured(folder: Path, name: str, out: Path, arguments: argparse.Namespace) -> Mapping[str, Any]:
    """What is kept of one set."""
    train, test = runs.parts(folder, name)
    result = potstill.distill(
        train,
        target="target",
        test=test,
        seed=arguments.seed,
        recipe=Recipe(cache=False, time_limit=arguments.time_limit),
    )
    rows_kept(result, test, out / f"{name}.npz")
    told = result.to_dict()
    told.pop("artifact")
    told["members"] = result.card.lineage.members
    told["cores"] = joblib.cpu_count()
    if "text" in test.column_names:
        told["families"] = families.families_of(result, test, out / name)
        told["encoder_alone"] = families.encoder_alone(test, len(result.card.task.classes))
    return told


def markdown(out: Path) -> str:
    """A section for each time limit: one row a set, and the pooled gaps."""
    lines = [
        "# Pictures and texts",
        "",
        f"{platform.machine()}. Test rows are each set's own; nobody learns from them or chooses by them.",
    ]
    for within in sorted(out.glob("*s/"), key=lambda each: int(each.name[:-1])):
        lines += ["", *section(within)]
    return "\n".join(lines) + "\n"


def section(within: Path) -> list[str]:
    """What there is for one time limit."""
    found = runs.kept(within)
    head = ["set", "cores", "taken", "members", "accuracy: teacher", "twin", "student", "gap in accuracy"]
    head += ["log-loss: teacher", "twin", "student", "gap in log-loss", "ships", "one row", "size"]
    lines = [
        f"## {within.name[:-1]} seconds a set",
        "",
        f"`python benchmarks/pictures_and_texts.py FOLDER --time-limit {within.name[:-1]}`",
        "",
        *runs.table(head, [row(name, result) for name, result in found.items()]),
        "",
    ]
    for metric, said in (("accuracy", "accuracy"), ("log_loss", "log-loss")):
        asked = {name: runs.set_losses(within / f"{name}.npz", metric) for name in found}
        losses = {name: one for name, one in asked.items() if one is not None}
        if losses:
            words = ", ".join(runs.pooled_words(pooled_gap(losses))[:3])
            lines.append(f"Pooled gap in {said}, {', '.join(losses)}: {words}.")
    return [*lines, *families.sections(within, found)]


def row(name: str, result: Mapping[str, Any]) -> list[str]:
    models = ("teacher", "twin", "student")
    latency = result["student"]["latency_us"]
    return [
        name,
        str(result["cores"]),
        f"{result['seconds']['total']:.0f} s",
        str(sum(weight > 0 for weight in result["members"].values())),
        *(f"{result[model]['accuracy']:.4f}" for model in models),
        recovered(result["gap_recovered"]["accuracy"]),
        *(f"{result[model]['log_loss']:.4f}" for model in models),
        recovered(result["gap_recovered"]["log_loss"]),
        f"{result['shipped']}, {result['family']}",
        f"{latency['p50']:.0f} µs, p99 {latency['p99']:.0f}",
        f"{result['student']['size_bytes'] / 1000:.0f} kB",
    ]


def recovered(gap: Mapping[str, Any]) -> str:
    if gap["edge_is_noise"] or gap["value"] is None:
        return "no proven edge"
    return f"{gap['value']:.2f} [{gap['low']:.2f}, {gap['high']:.2f}]"


if __name__ == "__main__":
    sys.exit(main())
