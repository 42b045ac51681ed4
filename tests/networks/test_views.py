"""Views of pictures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from potstill.networks import views


def pictures(n: int = 6, height: int = 5, width: int = 7) -> Tensor:
    return torch.arange(n * height * width * 3, dtype=torch.int32).reshape(n, height, width, 3)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_unmoved_pictures_are_those_asked_for() -> None:
    rows = torch.tensor([3, 0, 3])
    assert torch.equal(views.moved(pictures(), rows, shift=0, flips=False, draws=draws()), pictures()[rows])


def test_half_of_the_pictures_are_mirrored() -> None:
    rows = torch.zeros(200, dtype=torch.int64)
    seen = views.moved(pictures(), rows, shift=0, flips=True, draws=draws())
    plain = (seen == pictures()[0]).all(dim=(1, 2, 3))
    mirrored = (seen == pictures()[0].flip(1)).all(dim=(1, 2, 3))
    assert (plain ^ mirrored).all()
    assert 70 < int(plain.sum()) < 130


def test_shifts_go_everywhere_and_reflect_at_the_edge() -> None:
    rows = torch.zeros(400, dtype=torch.int64)
    seen = views.moved(pictures(), rows, shift=2, flips=False, draws=draws())
    assert len(torch.unique(seen.flatten(1), dim=0)) == 25
    down = pictures()[0][[2, 1, 0, 1, 2]]
    assert (seen == down).all(dim=(1, 2, 3)).any()


def test_warped_by_nothing_a_picture_stays_as_it_is() -> None:
    given = pictures(2).to(torch.uint8)
    assert torch.equal(views.warped(given, shift=0, turn=0, zoom=0, draws=draws()), given)


def test_shifts_are_by_whole_pixels_and_reflect_at_the_edge() -> None:
    many = pictures()[:1].to(torch.uint8).repeat(400, 1, 1, 1)
    seen = views.warped(many, shift=0.2, turn=0, zoom=0, draws=draws())
    assert len(torch.unique(seen.flatten(1), dim=0)) == 9
    assert (seen == many[0][[1, 2, 3, 4, 4]]).all(dim=(1, 2, 3)).any()


def test_a_zoomed_or_turned_edge_is_elsewhere() -> None:
    bright = torch.zeros(200, 16, 16, 1, dtype=torch.uint8)
    bright[:, 4:12, 4:12] = 200
    zoomed = (views.warped(bright, shift=0, turn=0, zoom=0.3, draws=draws()) > 100).sum(dim=(1, 2, 3))
    assert 36 <= zoomed.min() < 64 < zoomed.max() <= 128
    corner = bright.clone()
    corner[:, 8:, :] = 0
    turned = views.warped(corner, shift=0, turn=30, zoom=0, draws=draws()).float()
    left, right = turned[:, :, :8].sum(dim=(1, 2, 3)), turned[:, :, 8:].sum(dim=(1, 2, 3))
    assert (turned[:, 8:] > 100).any()
    assert torch.allclose(left.mean(), right.mean(), rtol=0.1)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2)])
def test_tiny_pictures_can_be_warped(size: tuple[int, int]) -> None:
    seen = views.warped(pictures(2, *size).to(torch.uint8), shift=0.5, turn=10, zoom=0.2, draws=draws())
    assert seen.shape == (2, *size, pictures().shape[3])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2)])
def test_tiny_pictures_can_be_moved(size: tuple[int, int]) -> None:
    given = pictures(2, *size)
    seen = views.moved(given, torch.tensor([0, 1]), shift=1, flips=True, draws=draws())
    assert seen.shape == given.shape
    assert torch.isin(seen[1], given[1]).all()


def test_mixtures_have_their_shares() -> None:
    mixed = views.mixed(torch.full((2, 4, 4, 1), 200), torch.zeros(2, 4, 4, 1), torch.tensor([1.0, 0.25]))
    assert mixed.amin(dim=(1, 2, 3)).tolist() == mixed.amax(dim=(1, 2, 3)).tolist() == [200.0, 50.0]


def test_what_is_left_of_a_pasted_picture_is_told() -> None:
    share = torch.linspace(0, 1, 50)
    ones = torch.ones(50, 8, 12, 1)
    pasted, left = views.pasted(ones, 0 * ones, share, draws=draws())
    assert torch.allclose(pasted.mean(dim=(1, 2, 3)), left)
    assert (left - share).abs().max() < 0.15
    assert (left[0], left[-1]) == (0, 1)
