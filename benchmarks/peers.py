"""What people would use instead, from the same teacher: AutoGluon's own ``distill()`` against potstill.

    python benchmarks/peers.py FOLDER [--sets adult,letter] [--adopt PREDICTORS] [--venvs PLACE]

For every set, one after the other:

1. *fit*: AutoGluon 1.6, five-fold bagging, 200 s; or, with ``--adopt``, the predictor already in
   ``PREDICTORS/NAME`` and fitted so;
2. *autogluon*: its ``distill()`` with its default students from that predictor, at most 20 minutes;
3. *potstill*: ``potstill.distill(train, teachers=PREDICTOR)`` from the same predictor, by the adapter, within
   its default budget, a megabyte and a millisecond a row at p99, and not quite a fifth of the time that
   AutoGluon's took (``--time-share``).

The first two run in one environment, the third in another that has both packages; both are made under PLACE
where they are not there yet, or given as ``--autogluon-python`` and ``--both-python``. A phase that has its
result already is skipped. Results are one JSON file a set and phase, and a Markdown page.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

import runs

HERE = Path(__file__).parent
SETS = (
    *("adult", "letter", "spambase", "covertype_15k", "electricity", "magic_telescope"),
    *("california_housing", "credit_default"),
)
AUTOGLUON = "autogluon.tabular[catboost,lightgbm,xgboost,fastai]~=1.6.0"
SMALLEST = 1e-7
PHASES = ("fit", "autogluon", "potstill")


def main() -> int:
    arguments = parsed()
    out, folder = Path(arguments.out), Path(arguments.folder)
    pythons = {
        "autogluon": autogluon_python(arguments),
        "both": Path(
            arguments.both_python
            or made(Path(arguments.venvs) / "both", [AUTOGLUON, "-e", f"{HERE.parent}[train]"])
        ),
    }
    works = {"fit": fitted, "autogluon": autogluon, "potstill": potstill}
    failed = runs.pending(
        (
            f"{name}, {phase}",
            out / phase / f"{name}.json",
            partial(works[phase], name, folder, arguments, pythons),
        )
        for name in arguments.sets.split(",")
        for phase in arguments.phases.split(",")
    )
    text = markdown({phase: runs.kept(out / phase) for phase in PHASES}, arguments)
    runs.show(text, out)
    return int(failed > 0)


def parsed() -> argparse.Namespace:
    parser = options(__doc__, out=runs.RESULTS / "peers")
    parser.add_argument("--phases", default=",".join(PHASES))
    parser.add_argument("--distill-seconds", type=float, default=1200.0, help="that AutoGluon's may take")
    parser.add_argument(
        "--time-share", type=float, default=0.18, help="of AutoGluon's seconds, for potstill's"
    )
    parser.add_argument("--both-python", help="interpreter of an environment with AutoGluon and potstill")
    return parser.parse_args()


def options(description: str | None, *, out: Path) -> argparse.ArgumentParser:
    """What every comparison with AutoGluon may be told."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--adopt", type=Path, help="folder of predictors fitted before, one a set")
    parser.add_argument("--fit-seconds", type=float, default=200.0)
    temporary = Path(tempfile.gettempdir())
    parser.add_argument("--venvs", default=str(temporary / "potstill-peers-venvs"))
    parser.add_argument("--work", default=str(temporary / "potstill-peers"), help="predictors and answers")
    parser.add_argument("--autogluon-python", help="interpreter of an environment with AutoGluon")
    parser.add_argument("--out", default=str(out))
    return parser


def autogluon_python(arguments: argparse.Namespace) -> Path:
    """The interpreter of AutoGluon's own environment."""
    return Path(arguments.autogluon_python or made(Path(arguments.venvs) / "autogluon", [AUTOGLUON]))


