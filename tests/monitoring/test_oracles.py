"""River's and evidently's detectors on the same values; evidently only where it is installed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from river import drift

from potstill.monitoring.counting import NumberBins
from potstill.monitoring.reference import equal_mass_edges
from potstill.monitoring.statistics import jensen_shannon, kolmogorov_smirnov, psi


def counted(reference, live):
    bins = NumberBins(np.array(equal_mass_edges(reference, 20)))
    return bins.count(reference)[:-2], bins.count(live)[:-2]


@pytest.mark.parametrize(("shift", "drifts"), [(0.0, False), (0.1, False), (1.0, True)])
def test_rivers_sliding_ks_test_sees_drift_where_ours_does(shift, drifts):
    rng = np.random.default_rng(11)
    before, after = rng.normal(size=2000), rng.normal(shift, size=200)
    detector = drift.KSWIN(alpha=1e-4, window_size=1200, stat_size=200, seed=1)
    for value in [*before, *after]:
        detector.update(float(value))
    assert bool(detector.p_value < 1e-4) is drifts
    assert bool(kolmogorov_smirnov(*counted(before, after))[1] < 1e-4) is drifts


@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0])
def test_psi_and_jensen_shannon_are_evidentlys(shift):
    stattests = pytest.importorskip("evidently.legacy.calculations.stattests", exc_type=ImportError)
    from evidently.legacy.core import ColumnType

    rng = np.random.default_rng(5)
    levels = [f"level {place}" for place in range(12)]
    weight = np.exp(-np.arange(12) / 6)
    moved = np.roll(weight, 1) * shift + weight
    first = rng.choice(12, 20_000, p=weight / weight.sum())
    second = rng.choice(12, 20_000, p=moved / moved.sum())
    series = [pd.Series([levels[place] for place in each]) for each in (first, second)]
    ours = [np.bincount(each, minlength=12) for each in (first, second)]
    theirs = {
        "psi": stattests.psi_stat_test(*series, ColumnType.Categorical, 0.1).drift_score,
        "js": stattests.jensenshannon_stat_test(*series, ColumnType.Categorical, 0.1).drift_score,
    }
    assert psi(*ours) == pytest.approx(theirs["psi"], abs=1e-4)
    # evidently's is by the natural logarithm, ours in bits
    assert jensen_shannon(*ours) == pytest.approx(theirs["js"] / np.sqrt(np.log(2)), abs=1e-4)
