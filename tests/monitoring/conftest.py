"""Two small real artifacts with a reference: classes and values, every kind of column."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

import potstill
from potstill.artifact import Model, feeds
from potstill.artifact.columns import Feeds


@dataclass(frozen=True)
class Traffic:
    """A model and rows as those it has learned from."""

    model: Model
    frame: pd.DataFrame
    learned_from: pd.DataFrame

    def rows(self, n: int, seed: int = 1) -> pd.DataFrame:
        return self.frame.sample(n, replace=True, random_state=seed).reset_index(drop=True)

    def feeds(self, rows: Any) -> Feeds:
        return feeds(rows, self.model.schema)


def table(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    start = datetime(2024, 1, 1)
    age, city = rng.normal(40, 10, n), rng.choice(["Rome", "Oslo", "Lima"], n, p=[0.5, 0.3, 0.2])
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(n) < 0.05, np.nan, age),
            "city": np.where(rng.random(n) < 0.05, None, city),
            "member": rng.random(n) < 0.4,
            "since": [start + timedelta(days=int(day)) for day in rng.integers(0, 700, n)],
            "pay": rng.lognormal(3, 1, n),
        }
    )
    frame["price"] = age + 5.0 * (city == "Rome") + rng.normal(0, 2, n)
    frame["paid"] = np.where(rng.random(n) < 1 / (1 + np.exp(-(age - 40) / 4)), "yes", "no")
    return frame


def traffic(target: str, teacher: Any) -> Traffic:
    frame = table(3000, 3)
    train = frame.drop(columns={"price": "paid", "paid": "price"}[target])
    result = potstill.distill(
        train,
        target=target,
        teachers=teacher,
        student=potstill.students.GBDT(rounds=25, leaves=8),
        recipe=potstill.Recipe(synthetic=0, cache=False, folds=2),
    )
    return Traffic(result.model, table(6000, 4), frame)


@pytest.fixture(scope="session")
def classes() -> Traffic:
    return traffic("paid", encoded(RandomForestClassifier(20, min_samples_leaf=20, random_state=0)))


@pytest.fixture(scope="session")
def values() -> Traffic:
    return traffic("price", encoded(RandomForestRegressor(20, min_samples_leaf=20, random_state=0)))


def encoded(forest: Any) -> Any:
    """The forest on the numbers alone: what the teacher knows is not the question here."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    numbers = ColumnTransformer([("numbers", SimpleImputer(), ["age", "pay"])])
    return make_pipeline(numbers, forest)
