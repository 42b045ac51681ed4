"""Boosted trees of the default ensemble, by three libraries.

A member says what a fit costs on one core (`cost_s`) and shrinks itself to a time (`within`). The constants
were measured on one core of a 2024 server and rounded up; on another machine the ensemble takes another time,
but it is the same ensemble: nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.teachers.zoo_coding import coded
from potstill.teachers.zoo_encoding import Table
from potstill.teachers.zoo_member import Answer, Fold, Shape, fingerprint, fit_member
from potstill.types import Dataset, Floats, Ints, Teacher

_NO_CHECK_ROUNDS = 100
"""Rounds of boosting when there are too few rows to stop early on."""


_COLUMNS_A_TREE = 8
"""A tree gets at least this many columns, where there are so many: fewer cannot interact."""


class LightGBMMember(msgspec.Struct, frozen=True, kw_only=True):
    """Boosted leaf-wise trees; categories are native, ranked or means.

    Parameters
    ----------
    name
        Name in the ensemble.
    rounds, learning_rate
        With all the time in the world; `within` takes fewer and larger steps.
    num_leaves, min_rows, feature_fraction, bagging_fraction, l2, extra_trees
        LightGBM's ``num_leaves``, ``min_data_in_leaf``, ``feature_fraction``, ``bagging_fraction``,
        ``lambda_l2``, ``extra_trees``.
    categories
        ``native``: LightGBM's own splits over sets of levels. ``ranked``: numbers in their natural order.
        ``means``: indicators and target means, see `potstill.teachers.zoo_coding`.
    threads
        Cores to use.
    """

    name: str
    rounds: int = 1000
    learning_rate: float = 0.04
    num_leaves: int = 31
    min_rows: int = 20
    feature_fraction: float = 1.0
    bagging_fraction: float = 1.0
    l2: float = 1.0
    extra_trees: bool = False
    categories: Literal["native", "ranked", "means"] = "native"
    threads: int = 1

    @property
    def fingerprint(self) -> str:
        import lightgbm

        return fingerprint(self, lightgbm)

    def cost_s(self, shape: Shape) -> float:
        """Seconds of one core for one fit."""
        leaves = min(self.num_leaves, max(2.0, shape.n_rows / (2 * self.min_rows)))
        per_tree = 3e-4 + 7e-10 * shape.n_rows * (shape.n_columns + 6) * log2(leaves)
        per_tree += leaves * (8e-6 + 6e-7 * shape.n_columns)
        return 0.05 + self.rounds * shape.n_outputs * per_tree

    def within(self, seconds: float, shape: Shape) -> LightGBMMember:
        """The same member in at most ``seconds`` of one core, if that is possible at all."""
        most = max(60, _most_trees(1000, shape))
        return _fewer_rounds(self, seconds, shape, most=most, fastest=0.2)

    def fit(self, dataset: Dataset, *, seed: int) -> Teacher:
        return fit_member(self, dataset, seed=seed)

    def fit_until(self, dataset: Dataset, stop_on: Dataset, *, seed: int) -> Teacher:
        return fit_member(self, dataset, seed=seed, stop_on=stop_on)

    def learn(self, fold: Fold, *, seed: int) -> Answer:
        import lightgbm

        native = self.categories == "native"
        rows_of, features = _features(self.categories, fold, seed=seed)
        first = fold.table.numeric.shape[1]
        options = {"categorical_feature": list(range(first, features.shape[1])) if native else []}

        def part(index: Ints, reference: Any = None) -> Any:
            return lightgbm.Dataset(
                features[index],
                fold.labels[index],
                weight=fold.weight[index],
                reference=reference,
                params={"verbosity": -1, "num_threads": self.threads},
                **options,
            )

        learn = part(fold.learn)
        checks = [part(fold.check, learn)] if len(fold.check) else []
        rounds = self.rounds if checks else min(self.rounds, _NO_CHECK_ROUNDS)
        booster = lightgbm.train(
            self._params(fold, seed, features.shape[1]),
            learn,
            rounds,
            valid_sets=checks,
            callbacks=[lightgbm.early_stopping(_patience(rounds), verbose=False)] if checks else [],
        )

        def answer(table: Table) -> NDArray[Any]:
            return np.asarray(booster.predict(rows_of(table), num_threads=self.threads))

        return answer

    def _params(self, fold: Fold, seed: int, n_columns: int) -> dict[str, Any]:
        several = fold.n_classes > 2
        return {
            "objective": "multiclass" if several else "binary" if fold.n_classes else "regression",
            **({"num_class": fold.n_classes} if several else {}),
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": _least_rows(self.min_rows, fold),
            "feature_fraction": _column_share(self.feature_fraction, n_columns),
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": int(self.bagging_fraction < 1),
            "lambda_l2": max(self.l2, 1.0) if several else self.l2,
            "extra_trees": self.extra_trees,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.threads,
            "verbosity": -1,
        }


class XGBoostMember(msgspec.Struct, frozen=True, kw_only=True):
    """Boosted depth-wise trees.

    Parameters
    ----------
    name
        Name in the ensemble.
    rounds, learning_rate
        With all the time in the world; `within` takes fewer and larger steps.
    max_depth, min_weight, column_fraction, row_fraction, l2
        XGBoost's ``max_depth``, ``min_child_weight``, ``colsample_bynode``, ``subsample``, ``reg_lambda``.
    vector_leaves
        One tree a round for all classes instead of one a class; answers many classes much faster.
    categories
        As in `LightGBMMember`.
    threads
        Cores to use.
    """

    name: str
    rounds: int = 2000
    learning_rate: float = 0.025
    max_depth: int = 6
    min_weight: float = 1.0
    column_fraction: float = 1.0
    row_fraction: float = 1.0
    l2: float = 1.0
    vector_leaves: bool = False
    categories: Literal["ranked", "means"] = "ranked"
    threads: int = 1

    @property
    def fingerprint(self) -> str:
        import xgboost

        return fingerprint(self, xgboost)

    def cost_s(self, shape: Shape) -> float:
        """Seconds of one core for one fit."""
        level: float = 8e-5 + 5e-10 * shape.n_rows * (shape.n_columns + 8) * self.column_fraction**0.5
        node = 2.5e-7 if self.vector_leaves and shape.n_outputs > 1 else 4e-8
        nodes: float = node * min(2.0**self.max_depth, shape.n_rows / 20) * shape.n_columns
        return 0.05 + self.rounds * (1e-3 + shape.n_outputs * (self.max_depth * level + nodes))

    def within(self, seconds: float, shape: Shape) -> XGBoostMember:
        """The same member in at most ``seconds`` of one core, if that is possible at all."""
        most = 2000 if self.vector_leaves else max(80, _most_trees(2000, shape))
        return _fewer_rounds(self, seconds, shape, most=most, fastest=0.25)

    def fit(self, dataset: Dataset, *, seed: int) -> Teacher:
        return fit_member(self, dataset, seed=seed)

    def fit_until(self, dataset: Dataset, stop_on: Dataset, *, seed: int) -> Teacher:
        return fit_member(self, dataset, seed=seed, stop_on=stop_on)

    def learn(self, fold: Fold, *, seed: int) -> Answer:
        import xgboost

        rows_of, features = _features(self.categories, fold, seed=seed)

        def part(index: Ints, reference: Any = None) -> Any:
            return xgboost.QuantileDMatrix(
                features[index],
                fold.labels[index],
                weight=fold.weight[index],
                ref=reference,
                nthread=self.threads,
            )

        learn = part(fold.learn)
        checks = [(part(fold.check, learn), "check")] if len(fold.check) else []
        rounds = self.rounds if checks else min(self.rounds, _NO_CHECK_ROUNDS)
        booster = xgboost.train(
            self._params(fold, seed),
            learn,
            rounds,
            evals=checks,
            early_stopping_rounds=_patience(rounds) if checks else None,
            verbose_eval=False,
        )
        used = (0, booster.best_iteration + 1 if checks else rounds)

        def answer(table: Table) -> NDArray[Any]:
            return np.asarray(booster.inplace_predict(rows_of(table), iteration_range=used))

        return answer

    def _params(self, fold: Fold, seed: int) -> dict[str, Any]:
        several = fold.n_classes > 2
        return {
            "objective": "multi:softprob"
            if several
            else "binary:logistic"
            if fold.n_classes
            else "reg:squarederror",
            **({"num_class": fold.n_classes} if several else {}),
            "multi_strategy": "multi_output_tree"
            if several and self.vector_leaves
            else "one_output_per_tree",
            "tree_method": "hist",
            "eta": self.learning_rate,
            "max_depth": self.max_depth,
            "min_child_weight": self.min_weight,
            "colsample_bynode": self.column_fraction,
            "subsample": self.row_fraction,
            "lambda": self.l2,
            "seed": seed,
            "nthread": self.threads,
            "verbosity": 0,
        }


class CatBoostMember(msgspec.Struct, frozen=True, kw_only=True):
    """Boosted symmetric trees; categories as ordered target statistics or ranked.

    Parameters
    ----------
    name
        Name in the ensemble.
    rounds, learning_rate
        With all the time in the world; `within` takes fewer and larger steps.
    depth, l2, column_fraction, borders
        CatBoost's ``depth``, ``l2_leaf_reg``, ``rsm``, ``border_count``.
    categories
        ``native``: CatBoost's target statistics, fitted on the fold's rows only. ``ranked``: numbers in the
        levels' natural order.
    combinations
        How many categories a target statistic may combine.
    threads
        Cores to use.
    """

    name: str
    rounds: int = 3000
    learning_rate: float = 0.03
    depth: int = 6
    l2: float = 3.0
    column_fraction: float = 1.0
    borders: int = 128
    categories: Literal["native", "ranked"] = "native"
    combinations: int = 2
    threads: int = 1

    @property
    def fingerprint(self) -> str:
        import catboost

        return fingerprint(self, catboost)

    def cost_s(self, shape: Shape) -> float:
        """Seconds of one core for one fit."""
        outputs = 0.5 + 0.5 * shape.n_outputs
        splits = self.borders * 2.0**self.depth * outputs
        columns = shape.n_columns * self.column_fraction
        per_round = 1e-3 + 2e-9 * shape.n_rows * self.depth * outputs * (columns + 8)
        per_round += 7e-9 * columns * splits
        if self.categories == "native":
            per_round += 4e-8 * self.combinations * shape.n_rows * shape.n_categorical * shape.n_outputs
        return 0.1 + self.rounds * per_round

    def within(self, seconds: float, shape: Shape) -> CatBoostMember:
        """The same member in at most ``seconds`` of one core, if that is possible at all.

        Target statistics are one a class: with many classes they cost more than they tell, and are not used.
        """
        many = shape.n_outputs > 3
        member = msgspec.structs.replace(self, categories="ranked") if many else self
        return _fewer_rounds(member, seconds, shape, most=self.rounds, fastest=0.3)

    def fit(self, dataset: Dataset, *, seed: int) -> Teacher:
        return fit_member(self, dataset, seed=seed)

    def fit_until(self, dataset: Dataset, stop_on: Dataset, *, seed: int) -> Teacher:
        return fit_member(self, dataset, seed=seed, stop_on=stop_on)

    def learn(self, fold: Fold, *, seed: int) -> Answer:
        import catboost

        def part(index: Ints) -> Any:
            rows = self._rows(fold.table, index)
            labels, weight = fold.labels[index], fold.weight[index]
            return catboost.Pool(rows, labels, weight=weight, cat_features=self._categorical(fold.table))

        check = part(fold.check) if len(fold.check) else None
        rounds = min(self.rounds, self.rounds if check else _NO_CHECK_ROUNDS)
        stop = {"od_type": "Iter", "od_wait": _patience(rounds)} if check else {}
        several = fold.n_classes > 2
        model = catboost.CatBoost(
            {
                "loss_function": "MultiClass" if several else "Logloss" if fold.n_classes else "RMSE",
                "iterations": rounds,
                "learning_rate": self.learning_rate,
                "depth": self.depth,
                "l2_leaf_reg": self.l2,
                "rsm": self.column_fraction,
                "border_count": self.borders,
                "boosting_type": "Plain",
                "max_ctr_complexity": self.combinations,
                "random_seed": seed,
                "thread_count": self.threads,
                "allow_writing_files": False,
                "logging_level": "Silent",
                **stop,
            }
        )
        model.fit(part(fold.learn), eval_set=check)
        kind = "Probability" if fold.n_classes else "RawFormulaVal"

        def answer(table: Table) -> NDArray[Any]:
            rows = catboost.Pool(
                self._rows(table, np.arange(len(table))), cat_features=self._categorical(table)
            )
            return np.asarray(model.predict(rows, prediction_type=kind, thread_count=self.threads))

        return answer

    def _categorical(self, table: Table) -> list[int]:
        first = table.numeric.shape[1]
        return list(range(first, first + len(table.ranks))) if self.categories == "native" else []

    def _rows(self, table: Table, index: Ints) -> Any:
        if self.categories == "ranked" or not table.ranks:
            return table.ranked[index]
        import pandas as pd

        numbers = {str(column): values for column, values in enumerate(table.numeric[index].T)}
        ids = {f"category {column}": values for column, values in enumerate(table.categorical[index].T)}
        return pd.DataFrame({**numbers, **ids})


_Boosted = TypeVar("_Boosted", LightGBMMember, XGBoostMember, CatBoostMember)


def _fewer_rounds(member: _Boosted, seconds: float, shape: Shape, *, most: int, fastest: float) -> _Boosted:
    """Fewer rounds until ``seconds`` are enough, and larger steps, so that their product stays."""
    rounds = min(member.rounds, most, int(member.rounds * seconds / member.cost_s(shape)))
    rounds = max(rounds, 10)
    rate = min(member.learning_rate * member.rounds / rounds, max(fastest, member.learning_rate))
    return msgspec.structs.replace(member, rounds=rounds, learning_rate=round(rate, 4))


def _most_trees(trees: int, shape: Shape) -> int:
    """Rounds after which a model of one tree a class would be too slow to answer a hundred thousand rows."""
    return trees // shape.n_outputs if shape.n_outputs < 3 else (2 * trees) // shape.n_outputs


def _patience(rounds: int) -> int:
    """Rounds without improvement after which boosting stops."""
    return min(max(15, rounds // 10), 150)


def _least_rows(wanted: int, fold: Fold) -> int:
    return max(2, min(wanted, len(fold.learn) // 40))


def _column_share(least: float, n_columns: int) -> float:
    """Share of the columns a tree may use: few of many, nearly all of few."""
    return max(least, min(0.9, _COLUMNS_A_TREE / max(n_columns, 1)))


def _features(
    categories: Literal["native", "ranked", "means"], fold: Fold, *, seed: int
) -> tuple[Callable[[Table], Floats], Floats]:
    """How rows become features, and those of the fold's own rows."""
    if categories == "means" and fold.table.ranks:
        coding, features = coded(fold, seed=seed)
        return coding.features, features
    if categories == "native":
        return (lambda table: table.native), fold.table.native
    return (lambda table: table.ranked), fold.table.ranked
