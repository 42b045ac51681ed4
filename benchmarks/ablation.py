"""What each part is worth: the defaults, and the defaults with one thing taken away, from the same teacher.

    python benchmarks/ablation.py FOLDER [--sets letter,electricity,covertype_15k,spambase] [--seeds 1]

Every variant is ``potstill.distill`` with other fields of the `Recipe`, or with the student given; the
default ensemble answers once for all of them, since they share a cache, which is removed when a set is done.
One JSON file a set, seed and variant, with the losses row by row beside it; one that is there is skipped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import potstill
import runs
from potstill import Budget, Recipe
from potstill.evaluation import SetLosses, pooled_gap
from potstill.students import MLP

SETS = ("letter", "electricity", "covertype_15k", "spambase")
BUDGET = Budget(size_kb=1000.0)
"""No latency: on a busy machine a clock would have a say in what is chosen."""

VARIANTS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "full": ("the defaults", {}, None),
    "in-sample": ("soft targets in sample, none out of fold", {"real_targets": "in_sample"}, None),
    "out-of-fold": ("soft targets out of fold, none in sample", {"real_targets": "out_of_fold"}, None),
    "no-synthetic": ("no synthetic rows", {"synthetic": 0.0}, None),
    "soft-only": ("soft targets alone, no label", {"hard_label_weight": 0.0}, None),
    "fixed-blend": (
        "label and soft target half and half, T = 1, neither searched",
        {"hard_label_weight": 0.5, "temperature": 1.0},
        None,
    ),
    "one-student": ("one family at one size", {}, MLP()),
    "no-search": (
        "one family at one size, soft targets in sample, label weight 0.5, T = 1",
        {"real_targets": "in_sample", "hard_label_weight": 0.5, "temperature": 1.0},
        MLP(),
    ),
}
"""Name to words, fields of the recipe, and the student (None searches). "full" comes first."""


def main() -> int:
    arguments = parsed()
    out = Path(arguments.out)
    failed = 0
    for name in arguments.sets.split(","):
        cache = Path(arguments.cache) / name
        here = runs.pending(
            (
                f"{name}, seed {seed}, {variant}",
                out / variant / f"{name}-{seed}.json",
                partial(run, name, seed, variant, cache, arguments),
            )
            for seed in range(arguments.seeds)
            for variant in arguments.variants.split(",")
        )
        failed += here
        if not here:
            shutil.rmtree(cache, ignore_errors=True)
    text = markdown(out)
    runs.show(text, out)
    return int(failed > 0)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--teacher-time", type=float, help="seconds; the default is that of potstill")
    parser.add_argument("--out", default=str(runs.RESULTS / "ablation"))
    parser.add_argument("--cache", default=str(Path(tempfile.gettempdir()) / "potstill-ablation"))
    return parser.parse_args()


def run(name: str, seed: int, variant: str, cache: Path, arguments: argparse.Namespace) -> Mapping[str, Any]:
    """One variant on one set."""
    _, fields, student = VARIANTS[variant]
    given = {} if arguments.teacher_time is None else {"teacher_time": arguments.teacher_time}
    train, test = runs.parts(Path(arguments.folder), name)
    result = potstill.distill(
        train,
        target="target",
        test=test,
        student=student,
        budget=BUDGET,
        seed=seed,
        recipe=Recipe.from_dict({"cache": str(cache), **given, **fields}),
    )
    labels = runs.test_labels(test, result.card.task.classes)
    regression = not result.card.task.is_classification
    runs.keep_rows(
        Path(arguments.out) / variant / f"{name}-{seed}.npz",
        {
            f"{model}/{metric}": losses
            for model, answers in result.answers.items()
            for metric, losses in runs.row_losses(answers, labels, regression=regression).items()
        },
    )
    told = result.to_dict()
    told.pop("artifact")
    return told


def markdown(out: Path) -> str:
    """Each variant's gap recovered, and what it costs against the defaults, on the sets both have."""
    found = {variant: runs.kept(out / variant) for variant in VARIANTS if (out / variant).is_dir()}
    full = found.get("full", {})
    if not full:
        return "No results of the defaults yet.\n"
    names = list(full)
    head = ["variant", *names, "worse than the defaults", "95 %", "gap recovered, pooled", "95 %", "seconds"]
    return "\n".join(
        [
            "# Ablation",
            "",
            "Loss of the shipped model on the test rows (log-loss, or RMSE); how much worse than with the "
            "defaults, relative, mean over the sets, with its paired 95 % interval over rows; gap recovered "
            "against the twin of the defaults, so that every variant is held to the same; and the seconds of "
            "the student's search.",
            "",
            *runs.table(head, [row(out, variant, found[variant], full) for variant in found]),
            "",
        ]
    )


def row(out: Path, variant: str, results: Mapping[str, Any], full: Mapping[str, Any]) -> list[str]:
    both = [name for name in full if name in results]
    losses = {name: against(out, variant, name) for name in both}
    # Against the defaults in the twin's place, the gain is what is won over the defaults.
    won = pooled_gap({name: with_default for name, (_, with_default) in losses.items()}).gain
    gap = pooled_gap({name: with_twin for name, (with_twin, _) in losses.items()})
    return [
        f"{variant}: {VARIANTS[variant][0]}",
        *(f"{loss(results[name]):.4g}" if name in results else "–" for name in full),
        f"{0.0 - won.value:+.1%}",
        f"[{0.0 - won.high:+.1%}, {0.0 - won.low:+.1%}]",
        *runs.pooled_words(gap)[:2],
        f"{np.mean([results[name]['seconds']['student'] for name in both]):.0f}",
    ]


def loss(result: Mapping[str, Any]) -> float:
    return float(result["student"]["rmse" if result["task"] == "regression" else "log_loss"])


def against(out: Path, variant: str, name: str) -> tuple[SetLosses, SetLosses]:
    """The variant's student against the defaults' twin, and against the defaults' student."""
    with np.load(out / "full" / f"{name}.npz") as full, np.load(out / variant / f"{name}.npz") as own:
        metric = "log_loss" if "student/log_loss" in full.files else "rmse"
        teacher, twin, student = (
            full[f"{model}/{metric}"].astype(np.float64) for model in ("teacher", "twin", "student")
        )
        mine = own[f"student/{metric}"].astype(np.float64)
    more: dict[str, Any] = {"root": metric == "rmse", "floor": runs.FLOOR[metric]}
    return SetLosses(teacher, twin, mine, **more), SetLosses(teacher, student, mine, **more)


if __name__ == "__main__":
    sys.exit(main())
