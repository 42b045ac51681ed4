"""One boosting run: what every family made of boosted trees shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from potstill.modalities.category_codes import CategoryCodes
from potstill.students.boosting_loss import BoostingLoss, boosting_loss, label_log_loss
from potstill.students.rows import labelled_rows
from potstill.students.targets import blended_targets
from potstill.students.tree_features import TreeFeatures, fit_tree_features
from potstill.types import Examples, FeatureSpec, Floats, Objective, Progress, Silent, Task

Parameters = Callable[[int, CategoryCodes], Mapping[str, Any]]
"""Number of boosting rounds and the codes of the categories to LightGBM's parameters."""

LEAVES_OF_FEW = 10
"""However few rows there are, a tree may have so many leaves: fewer rows in each than asked for will do."""


@dataclass(frozen=True)
class Boosted:
    """What a run came to.

    Parameters
    ----------
    features
        What the trees split on.
    booster
        The trees, those after the best round left out.
    base
        ``(K,)`` float32 scores before the first tree.
    effort
        Rounds.
    """

    features: TreeFeatures
    booster: lightgbm.Booster
    base: Floats
    effort: int


def boost(
    train: Examples,
    valid: Examples | None,
    *,
    spec: FeatureSpec,
    task: Task,
    objective: Objective,
    seed: int,
    effort: int | None,
    time_limit_s: float | None = None,
    progress: Progress | None,
    rounds: Callable[[int], int],
    parameters: Parameters,
) -> Boosted:
    """Boost trees on the blended loss; see `potstill.types.Student.fit`.

    Parameters
    ----------
    rounds
        Scores a row to boosting rounds at most.
    parameters
        The family's own; loss, seed, constraints and what keeps a run repeatable are added here.
    """
    targets = blended_targets(train, task.n_outputs)
    features, train_features = fit_tree_features(train, targets, spec=spec, seed=seed)
    loss = boosting_loss(train, targets, objective)
    n_rounds = effort or rounds(loss.n_scores)
    tracker = progress or Silent()
    tracker.start("boosting", n_rounds)
    callbacks: list[Any] = [lambda _: tracker.advance(), *_time_keeper(time_limit_s)]
    data = _boosting_data(train_features, loss.targets, train.weight, loss.start)
    judged = labelled_rows(valid) if valid is not None and effort is None else None
    if judged is not None:
        callbacks.append(lightgbm.early_stopping(max(10, n_rounds // 8), verbose=False))
    own = parameters(rounds(loss.n_scores), features.codes)
    booster = lightgbm.train(
        {
            **own,
            "min_data_in_leaf": min(own["min_data_in_leaf"], max(1, len(train_features) // LEAVES_OF_FEW)),
            **_constraints(spec, features),
            **_every_run(loss, seed),
        },
        data,
        num_boost_round=n_rounds,
        valid_sets=[] if judged is None else [_judging_data(judged, features, loss, data)],
        feval=_metric(judged, loss),
        callbacks=callbacks,
    )
    best = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
    base = np.concatenate([np.zeros(task.n_outputs - loss.n_scores, dtype=np.float32), loss.start])
    kept = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=best))
    return Boosted(features=features, booster=kept, base=base, effort=best)


def _time_keeper(time_limit_s: float | None) -> list[Any]:
    """A callback that ends the run, at the round it has come to, when the time is up."""
    if time_limit_s is None:
        return []
    end = time.monotonic() + time_limit_s

    def stop_in_time(state: lightgbm.callback.CallbackEnv) -> None:
        if time.monotonic() > end:
            raise lightgbm.callback.EarlyStopException(state.iteration, state.evaluation_result_list)

    return [stop_in_time]


def _every_run(loss: BoostingLoss, seed: int) -> dict[str, Any]:
    return {
        "objective": loss.objective,
        "metric": loss.objective if isinstance(loss.objective, str) else "None",
        "num_class": loss.n_scores,
        "boost_from_average": False,
        "seed": seed % 2**31,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


def _constraints(spec: FeatureSpec, features: TreeFeatures) -> dict[str, Any]:
    if not any(spec.monotone):
        return {}
    free = [0] * len(features.codes.column)
    # The basic method forbids more than it must.
    return {
        "monotone_constraints": [*spec.monotone, *free],
        "monotone_constraints_method": "intermediate",
    }


def _boosting_data(
    features: Floats,
    targets: Floats,
    weight: Floats,
    start: Floats,
    *,
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        features,
        targets,
        weight=weight,
        # Class after class, as LightGBM keeps its scores.
        init_score=np.repeat(start.astype(np.float64), len(features)),
        reference=reference,
    )


def _judging_data(
    judged: Examples, features: TreeFeatures, loss: BoostingLoss, data: lightgbm.Dataset
) -> lightgbm.Dataset:
    labels = judged.labels.astype(np.float32)
    return _boosting_data(features.encode(judged.tensors), labels, judged.weight, loss.start, reference=data)


def _metric(judged: Examples | None, loss: BoostingLoss) -> Callable[..., tuple[str, float, bool]] | None:
    """The labels' log-loss where LightGBM does not compute it by itself."""
    if judged is None or isinstance(loss.objective, str):
        return None
    return lambda scores, _: ("log_loss", label_log_loss(scores, judged), False)
