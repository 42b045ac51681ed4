"""Convolutional networks: what is computed another way is the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from potstill.networks.convolution import Layer, forward, initial_weights


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 1), (3, 4), (4, 4), (6, 5)])
def test_a_convolution_of_few_places_is_what_it_is_of_many(size: tuple[int, int], stride: int) -> None:
    draws = torch.Generator().manual_seed(0)
    layers = [Layer(5, 7, stride=stride)]
    weights = initial_weights(layers, np.zeros(3, np.float32), draws)
    planes = torch.randn(4, 5, *size, generator=draws)

    plain, learning = (forward(layers, weights, planes, learning=each) for each in (False, True))

    def expected(normalised: Callable[[Tensor], Tensor]) -> Tensor:
        found = normalised(functional.conv2d(planes, weights["kernel0"], None, stride, 1)).relu()
        return found.mean(dim=(2, 3)) @ weights["logit_weight"]

    def by_batch(values: Tensor) -> Tensor:
        return functional.batch_norm(values, None, None, training=True)

    torch.testing.assert_close(
        plain, expected(lambda values: values / (1 + 1e-5) ** 0.5), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(learning, expected(by_batch), rtol=1e-4, atol=1e-5)