def made(place: Path, packages: Sequence[str]) -> Path:
    """The interpreter of a virtual environment with ``packages``; made where it is not there."""
    python, stamp = place / "bin" / "python", place / "complete"
    if not stamp.exists():
        print(f"making {place}", file=sys.stderr)
        venv.create(place, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        stamp.touch()
    return python


def spoken(command: Sequence[str | Path]) -> dict[str, Any]:
    """Run it; its last line is a JSON object."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def predictor_of(name: str, arguments: argparse.Namespace) -> Path:
    """Where the set's predictor is, or will be."""
    return (arguments.adopt or Path(arguments.work) / "predictors") / name


def fitted(
    name: str, folder: Path, arguments: argparse.Namespace, pythons: Mapping[str, Path]
) -> Mapping[str, Any]:
    place = predictor_of(name, arguments)
    if (place / "predictor.pkl").is_file():
        return {"seconds": None, "adopted": True}
    script = HERE / "peers_autogluon.py"
    command = [pythons["autogluon"], script, "fit", folder / f"{name}.parquet", place]
    return spoken([*command, "--seconds", str(arguments.fit_seconds)])


def autogluon(
    name: str, folder: Path, arguments: argparse.Namespace, pythons: Mapping[str, Path]
) -> Mapping[str, Any]:
    answers = answers_of(arguments, "autogluon", name)
    script = HERE / "peers_autogluon.py"
    command = [
        pythons["autogluon"],
        script,
        "distill",
        folder / f"{name}.parquet",
        predictor_of(name, arguments),
    ]
    told = spoken([*command, answers, "--seconds", str(arguments.distill_seconds)])
    return with_scores(told, answers, folder, name)


def potstill(
    name: str, folder: Path, arguments: argparse.Namespace, pythons: Mapping[str, Path]
) -> Mapping[str, Any]:
    answers = answers_of(arguments, "potstill", name)
    script = HERE / "peers_potstill.py"
    command = [pythons["both"], script, folder / f"{name}.parquet", predictor_of(name, arguments), answers]
    theirs = runs.kept(Path(arguments.out) / "autogluon")[name]["seconds"]
    limit = arguments.time_share * theirs
    told = spoken([*command, answers.with_suffix(".onnx"), "--time-limit", str(limit)])
    return {**with_scores(told, answers, folder, name), "time_limit": limit}


def answers_of(arguments: argparse.Namespace, phase: str, name: str) -> Path:
    place = Path(arguments.work) / phase / f"{name}.npz"
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def with_scores(told: dict[str, Any], answers: Path, folder: Path, name: str) -> dict[str, Any]:
    """What was told, the cores there were, and the loss and score of each model on the test rows."""
    told["cores"] = joblib.cpu_count()
    _, test = runs.parts(folder, name)
    with np.load(answers) as given:
        classes = [str(label) for label in given["classes"]]
        outputs = {model: given[model] for model in ("teacher", "student") if model in given.files}
    truth = [str(label) for label in test["target"].to_pylist()] if classes else test["target"].to_pylist()
    labels = np.array([classes.index(label) for label in truth]) if classes else np.array(truth)
    for model, answered in outputs.items():
        told[model] = {**told.get(model, {}), **scores(answered, labels, regression=not classes)}
    return told


def scores(answered: NDArray[Any], labels: NDArray[Any], *, regression: bool) -> dict[str, float]:
    """Loss and score. Answers below 1e-7 or above 1 are clipped, then every row is divided by its sum."""
    if regression:
        mean_square = float(runs.row_losses(answered, labels, regression=True)["rmse"].mean())
        return {"loss": mean_square**0.5, "score": 1.0 - mean_square / float(labels.var())}
    probs = np.clip(answered, SMALLEST, 1.0)
    losses = runs.row_losses(probs / probs.sum(axis=1, keepdims=True), labels, regression=False)
    return {
        "loss": float(losses["log_loss"].mean()),
        "score": 1.0 - float(losses["accuracy"].mean()),
        "outside": float(np.mean((answered < 0.0) | (answered > 1.0))),
    }


def markdown(found: Mapping[str, Mapping[str, Any]], arguments: argparse.Namespace) -> str:
    sets = [name for name in found["autogluon"] if name in found["potstill"]]
    head = ["set", "cores", "loss: teacher", "AutoGluon's", "potstill's", "accuracy, R²: teacher"]
    head += ["AutoGluon's", "potstill's", "seconds: AutoGluon", "potstill", "its limit"]
    head += ["one row: AutoGluon's", "potstill's", "rows/s: AutoGluon's", "potstill's"]
    head += ["size: AutoGluon's", "potstill's"]
    lines = [
        "# Two ways to distil one and the same AutoGluon predictor",
        "",
        "`python benchmarks/peers.py FOLDER`. Teacher: AutoGluon 1.6, five-fold bagging, "
        f"{arguments.fit_seconds:.0f} s. AutoGluon's: `distill()`, the student it ranks first on "
        "its own validation rows, its models held in memory while timed; size is that of "
        "`clone_for_deployment`. potstill's: one file of 1 MB and 1 ms a row at p99, within the "
        "limit of time that stands in the table; its seconds are those of the whole call, asking the "
        "predictor about every synthetic row included.",
        "Loss is log-loss on the test rows, or RMSE. AutoGluon distils binary problems by regression, so "
        "some answers are no probabilities: those of every model are clipped to [1e-7, 1] and divided by "
        "their sum.",
        "",
        *runs.table(head, [row(name, found["autogluon"][name], found["potstill"][name]) for name in sets]),
        "",
    ]
    if sets:
        lines += verdicts([(found["autogluon"][name], found["potstill"][name]) for name in sets])
    return "\n".join(lines) + "\n"


def row(name: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    models = (theirs["teacher"], theirs["student"], ours["student"])
    return [
        name,
        str(ours["cores"]),
        *(f"{model['loss']:.4g}" for model in models),
        *(f"{model['score']:.4f}" for model in models),
        *(f"{one['seconds']:.0f}" for one in (theirs, ours)),
        f"{ours['time_limit']:.0f}" if ours["time_limit"] else "none",
        *(time_words(one["student"]["one_row_us"]) for one in (theirs, ours)),
        *(f"{one['student']['rows_per_s']:,.0f}" for one in (theirs, ours)),
        *(size_words(one["size_bytes"]) for one in (theirs, ours)),
    ]


def verdicts(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    lower = sum(ours["student"]["loss"] < theirs["student"]["loss"] for theirs, ours in pairs)
    shares = [ours["seconds"] / theirs["seconds"] for theirs, ours in pairs]
    faster = [theirs["student"]["one_row_us"] / ours["student"]["one_row_us"] for theirs, ours in pairs]
    return [
        f"- Lower loss than AutoGluon's distilled model on {lower} of {len(pairs)} sets.",
        f"- Time to distil: {statistics.median(shares):.2f} of AutoGluon's in the median, {max(shares):.2f} "
        f"at most; a fifth or less on {sum(share <= 0.2 for share in shares)} of {len(pairs)} sets.",
        f"- One row: {statistics.median(faster):,.0f} times faster in the median, {min(faster):,.0f} times "
        "at least.",
    ]


def time_words(microseconds: float) -> str:
    return f"{microseconds / 1000:.0f} ms" if microseconds >= 10_000 else f"{microseconds:.0f} µs"


def size_words(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.0f} MB" if size_bytes >= 10_000_000 else f"{size_bytes / 1000:,.0f} kB"


if __name__ == "__main__":
    sys.exit(main())
