"""The clock of a search."""

from __future__ import annotations

import pytest

from potstill.training.pace import Pace


@pytest.mark.parametrize(("workers", "n_fits", "each_s"), [(1, 2, 50), (2, 2, 100), (2, 3, 50), (4, 1, 100)])
def test_fits_that_are_to_last_until_the_end_share_it(workers: int, n_fits: int, each_s: float) -> None:
    """On fewer cores than fits they are done in turn: all of them must be done in time."""
    pace = Pace(100.0, workers)
    assert pace.rest_s(n_fits) == pytest.approx(each_s, abs=1)
    with pace.sharing(0.5):
        assert pace.rest_s(n_fits) == pytest.approx(each_s / 2, abs=1)


def test_without_a_limit_no_fit_has_one() -> None:
    assert Pace(None, 1).rest_s(2) is None
