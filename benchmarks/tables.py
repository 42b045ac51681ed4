"""The main job on real tables, at three budgets.

    python benchmarks/tables.py FOLDER [--sets adult,letter] [--time-limit 110]

FOLDER holds one Parquet file a set, with a column ``target`` and a column ``split`` (``train`` or ``test``);
the tabular ones are taken. Nothing is tuned to a set: each gets what ``potstill distill train.parquet
--target target --test test.parquet --size-kb 1000 --latency-ms 0.16`` does: a p99 of 160 µs is a median of
about 100. Every budget is a run of its own.

A set that has its results already is skipped, so a stopped benchmark goes on where it was. Results are one
JSON file a set and budget (and the losses row by row beside it, for pooled intervals) and one Markdown page
of all. Where ``booster.py`` has results, its column joins.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib

import potstill
import runs
from potstill import Budget, Recipe
from potstill.evaluation import pooled_gap

BUDGETS = {
    "1MB": Budget(latency_ms=0.16, size_kb=1000.0),
    "100kB": Budget(size_kb=100.0),
    "none": Budget(),
}
SAID = {
    "100kB": "100 kB",
    "1MB": "1 MB and 160 µs for one row at p99",
    "none": "no budget",
}


def main() -> int:
    arguments = parsed()
    folder, out = Path(arguments.folder), Path(arguments.out)
    failed = 0
    for name in arguments.sets.split(",") if arguments.sets else runs.tabular_sets(folder):
        failed += runs.pending(jobs(name, folder, out, arguments))
    text = markdown(out, Path(arguments.booster))
    runs.show(text, out)
    return int(failed > 0)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--sets", help="names, with commas; all tabular sets of FOLDER by default")
    parser.add_argument("--budgets", default=",".join(BUDGETS), help="of 100kB, 1MB, none")
    parser.add_argument("--time-limit", type=float, help="seconds for a set; none by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(runs.RESULTS / "tables"))
    parser.add_argument("--booster", default=str(runs.RESULTS / "booster"), help="results of booster.py")
    return parser.parse_args()


def jobs(
    name: str, folder: Path, out: Path, arguments: argparse.Namespace
) -> Iterator[tuple[str, Path, Any]]:
    for budget in arguments.budgets.split(","):
        place = out / budget / f"{name}.json"

        def work(budget: str = budget, place: Path = place) -> Mapping[str, Any]:
            train, test = runs.parts(folder, name)
            result = potstill.distill(
                train,
                target="target",
                test=test,
                budget=BUDGETS[budget],
                seed=arguments.seed,
                recipe=Recipe(cache=False, time_limit=arguments.time_limit),
            )
            told = kept(result, test, budget, place.with_suffix(".npz"))
            return {**told, "cores": joblib.cpu_count(), "time_limit": arguments.time_limit}

        yield f"{name}, {SAID[budget]}", place, work


def kept(result: potstill.Result, test: Any, budget: str, rows: Path) -> Mapping[str, Any]:
    """What is kept of one set under one budget."""
    rows_kept(result, test, rows)
    told = result.to_dict()
    told.pop("artifact")
    return {**told, "members": result.card.lineage.members, "budget": budget}


def rows_kept(result: potstill.Result, test: Any, rows: Path) -> None:
    """Keep the losses of all models row by row."""
    labels = runs.test_labels(test, result.card.task.classes)
    regression = not result.card.task.is_classification
    runs.keep_rows(
        rows,
        {
            f"{model}/{metric}": losses
            for model, answers in result.answers.items()
            for metric, losses in runs.row_losses(answers, labels, regression=regression).items()
        },
    )


def markdown(out: Path, booster: Path) -> str:
    """Pooled figures of every budget, then its sets one by one."""
    boosters = runs.kept(booster) if booster.is_dir() else {}
    found = {budget: runs.kept(out / budget) for budget in BUDGETS if (out / budget).is_dir()}
    lines = [
        "# The main job at three budgets",
        "",
        f"`python benchmarks/tables.py FOLDER`, {platform.machine()}. Test rows are each set's own; nobody "
        "learns from them or chooses by them.",
        "",
        *pooled(out, found),
        *(line for budget, results in found.items() for line in one_budget(budget, results, boosters)),
    ]
    return "\n".join(lines) + "\n"


def pooled(out: Path, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The pooled gap of every budget and metric."""
    head = [
        "budget",
        "gap in",
        "pooled",
        "95 % over rows",
        "95 % over rows and sets",
        "sets with a proven edge",
    ]
    rows = []
    reasons = []
    for budget, results in found.items():
        for metric, said in (("log_loss", "log-loss, RMSE"), ("accuracy", "accuracy")):
            sets = {name: losses_of(out / budget / f"{name}.npz", metric) for name in results}
            there = {name: losses for name, losses in sets.items() if losses is not None}
            if there:
                gap = pooled_gap(there)
                rows.append([SAID[budget], said, *runs.pooled_words(gap)])
                reasons += [f"{SAID[budget]}, {said}: {gap.reason}"] if gap.reason else []
    return [
        "Pooled gap recovered: the sum over the sets of (twin − student) by that of (twin − teacher), each "
        "difference divided by the twin's loss on the set (by .01 where log-loss or error rate is lower), so "
        "that sets count alike. An edge is proven where its 95 % interval lies above 0; sets without one are "
        "in the sums too.",
        "",
        *runs.table(head, rows),
        *(["", *reasons] if reasons else []),
        "",
    ]


