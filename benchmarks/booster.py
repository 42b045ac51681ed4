"""What one would tune instead: the best single LightGBM that a search on the labels finds in a given time.

    pip install -e ".[train,bench]"
    python benchmarks/booster.py FOLDER [--seconds 200] [--sets adult,letter]

Optuna (TPE) proposes; a fifth of the training rows judges, with early stopping; the best settings are then
fitted on all training rows with the rounds that were best, a quarter more for the fifth that joined. Test
rows are asked once, at the end. Resumable: one JSON file a set.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

import runs

PATIENCE = 50
MOST_ROUNDS = 3000
REFIT_ROUNDS = 1.25


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--sets", help="names, with commas; all tabular sets of FOLDER by default")
    parser.add_argument("--threads", type=int, default=0, help="of LightGBM; 0 for all cores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(runs.RESULTS / "booster"))
    arguments = parser.parse_args()
    folder, out = Path(arguments.folder), Path(arguments.out)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = arguments.sets.split(",") if arguments.sets else runs.tabular_sets(folder)
    failed = runs.pending(
        (name, out / f"{name}.json", partial(tuned, folder, name, arguments)) for name in names
    )
    head = ["set", "loss", "accuracy, R²", "trials", "rounds", "leaves", "seconds"]
    print("\n".join(runs.table(head, [row(name, one) for name, one in runs.kept(out).items()])))
    return int(failed > 0)


def tuned(folder: Path, name: str, arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Search for ``--seconds``, fit again on all training rows, ask about the test rows."""
    begin = time.perf_counter()
    train, test = (part.to_pandas() for part in runs.parts(folder, name))
    regression = pd.api.types.is_float_dtype(train["target"])
    classes = () if regression else tuple(sorted(train["target"].unique()))
    rows, test_rows = encoded(train, test)
    labels, truth = (
        part["target"].to_numpy(float) if regression else part["target"].map(classes.index).to_numpy()
        for part in (train, test)
    )
    fixed = {
        "objective": "regression" if regression else "binary" if len(classes) == 2 else "multiclass",
        "metric": "l2" if regression else "binary_logloss" if len(classes) == 2 else "multi_logloss",
        "num_threads": arguments.threads,
        "verbosity": -1,
        "seed": arguments.seed,
        **({"num_class": len(classes)} if len(classes) > 2 else {}),
    }
    deadline = begin + arguments.seconds
    study, rounds = searched(rows, labels, fixed, deadline, stratify=not regression)
    final = lightgbm.train(
        {**fixed, **study.best_params},
        lightgbm.Dataset(rows, labels),
        num_boost_round=max(1, round(rounds * REFIT_ROUNDS)),
    )
    losses = runs.row_losses(answers(final, test_rows), truth, regression=regression)
    means = {metric: float(values.mean()) for metric, values in losses.items()}
    loss = means["rmse"] ** 0.5 if regression else means["log_loss"]
    score = 1.0 - means["rmse"] / float(truth.var()) if regression else 1.0 - means["accuracy"]
    return {
        "loss": loss,
        "score": score,
        "trials": len(study.trials),
        "rounds": final.num_trees() // max(1, len(classes) if len(classes) > 2 else 1),
        "settings": study.best_params,
        "seconds": time.perf_counter() - begin,
    }


def encoded(train: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Strings as LightGBM's own categories, those of the training rows."""
    rows, test_rows = train.drop(columns="target"), test.drop(columns="target")
    for column in rows.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in rows.dtypes]]:
        kind = pd.CategoricalDtype(sorted(rows[column].dropna().unique()))
        rows[column], test_rows[column] = rows[column].astype(kind), test_rows[column].astype(kind)
    return rows, test_rows


def searched(
    rows: pd.DataFrame, labels: NDArray[Any], fixed: Mapping[str, Any], deadline: float, *, stratify: bool
) -> tuple[optuna.Study, int]:
    """The study, and the rounds of its best trial."""
    kept, held = train_test_split(
        np.arange(len(rows)), test_size=0.2, random_state=0, stratify=labels if stratify else None
    )
    fitted = lightgbm.Dataset(rows.iloc[kept], labels[kept], free_raw_data=False)
    judge = lightgbm.Dataset(rows.iloc[held], labels[held], reference=fitted, free_raw_data=False)

    def objective(trial: optuna.Trial) -> float:
        settings = {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 4, 512, log=True),
            "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 1, 200, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
            "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
            "bagging_freq": trial.suggest_int("bagging_freq", 0, 1),
            "lambda_l1": trial.suggest_float("lambda_l1", 1e-8, 10.0, log=True),
            "lambda_l2": trial.suggest_float("lambda_l2", 1e-8, 10.0, log=True),
            "min_gain_to_split": trial.suggest_float("min_gain_to_split", 1e-8, 1.0, log=True),
        }
        history: dict[str, dict[str, list[float]]] = {}
        lightgbm.train(
            {**fixed, **settings, "feature_pre_filter": False},
            fitted,
            num_boost_round=MOST_ROUNDS,
            valid_sets=[judge],
            valid_names=["judge"],
            callbacks=[
                lightgbm.record_evaluation(history),
                lightgbm.early_stopping(PATIENCE, verbose=False),
                stopper(deadline),
            ],
        )
        losses = next(iter(history["judge"].values()))
        trial.set_user_attr("rounds", int(np.argmin(losses)) + 1)
        return min(losses)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=fixed["seed"]))
    study.optimize(objective, timeout=max(0.0, deadline - time.perf_counter()))
    return study, study.best_trial.user_attrs["rounds"]


def stopper(deadline: float) -> Any:
    """A callback that ends the fit at the deadline: what it found by then counts."""

    def stop(environment: Any) -> None:
        if time.perf_counter() > deadline:
            raise lightgbm.callback.EarlyStopException(
                environment.iteration, environment.evaluation_result_list
            )

    stop.order = 40  # type: ignore[attr-defined]  # After the round was recorded.
    return stop


def answers(model: lightgbm.Booster, rows: pd.DataFrame) -> NDArray[Any]:
    told = np.asarray(model.predict(rows))
    if model.params["objective"] == "binary":
        return np.column_stack([1.0 - told, told])
    return told


def row(name: str, one: Mapping[str, Any]) -> list[str]:
    return [
        name,
        f"{one['loss']:.4g}",
        f"{one['score']:.4f}",
        str(one["trials"]),
        str(one["rounds"]),
        str(one["settings"]["num_leaves"]),
        f"{one['seconds']:.0f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
