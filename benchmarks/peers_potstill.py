"""The potstill half of peers.py: runs where both potstill and AutoGluon are installed.

    python peers_potstill.py ROWS.parquet PREDICTOR ANSWERS.npz MODEL.onnx

Distils the fitted predictor by its adapter with the defaults, and prints one JSON object. The seconds are
those of the whole call, reading and asking AutoGluon about every synthetic row included; no test rows are
given to it, so nothing is measured in that time. The artifact is asked about them afterwards.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

import potstill
from potstill import Recipe
from potstill.evaluation import measure_batch, measure_latency

BATCH_ROWS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("predictor", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--time-limit", type=float, help="of potstill's recipe, where it has one")
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.rows)
    train, test = (
        table[table["split"] == part].drop(columns="split").reset_index(drop=True)
        for part in ("train", "test")
    )
    given = {} if arguments.time_limit is None else {"time_limit": arguments.time_limit}
    begin = time.perf_counter()
    result = potstill.distill(
        train,
        target="target",
        teachers=arguments.predictor,
        recipe=Recipe.from_dict({"trust": True, "cache": False, "test_fraction": 0.0, **given}),
    )
    result.save(arguments.artifact)
    taken = time.perf_counter() - begin
    model, rows = result.model, test.drop(columns="target")
    classification = model.task.kind != "regression"
    ask = model.predict_proba if classification else model.predict
    told = np.asarray(ask(rows), dtype=np.float64).reshape(len(rows), -1)
    np.savez_compressed(arguments.answers, classes=[str(label) for label in model.task.classes], student=told)
    latency = measure_latency(model.predict_one, rows.iloc[:200].to_dict("records"))
    batch = rows.iloc[:BATCH_ROWS]
    facts = {
        "seconds": taken,
        "stages": result.seconds,
        "size_bytes": len(result.artifact),
        "shipped": result.card.shipped,
        "family": result.card.lineage.student,
        "notes": list(result.notes),
        "student": {
            "one_row_us": latency.p50,
            "rows_per_s": measure_batch(ask, batch, len(batch)).rows_per_s,
        },
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
