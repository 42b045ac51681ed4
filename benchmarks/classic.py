"""The classic recipe: twelve networks distilled into one of 3,490 parameters, beside plain distillation.

    python benchmarks/classic.py [--seeds 10] [--out benchmarks/results/classic]

A problem of 5,000 rows and 20 features of scikit-learn's ``make_classification``, of which 4,000 are for
training, and 20,000 fresh rows from the same call to measure on. The teacher is twelve networks 256-128-64,
one student 64-32 of 3,490 parameters learns from it: 160 times fewer. All networks are trained by the same
code. Contenders, all of the same architecture:

- *twin*: labels alone. Epochs and weight decay are chosen on a fifth of the training rows, then it is fitted
  on all of them;
- *plain KD*: the textbook's, T = 3, weight 0.7 on the soft targets, the same 4,000 rows, epochs and weight
  decay chosen the same way;
- *potstill*: ``potstill.distill`` with the twelve networks as teachers and the student fixed.

One JSON file a seed, with the losses row by row beside it; a seed that has one is skipped. Gaps are in
accuracy, pooled over the seeds: the sum of (student − twin) by that of (teacher − twin).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

import potstill
import runs
from potstill import Budget, Recipe
from potstill.evaluation import SetLosses, pooled_gap
from potstill.objectives import KD
from potstill.students import MLP
from potstill.transfer import soften
from potstill.types import Examples, FeatureSpec, Task

PROBLEM: dict[str, Any] = {
    "n_samples": 25_000,
    "n_features": 20,
    "n_informative": 10,
    "n_redundant": 5,
    "n_clusters_per_class": 4,
}
"""All else is scikit-learn's default: two classes, class_sep 1, flip_y .01. With two clusters a class there
is no edge over a well-trained twin; with eight the student is too small, even for fresh rows that the teacher
labels."""

TRAIN_ROWS, TEST_ROWS, MEMBERS = 4_000, 20_000, 12
MEMBER = MLP(hidden=(256, 128, 64), numeric_embedding=None, batch_size=128)
STUDENT = MLP(hidden=(64, 32), numeric_embedding=None)
SPEC = FeatureSpec(numeric=tuple(f"x{i}" for i in range(20)))
TASK = Task("binary", "y", classes=(0, 1))
EPOCHS, WEIGHT_DECAYS = "30,60,120", (0.1, 0.5)
PLAIN_TEMPERATURE, PLAIN_SOFT_WEIGHT = 3.0, 0.7
CONTENDERS = {"plain": "plain KD (T = 3, weight 0.7)", "potstill": "potstill"}


class Network(ClassifierMixin, BaseEstimator):
    """One member of the teacher, as scikit-learn wants it."""

    def __init__(self, random_state: int = 0, epochs: int = 60) -> None:
        self.random_state = random_state
        self.epochs = epochs

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Network:
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.n_features_in_ = X.shape[1]
        part = msgspec.structs.replace(MEMBER, epochs=self.epochs)
        self.fitted_ = trained(part, labelled(X, codes), seed=self.random_state)
        return self

    def predict_proba(self, X: NDArray[Any]) -> NDArray[Any]:
        return probabilities(self.fitted_, X)

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@dataclass(frozen=True)
class Problem:
    """Rows and labels to learn from, and to measure on."""

    rows: NDArray[Any]
    labels: NDArray[Any]
    test_rows: NDArray[Any]
    test_labels: NDArray[Any]


def main() -> int:
    arguments = parsed()
    torch.set_num_threads(1)
    out = Path(arguments.out)
    failed = runs.pending(
        (f"seed {seed}", out / f"{seed}.json", partial(run, seed, arguments))
        for seed in range(arguments.seeds)
    )
    text = markdown(out, arguments.seeds)
    runs.show(text, out)
    return int(failed > 0)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--member-epochs", type=int, default=60)
    parser.add_argument("--epochs", default=EPOCHS, help="of twin and plain KD, to choose from")
    parser.add_argument("--synthetic", type=float, help="synthetic rows for each real one; potstill decides")
    parser.add_argument("--augmenter", help="potstill's default, unless named")
    parser.add_argument("--out", default=str(runs.RESULTS / "classic"))
    return parser.parse_args()


def run(seed: int, arguments: argparse.Namespace) -> Mapping[str, Any]:
    """One problem, its teacher and the contenders."""
    problem = posed(seed)
    seconds: dict[str, float] = {}
    begin = time.perf_counter()
    members = [
        Network(random_state=MEMBERS * seed + member, epochs=arguments.member_epochs).fit(
            problem.rows, problem.labels
        )
        for member in range(arguments.members)
    ]
    seconds["teacher"] = time.perf_counter() - begin
    heard = np.stack([member.predict_proba(problem.rows) for member in members])
    uniform = np.full(len(members), 1.0 / len(members))
    soft = soften(heard.astype(np.float32), uniform, PLAIN_TEMPERATURE)
    answers = {"teacher": np.mean([member.predict_proba(problem.test_rows) for member in members], axis=0)}
    chosen: dict[str, Any] = {}
    lessons = {
        "twin": (labelled(problem.rows, problem.labels), KD()),
        "plain": (
            taught(problem.rows, problem.labels, soft, hard_weight=1.0 - PLAIN_SOFT_WEIGHT),
            KD(temperature=PLAIN_TEMPERATURE),
        ),
    }
    epochs = [int(number) for number in arguments.epochs.split(",")]
    for name, (examples, objective) in lessons.items():
        begin = time.perf_counter()
        part, fitted = tuned(examples, objective, epochs=epochs, seed=seed)
        seconds[name] = time.perf_counter() - begin
        answers[name] = probabilities(fitted, problem.test_rows)
        chosen[name] = {"epochs": part.epochs, "weight_decay": part.weight_decay}
    begin = time.perf_counter()
    result = distilled(problem, members, seed, arguments)
    seconds["potstill"] = time.perf_counter() - begin
    answers["potstill"] = np.asarray(result.model.predict_proba(problem.test_rows))
    chosen["potstill"] = {
        "shipped": result.card.shipped,
        "hard_weight": result.card.lineage.hard_weight,
        "rows": result.card.lineage.transfer_rows,
    }
    losses = {
        model: runs.row_losses(probs, problem.test_labels, regression=False)
        for model, probs in answers.items()
    }
    runs.keep_rows(
        Path(arguments.out) / f"{seed}.npz",
        {f"{model}/{metric}": rows for model, found in losses.items() for metric, rows in found.items()},
    )
    return {
        "accuracy": {model: 1.0 - float(found["accuracy"].mean()) for model, found in losses.items()},
        "log_loss": {model: float(found["log_loss"].mean()) for model, found in losses.items()},
        "chosen": chosen,
        "parameters": {
            "student": fitted.n_parameters,
            "teacher": sum(one.fitted_.n_parameters for one in members),
        },
        "seconds": seconds,
    }


def posed(seed: int) -> Problem:
    rows, labels = make_classification(**PROBLEM, random_state=seed)
    rows = rows.astype(np.float32)
    return Problem(rows[:TRAIN_ROWS], labels[:TRAIN_ROWS], rows[-TEST_ROWS:], labels[-TEST_ROWS:])


def distilled(
    problem: Problem, members: list[Network], seed: int, arguments: argparse.Namespace
) -> potstill.Result:
    """As a user would: rows, teachers, the student's shape."""
    given = {name: getattr(arguments, name) for name in ("synthetic", "augmenter")}
    return potstill.distill(
        (problem.rows, problem.labels),
        teachers=members,
        student=STUDENT,
        budget=Budget(),
        seed=seed,
        recipe=Recipe.from_dict(
            {
                "cache": False,
                "test_fraction": 0.0,
                **{name: value for name, value in given.items() if value is not None},
            }
        ),
    )


