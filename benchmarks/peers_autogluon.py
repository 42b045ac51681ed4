"""The AutoGluon half of peers.py: runs in AutoGluon's own environment and knows nothing of potstill.

    python peers_autogluon.py fit ROWS.parquet PREDICTOR [--seconds 200]
    python peers_autogluon.py answer ROWS.parquet PREDICTOR ANSWERS.npz
    python peers_autogluon.py distill ROWS.parquet PREDICTOR ANSWERS.npz [--seconds 1200]

Each prints one JSON object; ``answer`` writes what the predictor says of the test rows, ``distill`` what it
and the distilled model say, and works on a copy of the predictor: the one given stays as it was fitted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor

ONE_ROW_CALLS, ONE_ROW_SECONDS = 200, 20.0
BATCH_ROWS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phase", choices=["fit", "answer", "distill"])
    parser.add_argument("rows", type=Path)
    parser.add_argument("predictor", type=Path)
    parser.add_argument("answers", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float)
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.rows)
    train, test = (
        table[table["split"] == part].drop(columns="split").reset_index(drop=True)
        for part in ("train", "test")
    )
    if arguments.phase == "fit":
        facts = fit(train, arguments.predictor, arguments.seconds or 200.0)
    elif arguments.phase == "answer":
        facts = answered(test, arguments.predictor, arguments.answers)
    else:
        facts = distil(test, arguments.predictor, arguments.answers, arguments.seconds)
    print(json.dumps(facts))


def fit(train: pd.DataFrame, place: Path, seconds: float) -> dict[str, Any]:
    """Five-fold bagging, one layer."""
    regression = pd.api.types.is_float_dtype(train["target"])
    begin = time.perf_counter()
    TabularPredictor(
        label="target",
        problem_type="regression" if regression else None,
        eval_metric="root_mean_squared_error" if regression else "log_loss",
        path=str(place),
    ).fit(train, time_limit=seconds, num_bag_folds=5, num_bag_sets=1, num_stack_levels=0)
    return {"seconds": time.perf_counter() - begin}


def answered(test: pd.DataFrame, place: Path, answers: Path) -> dict[str, Any]:
    """What the predictor says of the test rows."""
    predictor = TabularPredictor.load(str(place))
    model = predictor.model_best
    np.savez_compressed(answers, classes=classes(predictor), teacher=asked(predictor, test, model))
    return {"teacher_model": model, "models": len(predictor.model_names())}


def distil(test: pd.DataFrame, place: Path, answers: Path, seconds: float | None) -> dict[str, Any]:
    """AutoGluon's own students with its own settings, and what the best of them costs.

    The best is the one AutoGluon ranks first on its own validation rows; no test row has a say.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "predictor"
        TabularPredictor.load(str(place)).clone(str(copy))
        predictor = TabularPredictor.load(str(copy))
        teacher = predictor.model_best
        begin = time.perf_counter()
        students = predictor.distill(time_limit=seconds)
        taken = time.perf_counter() - begin
        scores = predictor.leaderboard(silent=True).set_index("model")["score_val"]
        student = str(scores[students].idxmax())
        told = {
            name: asked(predictor, test, model)
            for name, model in (("teacher", teacher), ("student", student))
        }
        np.savez_compressed(answers, classes=classes(predictor), **told)
        shipped = Path(folder) / "shipped"
        predictor.clone_for_deployment(str(shipped), model=student)
        return {
            "teacher_model": teacher,
            "student_model": student,
            "students": {name: float(scores[name]) for name in students},
            "seconds": taken,
            "size_bytes": disk_bytes(shipped),
            "teacher": speed(predictor, test, teacher),
            "student": speed(predictor, test, student),
        }


def classes(predictor: TabularPredictor) -> list[str]:
    return [] if predictor.problem_type == "regression" else [str(label) for label in predictor.class_labels]


def asked(predictor: TabularPredictor, rows: pd.DataFrame, model: str) -> np.ndarray[Any, Any]:
    """``(n, K)`` as AutoGluon gives them, also where they are no probabilities; or values ``(n, 1)``."""
    if predictor.problem_type == "regression":
        return np.asarray(predictor.predict(rows, model=model), dtype=np.float64)[:, None]
    told = predictor.predict_proba(rows, model=model, as_multiclass=True)
    return told[list(predictor.class_labels)].to_numpy(np.float64)


def speed(predictor: TabularPredictor, test: pd.DataFrame, model: str) -> dict[str, float]:
    """Median of one row, and rows a second, the models held in memory as one would serve them."""
    predictor.persist([model], max_memory=None)
    rows = test.drop(columns="target")
    ask: Callable[[pd.DataFrame], Any] = lambda part: asked(predictor, part, model)  # noqa: E731
    ask(rows.iloc[:1])
    singles = []
    begin = time.perf_counter()
    for call in range(ONE_ROW_CALLS):
        one = rows.iloc[[call % len(rows)]]
        started = time.perf_counter()
        ask(one)
        singles.append(time.perf_counter() - started)
        if time.perf_counter() - begin > ONE_ROW_SECONDS:
            break
    batch = rows.iloc[:BATCH_ROWS]
    started = time.perf_counter()
    ask(batch)
    taken = time.perf_counter() - started
    predictor.unpersist()
    return {"one_row_us": 1e6 * statistics.median(singles), "rows_per_s": len(batch) / taken}


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
