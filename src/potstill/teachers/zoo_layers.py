"""The networks of the default ensemble, in torch: inputs, layers, and the loop that trains them.

References
----------
Holzmüller, Grinsztajn, Steinwart 2024, "Better by Default" (arXiv:2407.04491): scaled linear layers, periodic
embeddings with a dense part and the number itself, a learnable scale of every input, no decay of the biases.
Gorishniy, Rubachev, Babenko 2022, "On Embeddings for Numerical Features in Tabular Deep Learning"
(arXiv:2203.05556): piecewise linear encoding.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from potstill.types import Doubles, Floats

_PREDICT_ROWS = 8192
_MASK_POOL = 1 << 21


class Dense(nn.Module):
    """A linear layer whose weights have unit variance and whose output is divided by ``√inputs``.

    Takes ``(n, inputs)``, or ``(heads, n, inputs)`` for several heads, each with weights of its own.
    """

    def __init__(
        self, inputs: int, outputs: int, heads: int, draws: torch.Generator, *, spread: float = 1.0
    ) -> None:
        super().__init__()
        lead = () if heads == 1 else (heads,)
        self.weight = nn.Parameter(spread * torch.randn(*lead, inputs, outputs, generator=draws))
        self.bias = nn.Parameter(torch.zeros(outputs) if heads == 1 else torch.zeros(heads, 1, outputs))
        self.gain = 1 / math.sqrt(max(inputs, 1))

    def forward(self, values: Tensor) -> Tensor:
        multiply = torch.addmm if self.weight.dim() == 2 else torch.baddbmm
        return multiply(self.bias, values, self.weight, alpha=self.gain)


class Periodic(nn.Module):
    """``(n, F)`` numbers to ``(n, 4F)``: each number, and three mixtures of cosines of it."""

    def __init__(
        self,
        columns: int,
        frequencies: tuple[float, float],
        draws: torch.Generator,
        *,
        waves: int = 16,
        mixtures: int = 3,
    ) -> None:
        super().__init__()
        low, high = frequencies
        sigma = torch.logspace(math.log10(low), math.log10(high), waves)
        self.frequency = nn.Parameter(2 * math.pi * sigma * torch.randn(columns, waves, generator=draws))
        self.phase = nn.Parameter(math.pi * (2 * torch.rand(columns, waves, generator=draws) - 1))
        self.weight = nn.Parameter(torch.randn(columns, waves, mixtures, generator=draws) / math.sqrt(waves))
        self.bias = nn.Parameter(torch.zeros(columns, mixtures))
        self.outputs = columns * (1 + mixtures)

    def forward(self, numbers: Tensor) -> Tensor:
        waves = torch.cos(numbers[:, :, None] * self.frequency + self.phase)
        mixed = torch.bmm(waves.transpose(0, 1), self.weight).transpose(0, 1) + self.bias
        return torch.cat([numbers[:, :, None], mixed], dim=2).flatten(1)


class Binned(nn.Module):
    """``(n, F)`` numbers to the place of each in each of its bins, 0 below to 1 above."""

    low: Tensor
    width: Tensor
    column: Tensor

    def __init__(self, edges: Sequence[Doubles]) -> None:
        super().__init__()
        columns = [np.full(len(edge) - 1, position) for position, edge in enumerate(edges)]
        self.register_buffer(
            "low", torch.tensor(np.concatenate([e[:-1] for e in edges]), dtype=torch.float32)
        )
        self.register_buffer(
            "width", torch.tensor(np.concatenate([np.diff(e) for e in edges]), dtype=torch.float32)
        )
        self.register_buffer("column", torch.tensor(np.concatenate(columns)))
        self.outputs = len(self.low)

    def forward(self, numbers: Tensor) -> Tensor:
        return ((numbers[:, self.column] - self.low) / self.width).clamp(0, 1)


@dataclass(frozen=True)
class Layout:
    """What a `Network` is made of.

    Parameters
    ----------
    columns
        Numbers of a row.
    cardinalities
        Level ids of each category.
    edges
        Bins of each number; empty for periodic embeddings.
    frequencies
        Typical lowest and highest frequency of periodic embeddings, in waves per standard deviation.
    outputs
        Logits, or 1 for a value.
    width, depth
        Of the hidden layers.
    heads
        How many networks share the inputs, side by side.
    dropout
        Share of hidden values that a step leaves out.
    """

    columns: int
    cardinalities: tuple[int, ...]
    edges: tuple[Doubles, ...]
    frequencies: tuple[float, float]
    outputs: int
    width: int
    depth: int
    heads: int
    dropout: float


class Network(nn.Module):
    """Embedded numbers and categories, hidden layers, logits ``(n, outputs)`` or ``(heads, n, outputs)``.

    All that is random comes from ``draws``, never from torch's own generator, so that networks can be trained
    at the same time in several threads and are still the same.
    """

    def __init__(self, layout: Layout, draws: torch.Generator) -> None:
        super().__init__()
        self.numbers: Periodic | Binned | None = None
        width = 0
        if layout.columns:
            self.numbers = (
                Binned(layout.edges) if layout.edges else Periodic(layout.columns, layout.frequencies, draws)
            )
            width = self.numbers.outputs
        self.categories = nn.ModuleList(
            nn.Embedding(c, min(8, c), _weight=torch.randn(c, min(8, c), generator=draws))
            for c in layout.cardinalities
        )
        width += sum(min(8, c) for c in layout.cardinalities)
        self.scale = nn.Parameter(torch.ones(width))
        widths = [width] + [layout.width] * layout.depth
        self.hidden = nn.ModuleList(Dense(a, b, layout.heads, draws) for a, b in itertools.pairwise(widths))
        self.out = Dense(layout.width, layout.outputs, layout.heads, draws, spread=0.05)
        self.heads, self.dropout, self.draws = layout.heads, layout.dropout, draws
        # Drawing a fresh mask costs more than the layer it is for; a window of a long one costs nothing.
        self.masks = (torch.rand(_MASK_POOL, generator=draws) >= layout.dropout).float() / (
            1 - layout.dropout
        )

    def forward(self, numbers: Tensor, ids: Tensor) -> Tensor:
        parts = [] if self.numbers is None else [self.numbers(numbers)]
        parts += [embedding(ids[:, column]) for column, embedding in enumerate(self.categories)]
        values = torch.cat(parts, dim=1) * self.scale
        if self.heads > 1:
            values = values.expand(self.heads, -1, -1)
        for layer in self.hidden:
            values = functional.silu(layer(values))
            if self.training and self.dropout:
                values = values * self._mask(values)
        logits: Tensor = self.out(values)
        return logits

    def _mask(self, values: Tensor) -> Tensor:
        size = values.numel()
        first = int(torch.randint(0, len(self.masks) - size, (), generator=self.draws))
        return self.masks[first : first + size].view(values.shape)


@dataclass(frozen=True)
class Training:
    """How a `Network` is trained: AdamW, one warm-up and one cosine, the best epoch kept.

    Parameters
    ----------
    epochs, batch
        Passes over the rows, rows of one step.
    learning_rate, weight_decay
        Of the dense weights.
    """

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as a `Network` takes them."""

    numbers: Tensor
    ids: Tensor

    @classmethod
    def of(cls, numbers: Floats, ids: NDArray[np.int64]) -> Rows:
        return cls(
            torch.from_numpy(np.ascontiguousarray(numbers)), torch.from_numpy(np.ascontiguousarray(ids))
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, index: Tensor | slice) -> Rows:
        return Rows(self.numbers[index], self.ids[index])


