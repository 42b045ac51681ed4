"""Bagged trees of the default ensemble, by scikit-learn."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.teachers.zoo_encoding import Table
from potstill.teachers.zoo_member import (
    Answer,
    Bagged,
    Fold,
    Shape,
    certain,
    fingerprint,
    fit_member,
    fold_of,
    teacher_of,
)
from potstill.types import Dataset, Floats, Ints, OutOfFoldTeacher, Teacher


class ForestMember(msgspec.Struct, frozen=True, kw_only=True):
    """Bagged trees; how small a leaf may be is chosen on the rows set aside, then those are learnt from too.

    Parameters
    ----------
    name
        Name in the ensemble.
    extra
        Draw the thresholds at random (extremely randomised trees) instead of looking for the best.
    trees
        With all the time in the world.
    column_fraction
        Share of the columns tried at each node.
    leaf_rows
        Candidates for the least number of rows in a leaf.
    most_rows
        Rows that one tree is grown on, at most.
    threads
        Cores to use.
    """

    name: str
    extra: bool
    trees: int = 300
    column_fraction: float = 0.5
    leaf_rows: tuple[int, ...] = (1, 4, 16)
    most_rows: int = 40_000
    threads: int = 1

    @property
    def fingerprint(self) -> str:
        import sklearn

        return fingerprint(self, sklearn)

    def cost_s(self, shape: Shape) -> float:
        """Seconds of one core for one fit."""
        rows = min(shape.n_rows, self.most_rows)
        per_row = (4e-7 + 1.3e-7 * self.column_fraction * shape.n_columns) * (1 + shape.n_outputs / 40)
        per_tree = 1e-3 + rows * per_row
        return 0.1 + self.trees * (1 + 0.2 * len(self.leaf_rows)) * per_tree

    def within(self, seconds: float, shape: Shape) -> ForestMember:
        """The same member in at most ``seconds`` of one core and about 300 MB, if that is possible at all."""
        nodes = 0.45 * min(shape.n_rows, self.most_rows)
        most = min(self.trees, int(300e6 / (nodes * 8 * (8 + shape.n_outputs))))
        affordable = int(self.trees * seconds / self.cost_s(shape))
        return msgspec.structs.replace(self, trees=max(20, min(most, affordable)))

    def fit(self, dataset: Dataset, *, seed: int) -> Teacher:
        return fit_member(self, dataset, seed=seed)

    def fit_until(self, dataset: Dataset, stop_on: Dataset, *, seed: int) -> Teacher:
        return fit_member(self, dataset, seed=seed, stop_on=stop_on)

    def fit_whole(self, dataset: Dataset, *, seed: int) -> OutOfFoldTeacher:
        """Fit once; out of fold a row is answered by the trees whose bag it is not in."""
        seed, encoding, fold = fold_of(self, dataset, seed=seed)
        if fold.n_classes == 1:
            teacher = teacher_of(self, encoding, fold, certain, seed=seed)
            own = certain(fold.table)
        else:
            forest = self._chosen(fold, seed=seed, bagged=True)
            teacher = teacher_of(self, encoding, fold, self._answer(forest), seed=seed)
            own = _out_of_bag(forest)
        return Bagged.of(teacher, dataset, fold.scale.align(own))

    def learn(self, fold: Fold, *, seed: int) -> Answer:
        return self._answer(self._chosen(fold, seed=seed, bagged=False))

    def _answer(self, forest: Any) -> Answer:
        def answer(table: Table) -> NDArray[Any]:
            return _forest_answer(forest, table.ranked, self.threads)

        return answer

    def _chosen(self, fold: Fold, *, seed: int, bagged: bool) -> Any:
        """The forest on all of the fold's own rows, with the leaves that suit the rows set aside best."""
        leaf_rows = self.leaf_rows[0]
        if len(fold.check):
            few, checked = max(10, self.trees // 5), fold.table.ranked[fold.check]
            losses = []
            for rows in self.leaf_rows:
                forest = self._grown(fold, fold.learn, leaf_rows=rows, trees=few, seed=seed)
                losses.append(fold.check_loss(_forest_answer(forest, checked, self.threads)))
            leaf_rows = self.leaf_rows[int(np.argmin(losses))]
        every = np.arange(fold.n_own)
        return self._grown(fold, every, leaf_rows=leaf_rows, trees=self.trees, seed=seed, bagged=bagged)

    def _grown(
        self, fold: Fold, index: Ints, *, leaf_rows: int, trees: int, seed: int, bagged: bool = False
    ) -> Any:
        from sklearn import ensemble

        family = "ExtraTrees" if self.extra else "RandomForest"
        ends = "Classifier" if fold.n_classes else "Regressor"
        out_of_bag = bagged
        bagged = bagged or not self.extra or len(index) > self.most_rows
        forest = getattr(ensemble, family + ends)(
            n_estimators=trees,
            max_features=self.column_fraction,
            min_samples_leaf=leaf_rows,
            bootstrap=bagged,
            max_samples=min(1.0, self.most_rows / len(index)) if bagged else None,
            oob_score=out_of_bag,
            n_jobs=self.threads,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # Few rows of many classes look like values to scikit-learn; the task knows better.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            # A few rows may be in the bag of every tree; `_out_of_bag` sees to them.
            warnings.filterwarnings("ignore", "Some inputs do not have OOB scores", UserWarning)
            warnings.filterwarnings("ignore", "invalid value encountered in divide", RuntimeWarning)
            return forest.fit(fold.table.ranked[index], fold.labels[index], sample_weight=fold.weight[index])


def _out_of_bag(forest: Any) -> NDArray[Any]:
    """``(n, c)`` probabilities or ``(n,)`` values; a row all trees have seen gets the mean of the others."""
    regression = getattr(forest, "classes_", None) is None
    own = np.asarray(forest.oob_prediction_ if regression else forest.oob_decision_function_, np.float64)
    known = np.isfinite(own) & (own != 0) if regression else own.sum(axis=1) > 0
    own[~known] = own[known].mean(axis=0)
    if regression:
        return own
    # As in `_forest_answer`, for the third of the trees that have not seen a row.
    trees = 0.37 * len(forest.estimators_)
    return np.asarray((own * trees + 1 / own.shape[1]) / (trees + 1))


def _forest_answer(forest: Any, features: Floats, threads: int) -> NDArray[Any]:
    """Answers in parts, one a core: a forest of several jobs adds up its trees in the order they end."""
    parts = np.array_split(features, max(1, min(threads, len(features) // 500)))
    forest.set_params(n_jobs=1)
    if getattr(forest, "classes_", None) is None:
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(forest.predict, parts)))
    with ThreadPoolExecutor(threads) as pool:
        probs = np.concatenate(list(pool.map(forest.predict_proba, parts)))
    # As if one more tree knew nothing: no class is impossible because a few dozen trees have not seen it.
    trees = len(forest.estimators_)
    return np.asarray((probs * trees + 1 / probs.shape[1]) / (trees + 1))
