"""Is the default teacher a weak one? Its loss beside that of AutoGluon's bagged predictor.

    python benchmarks/teachers.py FOLDER [--sets adult,letter] [--adopt PREDICTORS]

AutoGluon 1.6 is fitted for 200 s (five-fold bagging, one layer), or, with ``--adopt``, taken from
``PREDICTORS/NAME``, and asked about the test rows. The default ensemble's figures are those of ``tables.py``
at 1 MB (run it first), where it gets 40 % of the time limit. One JSON file a set, and a Markdown page.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import peers
import runs

TABLES = runs.RESULTS / "tables" / "1MB"
CLOSE = 1.02
"""A loss at most so many times AutoGluon's is as good."""


def main() -> int:
    parser = peers.options(__doc__, out=runs.RESULTS / "teachers")
    parser.add_argument("--tables", type=Path, default=TABLES, help="results of tables.py")
    arguments = parser.parse_args()
    out, folder = Path(arguments.out), Path(arguments.folder)
    python = peers.autogluon_python(arguments)
    names = arguments.sets.split(",")
    failed = runs.pending(
        (name, out / f"{name}.json", partial(asked, name, folder, arguments, python)) for name in names
    )
    runs.show(markdown(runs.kept(out), runs.kept(arguments.tables), arguments.fit_seconds), out)
    return int(failed > 0)


def asked(name: str, folder: Path, arguments: Any, python: Path) -> Mapping[str, Any]:
    """AutoGluon's predictor of the set, and its loss on the test rows."""
    fit = peers.fitted(name, folder, arguments, {"autogluon": python})
    answers = peers.answers_of(arguments, "teachers", name)
    script = peers.HERE / "peers_autogluon.py"
    rows, predictor = folder / f"{name}.parquet", peers.predictor_of(name, arguments)
    told = peers.spoken([python, script, "answer", rows, predictor, answers])
    return {"fit": dict(fit), **peers.with_scores(told, answers, folder, name)}


def markdown(theirs: Mapping[str, Any], ours: Mapping[str, Any], fit_seconds: float) -> str:
    sets = [name for name in theirs if name in ours]
    rows, close = [], 0
    for name in sets:
        teacher = ours[name]["teacher"]
        loss, other = teacher.get("log_loss", teacher.get("rmse")), theirs[name]["teacher"]["loss"]
        close += loss <= CLOSE * other
        rows.append(
            [
                name,
                f"{other:.4g}",
                f"{loss:.4g}",
                f"{loss / other:.3f}",
                f"{ours[name]['seconds']['teacher']:.0f}",
            ]
        )
    adopted = [name for name in sets if theirs[name]["fit"].get("adopted")]
    earlier = f" (fitted in an earlier run: {', '.join(adopted)})" if adopted else ""
    head = ["set", "loss: AutoGluon's", "default ensemble's", "ratio", "its seconds"]
    lines = [
        "# The default teacher beside AutoGluon's",
        "",
        f"`python benchmarks/teachers.py FOLDER`, {os.cpu_count()} cores. AutoGluon 1.6, five-fold bagging, "
        f"{fit_seconds:.0f} s{earlier}. The default ensemble as in the runs of `tables.py`. Loss is log-loss "
        "on the test rows, or RMSE; both are asked about rows they never saw.",
        "",
        *runs.table(head, rows),
        "",
        f"Within 2 % of AutoGluon's, or lower, on {close} of {len(sets)} sets.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
