"""What each trick of the networks is worth: the MLP as it is, and without one trick at a time.

    python benchmarks/mlp_tricks.py FOLDER [--sets letter,adult] [--rows 8000] [--seeds 2] [--out PLACE]

FOLDER holds one Parquet file a set, with a column ``target`` and a column ``split``; only rows of ``train``
are looked at. A fifth of them is held out, up to ``--rows`` of the others are learnt from, by their labels
alone. A set that has its result already is skipped. Results are one JSON file a set and one Markdown table
of all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from potstill.distillation.prepare import Prepared, prepare
from potstill.distillation.recipe import Recipe
from potstill.objectives import KD, MSE
from potstill.students import MLP, network, network_student, network_training, numeric_scaling
from potstill.types import Examples, Silent, Task

SETS = ("letter", "electricity", "adult", "california_housing", "spambase")
FAR_AWAY = 1e9

PARTS: Mapping[str, MLP] = {
    "as it is": MLP(),
    "no embeddings of numbers": MLP(numeric_embedding=None),
    "no dropout": MLP(dropout=0.0),
    "no weight decay": MLP(weight_decay=0.0),
    "weights float32": MLP(weights="float32"),
    "weights int8": MLP(weights="int8"),
}
"""Tricks that are settings of the part."""

PATCHES: Mapping[str, Callable[[], Any]] = {
    "no ramps": lambda: patch.object(network, "MOST_RAMPS", 1),
    "no waves": lambda: patch.object(network, "N_WAVES", 1),
    "no learnt scale of inputs": lambda: patch.object(
        network_training, "FIXED", (*network_training.FIXED, "scale")
    ),
    "one learning rate": lambda: patch.dict(
        network_training.RATES, dict.fromkeys(network_training.RATES, 1 / 16)
    ),
    "no averaged weights": lambda: patch.object(network_training, "AVERAGING_EPOCHS", 1e-9),
    "no warm-up": lambda: patch.object(network_training, "WARM_UP", 1e-9),
    "no logarithms": lambda: patch.object(numeric_scaling, "SKEWED", FAR_AWAY),
    "no smooth clip": lambda: patch.object(numeric_scaling, "BEND", FAR_AWAY),
    "half the epochs": lambda: patch.object(
        network_student, "MOST_EXAMPLES_SEEN", network_student.MOST_EXAMPLES_SEEN // 2
    ),
}
"""Tricks that are constants of the networks' modules."""


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(1)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    for name in arguments.sets.split(","):
        place = out / f"{name}.json"
        if place.exists():
            print(f"{name}: already there", file=sys.stderr)
            continue
        result = run(Path(arguments.folder) / f"{name}.parquet", arguments.rows, arguments.seeds)
        place.write_text(json.dumps(result, indent=1) + "\n")
    text = markdown({place.stem: json.loads(place.read_text()) for place in sorted(out.glob("*.json"))})
    (out / "README.md").write_text(text)
    print(text)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--rows", type=int, default=8_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "mlp_tricks"))
    return parser.parse_args()


def run(source: Path, n_rows: int, n_seeds: int) -> dict[str, Any]:
    """Loss (log-loss, or RMSE in units of the target's spread) and seconds of every form, mean over seeds."""
    table = pq.read_table(source)
    rows = table.filter(pc.equal(table["split"], "train")).drop_columns(["split"])
    prepared = prepare(
        rows,
        target="target",
        sample_weight=None,
        test=None,
        unlabeled=None,
        recipe=Recipe(test_fraction=0.0, valid_fraction=0.2, synthetic=0.0),
        seed=0,
        progress=Silent(),
    )
    train, valid = labelled_examples(prepared, "train", n_rows), labelled_examples(prepared, "valid", None)
    task = prepared.parts["train"].task
    forms: dict[str, Any] = {}
    for name, part in forms_of_the_network():
        losses, seconds = [], []
        for seed in range(n_seeds):
            began = time.process_time()
            fitted, _ = part.fit(
                train,
                valid,
                spec=prepared.encoder.spec,
                task=task,
                objective=KD() if task.is_classification else MSE(),
                seed=seed,
            )
            seconds.append(time.process_time() - began)
            losses.append(loss(fitted.logits(valid.tensors), valid, task))
        forms[name] = {"loss": float(np.mean(losses)), "cpu_s": float(np.mean(seconds))}
        print(f"{source.stem}: {name} {forms[name]}", file=sys.stderr)
    return {"rows": len(train), "valid_rows": len(valid), "seeds": n_seeds, "forms": forms}


def forms_of_the_network() -> Iterator[tuple[str, MLP]]:
    """Every form by name; its patch holds until the next one is asked for."""
    yield from PARTS.items()
    for name, patched in PATCHES.items():
        with held(patched):
            yield name, MLP()


@contextmanager
def held(patched: Callable[[], Any]) -> Iterator[None]:
    with patched():
        yield


def labelled_examples(prepared: Prepared, part: Any, n_rows: int | None) -> Examples:
    """Rows and their labels; regression values standardised by the training rows."""
    dataset = prepared.parts[part]
    labels = dataset.labels[:n_rows]  # type: ignore[index]
    if labels.dtype.kind == "f":
        known = prepared.parts["train"].labels
        labels = (labels - known.mean()) / known.std()  # type: ignore[union-attr]
    n = len(labels)
    return Examples(
        tensors={name: values[:n_rows] for name, values in prepared.tensors[part].items()},
        teacher_probs=np.zeros((n, dataset.task.n_outputs), dtype=np.float32),
        labels=labels,
        hard_weight=np.ones(n, dtype=np.float32),
        weight=np.ones(n, dtype=np.float32),
    )


def loss(logits: np.ndarray[Any, Any], examples: Examples, task: Task) -> float:
    if not task.is_classification:
        return float(np.sqrt(np.square(logits[:, 0] - examples.labels).mean()))
    log_probs = torch.log_softmax(torch.from_numpy(logits).double(), dim=1).numpy()
    return float(-log_probs[np.arange(len(examples)), examples.labels].mean())


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """A row for each form: its loss on each set, and how much higher that is than as it is, on average."""
    lines = [
        "# What each trick of the networks is worth",
        "",
        "`python benchmarks/mlp_tricks.py FOLDER`: the MLP without one trick at a time, fitted on labels. "
        "Log-loss, or RMSE in units of the target's spread, on held-out training rows; "
        "seconds of one core, all sets together.",
        "",
        f"| | {' | '.join(results)} | mean change | seconds |",
        f"|---|{'--:|' * (len(results) + 2)}",
    ]
    forms = [*PARTS, *PATCHES]
    for form in forms:
        losses = [result["forms"][form]["loss"] for result in results.values()]
        whole = [result["forms"]["as it is"]["loss"] for result in results.values()]
        change = np.mean([one / other - 1 for one, other in zip(losses, whole, strict=True)])
        seconds = sum(result["forms"][form]["cpu_s"] for result in results.values())
        lines.append(
            f"| {form} | {' | '.join(f'{one:.4f}' for one in losses)} | {change:+.1%} | {seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