def train(network: Network, rows: Rows, labels: Tensor, weight: Tensor, training: Training) -> Iterator[int]:
    """Train on ``rows``; yield after every epoch how many are done."""
    optimiser = _optimiser(network, training)
    rates = [group["lr"] for group in optimiser.param_groups]
    n = len(rows)
    batch = min(training.batch, n)
    steps = training.epochs * (n // batch)
    step = 0
    for epoch in range(training.epochs):
        network.train()
        order = torch.randperm(n, generator=network.draws)
        for first in range(0, n - batch + 1, batch):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * _schedule(step / steps)
            chosen = order[first : first + batch]
            part = rows.take(chosen)
            loss = _loss(network(part.numbers, part.ids), labels[chosen], weight[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            step += 1
        yield epoch + 1


def answers(network: Network, rows: Rows, *, probabilities: bool) -> Floats:
    """``(n, c)`` probabilities, averaged over the heads, or ``(n, 1)`` values."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for first in range(0, len(rows), _PREDICT_ROWS):
            part = rows.take(slice(first, first + _PREDICT_ROWS))
            raw = network(part.numbers, part.ids)
            head_answers = raw.softmax(dim=-1) if probabilities else raw
            parts.append(head_answers.mean(dim=0) if raw.dim() == 3 else head_answers)
    return torch.cat(parts).numpy()


def state(network: Network) -> dict[str, Tensor]:
    """A copy of all that training changes."""
    return copy.deepcopy(network.state_dict())


def _optimiser(network: Network, training: Training) -> torch.optim.Optimizer:
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault(_relative_rate(name), []).append(parameter)
    rate = training.learning_rate
    decay = {1.0: training.weight_decay}
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate * relative, "weight_decay": decay.get(relative, 0.0)}
            for relative, parameters in groups.items()
        ],
        betas=(0.9, 0.95),
        fused=True,
    )


def _relative_rate(name: str) -> float:
    """Learning rate of a parameter relative to that of the dense weights."""
    if name == "scale":
        return 6.0
    if name.startswith(("hidden", "out")):
        return 1.0 if name.endswith("weight") else 0.1
    return 0.1 if name.endswith(("bias", "frequency", "phase")) else 0.3


def _schedule(share: float) -> float:
    """Factor of the learning rates: up over the first twentieth, down along a cosine."""
    if share < 0.05:
        return share / 0.05
    return 0.5 * (1 + math.cos(math.pi * (share - 0.05) / 0.95))


def _loss(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the heads' losses, not the loss of their mean: no head may lean on another."""
    if logits.dim() == 3:
        labels, weight = labels.repeat(len(logits)), weight.repeat(len(logits))
        logits = logits.flatten(0, 1)
    if labels.is_floating_point():
        losses = (logits[:, 0] - labels) ** 2
    else:
        losses = functional.cross_entropy(logits, labels, reduction="none")
    return (losses * weight).mean()