def taught(rows: NDArray[Any], labels: NDArray[Any], soft: NDArray[Any], *, hard_weight: float) -> Examples:
    ones = np.ones(len(rows), dtype=np.float32)
    return Examples(
        tensors={"numeric": np.asarray(rows, dtype=np.float32)},
        teacher_probs=np.asarray(soft, dtype=np.float32),
        labels=np.asarray(labels, dtype=np.int64),
        hard_weight=np.float32(hard_weight) * ones,
        weight=ones,
    )


def labelled(rows: NDArray[Any], labels: NDArray[Any]) -> Examples:
    return taught(rows, labels, np.zeros((len(rows), 2)), hard_weight=1.0)


def trained(part: MLP, examples: Examples, *, seed: int, objective: KD | None = None) -> Any:
    """All epochs, no early stopping."""
    return part.fit(
        examples, None, spec=SPEC, task=TASK, objective=objective or KD(), seed=seed, effort=part.epochs
    )[0]


def tuned(examples: Examples, objective: KD, *, epochs: Sequence[int], seed: int) -> tuple[MLP, Any]:
    """Epochs and weight decay by the log-loss of a fifth of the rows; then a fit on all rows."""
    kept, held = train_test_split(
        np.arange(len(examples)), test_size=0.2, random_state=seed, stratify=examples.labels
    )
    rows, labels = examples.tensors["numeric"], examples.labels
    best, least = STUDENT, np.inf
    for passes, weight_decay in product(epochs, WEIGHT_DECAYS):
        part = msgspec.structs.replace(STUDENT, epochs=passes, weight_decay=weight_decay)
        fitted = trained(part, picked(examples, kept), seed=seed, objective=objective)
        losses = runs.row_losses(probabilities(fitted, rows[held]), labels[held], regression=False)
        if (loss := float(losses["log_loss"].mean())) < least:
            best, least = part, loss
    return best, trained(best, examples, seed=seed, objective=objective)


