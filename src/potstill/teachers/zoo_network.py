"""Network members of the default ensemble: numbers made comparable, embedded, and a few dense layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.teachers.zoo_encoding import Table
from potstill.teachers.zoo_member import Answer, Fold, Shape, fingerprint, fit_member
from potstill.types import Dataset, Doubles, Floats, Ints, Teacher

if TYPE_CHECKING:
    from potstill.teachers.zoo_layers import Network, Rows


class NetworkMember(msgspec.Struct, frozen=True, kw_only=True):
    """A multilayer perceptron, or several side by side that share their inputs.

    Parameters
    ----------
    name
        Name in the ensemble.
    numbers
        How numbers are embedded: ``periodic`` (mixtures of cosines) or ``binned`` (piecewise linear).
    frequencies
        Lowest and highest of periodic embeddings: low for trends, high for detail (as in a longitude).
    width, depth, heads
        Of the hidden layers; ``heads`` networks side by side.
    learning_rate, dropout, weight_decay
        Of the training; high, low and low for clean labels, the other way round for noisy ones.
    batch
        Rows of one step; fewer when there are few rows.
    epochs
        With all the time in the world; `within` takes fewer.
    threads
        Cores to use.
    """

    name: str
    numbers: Literal["periodic", "binned"]
    frequencies: tuple[float, float] = (0.1, 0.1)
    width: int = 256
    depth: int = 3
    heads: int = 1
    learning_rate: float = 0.04
    dropout: float = 0.15
    weight_decay: float = 0.01
    batch: int = 256
    epochs: int = 60
    threads: int = 1

    @property
    def fingerprint(self) -> str:
        import torch

        return fingerprint(self, torch)

    def cost_s(self, shape: Shape) -> float:
        """Seconds of one core for one fit."""
        width = 4 if self.numbers == "periodic" else self._bins(shape.n_rows)
        inputs = width * shape.n_numeric + 8 * shape.n_categorical
        weights = self.width * (inputs + (self.depth - 1) * self.width + shape.n_outputs)
        embedding = (3.5e-7 if self.numbers == "periodic" else 1e-8 * width) * shape.n_numeric
        per_row = 8e-11 * self.heads * weights + embedding + 1e-8 * self.heads * self.width * self.depth
        batch = self._batch(shape.n_rows)
        per_step = 1.5e-3 + 1.5e-9 * self.heads * weights + 2e-5 * shape.n_categorical + batch * per_row
        return 0.2 + self.epochs * max(1, 0.9 * shape.n_rows // batch) * per_step

    def within(self, seconds: float, shape: Shape) -> NetworkMember:
        """The same member in at most ``seconds`` of one core, if that is possible at all."""
        epochs = min(self.epochs, int(self.epochs * seconds / self.cost_s(shape)))
        return msgspec.structs.replace(self, epochs=max(2, epochs))

    def fit(self, dataset: Dataset, *, seed: int) -> Teacher:
        return fit_member(self, dataset, seed=seed)

    def fit_until(self, dataset: Dataset, stop_on: Dataset, *, seed: int) -> Teacher:
        return fit_member(self, dataset, seed=seed, stop_on=stop_on)

    def learn(self, fold: Fold, *, seed: int) -> Answer:
        from potstill.networks.precision import cores
        from potstill.teachers import zoo_layers as layers

        scaler = Scaler.fit(fold.table.numeric[fold.learn])
        rows = layers.Rows.of(scaler.scale(fold.table.numeric), fold.table.categorical)
        with cores(self.threads):
            network = self._trained(fold, rows, seed)

        def answer(table: Table) -> NDArray[Any]:
            asked = layers.Rows.of(scaler.scale(table.numeric), table.categorical)
            with cores(self.threads):
                return layers.answers(network, asked, probabilities=fold.n_classes > 0)

        return answer

    def _trained(self, fold: Fold, rows: Rows, seed: int) -> Network:
        """The network at its best epoch on the rows set aside, at its last where there are none."""
        import torch

        from potstill.teachers import zoo_layers as layers

        index, check = torch.from_numpy(fold.learn), rows.take(torch.from_numpy(fold.check))
        learn = rows.take(index)
        labels = torch.from_numpy(fold.labels if fold.n_classes else fold.labels.astype(np.float32))
        weight = torch.from_numpy(fold.weight.astype(np.float32))
        numbers = learn.numbers.numpy()
        network = layers.Network(
            layers.Layout(
                columns=numbers.shape[1],
                cardinalities=fold.table.cardinalities,
                edges=_edges(numbers, self._bins(fold.n_own)) if self.numbers == "binned" else (),
                frequencies=self.frequencies,
                outputs=max(1, fold.n_classes),
                width=self.width,
                depth=self.depth,
                heads=self.heads,
                dropout=self.dropout,
            ),
            torch.Generator().manual_seed(seed),
        )
        training = layers.Training(
            epochs=self.epochs,
            batch=self._batch(fold.n_own),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        best, best_state = np.inf, layers.state(network)
        for epoch in layers.train(network, learn, labels[index], weight[index], training):
            if len(check) and (epoch >= 0.4 * self.epochs or epoch % 4 == 0):
                loss = fold.check_loss(layers.answers(network, check, probabilities=fold.n_classes > 0))
                if loss < best:
                    best, best_state = loss, layers.state(network)
        if best < np.inf:
            network.load_state_dict(best_state)
        return network.eval()

    def _batch(self, n_rows: int) -> int:
        return int(min(self.batch, max(32, 2 ** int(np.log2(max(n_rows / 12, 1))))))

    def _bins(self, n_rows: int) -> int:
        return int(np.clip(n_rows // 100, 4, 32))


@dataclass(frozen=True, eq=False)
class Scaler:
    """Numbers to a normal distribution by their quantiles, whatever their unit, tails and infinities.

    Parameters
    ----------
    quantiles
        For each column values, ascending, and what each becomes; between them it is linear.
    flagged
        Columns with missing values in the fitted rows: each adds a column of 0 and 1.
    """

    quantiles: tuple[tuple[Doubles, Doubles], ...]
    flagged: Ints

    @classmethod
    def fit(cls, numbers: Floats) -> Scaler:
        """Fit on ``(n, F)`` float32, NaN where missing."""
        absent = np.isnan(numbers)
        columns = [_quantiles(column[~gone]) for column, gone in zip(numbers.T, absent.T, strict=True)]
        return cls(tuple(columns), np.flatnonzero(absent.any(axis=0) & ~absent.all(axis=0)))

    def scale(self, numbers: Floats) -> Floats:
        """``(n, F)`` with NaN to ``(n, F + flagged)`` float32 without: missing becomes 0, the median."""
        absent = np.isnan(numbers)
        scaled = np.empty((len(numbers), len(self.quantiles) + len(self.flagged)), np.float32)
        for column, (values, becomes) in enumerate(self.quantiles):
            scaled[:, column] = np.where(
                absent[:, column], 0.0, np.interp(numbers[:, column], values, becomes)
            )
        scaled[:, len(self.quantiles) :] = absent[:, self.flagged]
        return scaled


def _quantiles(values: Floats) -> tuple[Doubles, Doubles]:
    """Values at up to a thousand quantiles, and the standardised normal scores of their ranks."""
    if len(values) == 0:
        return np.zeros(1), np.zeros(1)
    from scipy.special import ndtri

    ordered = np.sort(values.astype(np.float64))
    picked = ordered[np.unique(np.linspace(0, len(ordered) - 1, 1000).astype(np.int64))]
    knots = np.unique(picked)
    middle = (np.searchsorted(picked, knots, "left") + np.searchsorted(picked, knots, "right")) / (
        2 * len(picked)
    )
    scores = ndtri(np.clip(middle, 1e-3, 1 - 1e-3))
    spread = float(np.std(np.interp(ordered, knots, scores))) or 1.0
    center = float(np.mean(np.interp(ordered, knots, scores)))
    return knots, (scores - center) / spread


def _edges(scaled: Floats, bins: int) -> tuple[Doubles, ...]:
    """For each column the edges of at most ``bins`` bins.

    They hold about as many rows each; where a value repeats (many zeros, say) that gives fewer bins, and the
    rest go to the other values by their own quantiles.
    """
    edges = []
    for column in scaled.astype(np.float64).T:
        values = np.unique(column)
        found = np.unique(np.quantile(column, np.linspace(0, 1, bins + 1)))
        if len(found) <= bins:
            found = np.union1d(found, np.quantile(values, np.linspace(0, 1, bins + 2 - len(found))))
        edges.append(found if len(found) > 1 else np.array([found[0], found[0] + 1.0]))
    return tuple(edges)
