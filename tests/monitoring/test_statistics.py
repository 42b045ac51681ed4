"""The statistics against scipy's, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from scipy.spatial import distance

from potstill.monitoring.statistics import (
    chi2,
    chi2_sf,
    jensen_shannon,
    kolmogorov_sf,
    kolmogorov_smirnov,
    psi,
    share_rise,
)

counts = st.lists(st.integers(0, 5000), min_size=2, max_size=30)


@st.composite
def two_counts(draw):
    first = np.array(draw(counts))
    second = np.array(draw(st.lists(st.integers(0, 5000), min_size=len(first), max_size=len(first))))
    return first, second


@given(two_counts())
def test_jensen_shannon_is_scipys(pair):
    reference, live = pair
    if reference.sum() and live.sum():
        # both take the root of a difference that rounding may leave anywhere below 1e-15
        assert jensen_shannon(reference, live) == pytest.approx(
            float(np.nan_to_num(distance.jensenshannon(reference, live, base=2))), abs=1e-7
        )


@given(two_counts())
def test_kolmogorov_smirnov_is_scipys_on_the_bins(pair):
    reference, live = pair
    if not reference.sum() or not live.sum():
        return
    bins = np.arange(len(reference))
    exact = stats.ks_2samp(np.repeat(bins, reference), np.repeat(bins, live), method="asymp")
    found, p = kolmogorov_smirnov(reference, live)
    assert found == pytest.approx(exact.statistic, abs=1e-12)
    n, m = reference.sum(), live.sum()
    assert p == pytest.approx(special.kolmogorov(found * math.sqrt(n * m / (n + m))), abs=1e-10)


@given(two_counts())
def test_chi2_is_scipys_where_no_bin_is_small(pair):
    reference, live = pair[0] + 5000, pair[1] + 5000
    exact = stats.chi2_contingency(np.stack([reference, live]), correction=False)
    found, p = chi2(reference, live)
    assert found == pytest.approx(exact.statistic, rel=1e-9, abs=1e-9)
    assert p == pytest.approx(exact.pvalue, rel=1e-6, abs=1e-12)


def test_chi2_pools_bins_of_which_few_are_expected():
    reference, live = np.array([900, 1, 800, 2, 1]), np.array([450, 0, 420, 9, 0])
    exact = stats.chi2_contingency([[900, 800, 4], [450, 420, 9]], correction=False)
    assert exact.expected_freq.min() < 5
    pooled = stats.chi2_contingency([[900, 804], [450, 429]], correction=False)
    assert chi2(reference, live) == pytest.approx((pooled.statistic, pooled.pvalue))


@pytest.mark.parametrize("degrees", [1, 2, 5, 19, 100, 500])
@pytest.mark.parametrize("times", [0.01, 0.5, 0.99, 1.0, 1.2, 3.0, 20.0])
def test_tail_of_chi2_is_scipys(degrees, times):
    exact = stats.chi2.sf(degrees * times, degrees)
    assert chi2_sf(degrees * times, degrees) == pytest.approx(exact, rel=1e-8, abs=1e-14)


@pytest.mark.parametrize("scaled", [0.0, 0.1, 0.2, 0.3, 0.7, 1.3, 2.5, 9.0])
def test_tail_of_kolmogorov_is_scipys(scaled):
    assert kolmogorov_sf(scaled) == pytest.approx(special.kolmogorov(scaled), abs=1e-12)


def test_psi_is_its_formula():
    reference, live = np.array([4000, 3000, 3000]), np.array([1000, 500, 500])
    p, q = (reference + 0.5) / 10_001.5, (live + 0.5) / 2_001.5
    assert psi(reference, live) == pytest.approx(float(sum((q - p) * np.log(q / p))))
    assert psi(reference, 3 * reference) == pytest.approx(0.0, abs=1e-7)


@given(two_counts())
def test_psi_and_jensen_shannon_do_not_care_who_is_first_and_are_never_negative(pair):
    reference, live = pair
    if reference.sum() and live.sum():
        assert psi(reference, live) == pytest.approx(psi(live, reference))
        assert psi(reference, live) >= 0.0
        assert 0.0 <= jensen_shannon(reference, live) <= 1.0 + 1e-12


def test_nothing_is_said_of_an_empty_side():
    none, some = np.zeros(3, np.int64), np.array([1, 2, 3])
    for first, second in ((none, some), (some, none)):
        assert math.isnan(psi(first, second))
        assert math.isnan(jensen_shannon(first, second))
        assert all(map(math.isnan, kolmogorov_smirnov(first, second)))
        assert all(map(math.isnan, chi2(first, second)))
    assert all(map(math.isnan, share_rise(0, 0, 1, 5)))


def test_one_bin_cannot_differ():
    assert chi2(np.array([10]), np.array([500])) == (0.0, 1.0)


def test_a_risen_share_is_the_z_test():
    rise, p = share_rise(50, 1000, 40, 400)
    pooled = 90 / 1400
    z = (0.1 - 0.05) / math.sqrt(pooled * (1 - pooled) * (1 / 1000 + 1 / 400))
    assert (rise, p) == (pytest.approx(0.05), pytest.approx(stats.norm.sf(z)))
    assert share_rise(0, 1000, 0, 10) == (0.0, 1.0)
    assert share_rise(50, 1000, 0, 400)[1] > 0.99