def losses_of(place: Path, metric: str) -> Any:
    """Rows' losses; RMSE stands in for the log-loss of a regression."""
    found = runs.set_losses(place, metric)
    return runs.set_losses(place, "rmse") if found is None and metric == "log_loss" else found


def one_budget(budget: str, results: Mapping[str, Any], boosters: Mapping[str, Any]) -> list[str]:
    head = ["set", "loss: teacher", "best member", "twin", "student", "tuned booster"]
    head += ["accuracy, R²: teacher", "twin", "student", "gap recovered", "ships", "one row", "size", "total"]
    compared = [name for name in results if name in boosters]
    below = [name for name in compared if loss(results[name], "student") < boosters[name]["loss"]]
    better = [name for name, one in results.items() if gain(one)["low"] > 0.0]
    worse = [name for name, one in results.items() if gain(one)["high"] < 0.0]
    above = [name for name, one in results.items() if loss(one, "student") < loss(one, "teacher")]
    ran = sorted({(one["time_limit"] or 0.0, one["cores"]) for one in results.values()})
    lines = [f"## {SAID[budget]}", "", *(runs_words(*each) for each in ran), ""]
    lines += runs.table(head, [row(name, result, boosters) for name, result in results.items()])
    lines += [
        "",
        f"Loss is log-loss, or RMSE for regression. Of {len(results)} sets what ships is surely better than "
        f"its twin (95 %) on {len(better)}, surely worse on: {', '.join(worse) or 'none'}. A lower "
        f"loss than the teacher: {len(above)}.",
    ]
    if compared:
        lines.append(f"Lower loss than the tuned booster: {len(below)} of {len(compared)} sets.")
    return [*lines, ""]


def loss(result: Mapping[str, Any], model: str) -> float:
    return float(result[model]["rmse" if result["task"] == "regression" else "log_loss"])


def gain(result: Mapping[str, Any]) -> Mapping[str, float]:
    """By how much the student's loss is below its twin's, with a 95 % interval."""
    found: Mapping[str, float] = result["gap_recovered"][
        "rmse" if result["task"] == "regression" else "log_loss"
    ]["gain"]
    return found


def runs_words(time_limit: float, cores: int) -> str:
    """How long a set had, on how many cores."""
    limit = f"`--time-limit {time_limit:g}`" if time_limit else "No time limit"
    return f"{limit}, {runs.cores_words(cores)}."


def row(name: str, result: Mapping[str, Any], boosters: Mapping[str, Any]) -> list[str]:
    regression = result["task"] == "regression"
    gap = result["gap_recovered"]["rmse" if regression else "log_loss"]
    if gap["edge_is_noise"] or gap["value"] is None:
        recovered = "no proven edge"
    else:
        recovered = f"{gap['value']:.2f} [{gap['low']:.2f}, {gap['high']:.2f}]"
    student = result["student"]
    return [
        name,
        *(f"{loss(result, model):.4g}" for model in ("teacher", "best_member", "twin", "student")),
        f"{boosters[name]['loss']:.4g}" if name in boosters else "–",
        *(
            f"{result[model]['r2' if regression else 'accuracy']:.4f}"
            for model in ("teacher", "twin", "student")
        ),
        recovered,
        f"{result['shipped']}, {result['family']}",
        f"{student['latency_us']['p50']:.0f} µs",
        f"{student['size_bytes'] / 1000:.0f} kB",
        f"{result['seconds']['total']:.0f} s",
    ]


if __name__ == "__main__":
    sys.exit(main())