def picked(examples: Examples, index: NDArray[Any]) -> Examples:
    return Examples(
        tensors={name: tensor[index] for name, tensor in examples.tensors.items()},
        teacher_probs=examples.teacher_probs[index],
        labels=examples.labels[index],
        hard_weight=examples.hard_weight[index],
        weight=examples.weight[index],
    )


def probabilities(fitted: Any, rows: NDArray[Any]) -> NDArray[Any]:
    logits = fitted.logits({"numeric": np.asarray(rows, dtype=np.float32)}).astype(np.float64)
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def markdown(out: Path, n_seeds: int) -> str:
    results = {name: one for name, one in runs.kept(out).items() if name.isdigit() and int(name) < n_seeds}
    if not results:
        return "No results yet.\n"
    counts = next(iter(results.values()))["parameters"]
    rows = [
        [
            said,
            *pool(out, results, model, "accuracy"),
            *pool(out, results, model, "log_loss")[:2],
        ]
        for model, said in CONTENDERS.items()
    ]
    models = ("teacher", "twin", "plain", "potstill")
    head = ["seed", *(f"{model}" for model in models), "seconds: teacher", "twin", "plain", "potstill"]
    numbers = sorted(results, key=int)
    by_seed = [
        [
            name,
            *(f"{results[name]['accuracy'][model]:.4f}" for model in models),
            *(f"{results[name]['seconds'][model]:.0f}" for model in models),
        ]
        for name in numbers
    ]
    mean = [
        "mean",
        *(f"{np.mean([one['accuracy'][model] for one in results.values()]):.4f}" for model in models),
    ]
    mean += [f"{np.mean([one['seconds'][model] for one in results.values()]):.0f}" for model in models]
    return "\n".join(
        [
            "# The classic recipe",
            "",
            f"`python benchmarks/classic.py --seeds {n_seeds}`: make_classification {PROBLEM}, "
            f"{TRAIN_ROWS:,} training rows, {TEST_ROWS:,} fresh test rows, {len(results)} seeds.",
            f"Teacher: networks of {counts['teacher']:,} parameters together. Twin and students: "
            f"{counts['student']:,} parameters, {counts['teacher'] / counts['student']:.0f} times fewer.",
            "",
            *runs.table(
                [
                    *(
                        "student",
                        "accuracy gap recovered, pooled",
                        "95 % over rows",
                        "95 % over rows and seeds",
                    ),
                    *("seeds with a proven edge", "log-loss gap recovered, pooled", "95 % over rows"),
                ],
                rows,
            ),
            "",
            "Accuracy on the fresh rows, and wall-clock seconds:",
            "",
            *runs.table(head, [*by_seed, mean]),
            "",
        ]
    )


def pool(out: Path, results: Mapping[str, Any], model: str, metric: str) -> list[str]:
    sets: dict[str, SetLosses] = {}
    for name in results:
        if not (out / f"{name}.npz").exists():
            continue  # its rows are where it ran
        with np.load(out / f"{name}.npz") as rows:
            three = (rows[f"{one}/{metric}"].astype(np.float64) for one in ("teacher", "twin", model))
            sets[name] = SetLosses(*three)
    return runs.pooled_words(pooled_gap(sets, relative=False)) if sets else ["–"] * 4


if __name__ == "__main__":
    sys.exit(main())
