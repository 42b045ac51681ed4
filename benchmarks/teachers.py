"""Is the default teacher a weak one? Its loss beside that of AutoGluon's bagged predictor, as long.

    python benchmarks/teachers.py FOLDER [--sets adult,letter] [--adopt PREDICTORS] [--fit-seconds 200]

For every set, one after the other:

1. *autogluon*: AutoGluon 1.6, five-fold bagging, one layer; or, with ``--adopt``, the predictor already in
   ``PREDICTORS/NAME`` and fitted so;
2. *default*: the default ensemble in as much time, asked about no synthetic rows.

Both are then asked about the test rows. One JSON file a set and phase, and a Markdown page.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import peers
import runs
from potstill import Recipe
from potstill.distillation.prepare import prepare
from potstill.distillation.teach import teach
from potstill.types import Silent

CLOSE = 1.02
"""A loss at most so many times AutoGluon's is as good."""

PHASES = ("autogluon", "default")


def main() -> int:
    parser = peers.options(__doc__, out=runs.RESULTS / "teachers")
    parser.add_argument("--phases", default=",".join(PHASES))
    parser.add_argument("--seed", type=int, default=0, help="of the default ensemble")
    arguments = parser.parse_args()
    out, folder = Path(arguments.out), Path(arguments.folder)
    works = {"autogluon": autogluon, "default": default}
    failed = runs.pending(
        (f"{name}, {phase}", out / phase / f"{name}.json", partial(works[phase], name, folder, arguments))
        for name in arguments.sets.split(",")
        for phase in arguments.phases.split(",")
    )
    found = {phase: runs.kept(out / phase) for phase in PHASES}
    runs.show(markdown(found["autogluon"], found["default"], arguments.fit_seconds), out)
    return int(failed > 0)


def autogluon(name: str, folder: Path, arguments: Any) -> Mapping[str, Any]:
    """AutoGluon's predictor of the set, and its loss on the test rows."""
    python = peers.autogluon_python(arguments)
    fit = peers.fitted(name, folder, arguments, {"autogluon": python})
    answers = peers.answers_of(arguments, "teachers", name)
    script = peers.HERE / "peers_autogluon.py"
    rows, predictor = folder / f"{name}.parquet", peers.predictor_of(name, arguments)
    told = peers.spoken([python, script, "answer", rows, predictor, answers])
    return {"fit": dict(fit), **peers.with_scores(told, answers, folder, name)}


def default(name: str, folder: Path, arguments: Any) -> Mapping[str, Any]:
    """The default ensemble as `distill` makes it, and its loss on the test rows."""
    train, test = runs.parts(folder, name)
    recipe = Recipe(cache=False, synthetic=0, teacher_time=arguments.fit_seconds)
    begin = time.perf_counter()
    prepared = prepare(
        train,
        target="target",
        sample_weight=None,
        test=test,
        unlabeled=None,
        recipe=recipe,
        seed=arguments.seed,
        progress=Silent(),
    )
    taught, prepared = teach(None, prepared, recipe=recipe, seed=arguments.seed, progress=Silent())
    seconds = time.perf_counter() - begin
    rows = prepared.parts["test"]
    labels = runs.test_labels(test, rows.task.classes)
    regression = not rows.task.is_classification
    return {
        "seconds": seconds,
        "members": dict(taught.members),
        "notes": list(taught.notes),
        "teacher": peers.scores(taught.answers["test"], labels, regression=regression),
    }


def markdown(theirs: Mapping[str, Any], ours: Mapping[str, Any], fit_seconds: float) -> str:
    sets = [name for name in theirs if name in ours]
    rows, close = [], 0
    for name in sets:
        losses = [found[name]["teacher"]["loss"] for found in (theirs, ours)]
        ratio = losses[1] / losses[0]
        close += ratio <= CLOSE
        seconds = ours[name]["seconds"]
        rows.append(
            [
                name,
                str(theirs[name]["cores"]),
                *(f"{loss:.4g}" for loss in losses),
                f"{ratio:.3f}",
                f"{seconds:.0f}",
            ]
        )
    adopted = [name for name in sets if theirs[name]["fit"].get("adopted")]
    earlier = f" (fitted in an earlier run: {', '.join(adopted)})" if adopted else ""
    head = ["set", "cores", "loss: AutoGluon's", "default ensemble's", "ratio", "its seconds"]
    lines = [
        "# The default teacher beside AutoGluon's",
        "",
        "`python benchmarks/teachers.py FOLDER`. AutoGluon 1.6, five-fold bagging, "
        f"{fit_seconds:.0f} s{earlier}; the default ensemble in as much time. Loss is log-loss on the test "
        "rows, or RMSE; both are asked about rows they never saw.",
        "",
        *runs.table(head, rows),
        "",
        f"Within 2 % of AutoGluon's, or lower, on {close} of {len(sets)} sets.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
