"""The gap recovered over several sets, in cases that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.evaluation import SetLosses, bootstrap_gap, pooled_gap

NO_TEACHER_IS_BETTER = (
    "On none of the sets is the teacher provably better than the twin: there is no gap to recover."
)


def constant(teacher, twin, student, n=20, **more):
    return SetLosses(*(np.full(n, loss) for loss in (teacher, twin, student)), **more)


def noisy(n=400, edge=0.3, gain=0.2, seed=0):
    rng = np.random.default_rng(seed)
    twin = rng.exponential(size=n)
    return SetLosses(twin - edge + 0.1 * rng.normal(size=n), twin, twin - gain + 0.1 * rng.normal(size=n))


def test_each_set_counts_by_its_relative_improvement():
    """Edges .5 and .2 of the twin's loss, gains .25 and .2: (.25 + .2) / (.5 + .2)."""
    pooled = pooled_gap({"small": constant(0.5, 1.0, 0.75), "large": constant(8.0, 10.0, 8.0)}, n=20)
    assert pooled.value == pytest.approx(0.45 / 0.7)
    assert (pooled.edge.value, pooled.gain.value) == pytest.approx((0.35, 0.225))
    assert pooled.sets["large"].edge.value == pytest.approx(0.2)
    # Rows that are all alike leave nothing to chance, but which sets there are does.
    assert (pooled.over_rows.low, pooled.over_rows.high) == pytest.approx((pooled.value, pooled.value))
    assert (pooled.over_sets.low, pooled.over_sets.high) == pytest.approx((0.5, 1.0))
    assert pooled.reason == ""


def test_plain_differences_have_the_losses_unit():
    pooled = pooled_gap(
        {"small": constant(0.5, 1.0, 0.75), "large": constant(8.0, 10.0, 8.0)}, relative=False, n=20
    )
    assert pooled.value == pytest.approx(2.25 / 2.5)


def test_the_number_of_rows_does_not_count():
    few, many = constant(0.5, 1.0, 0.75, n=2), constant(8.0, 10.0, 8.0, n=5000)
    assert pooled_gap({"few": few, "many": many}, n=20).value == pytest.approx(0.45 / 0.7)


def test_roots_are_taken_where_asked():
    pooled = pooled_gap({"squares": constant(4.0, 16.0, 9.0, root=True)}, n=20)
    assert pooled.value == pytest.approx(0.5)
    assert pooled.edge.value == pytest.approx(0.5)


def test_one_set_is_its_own_gap():
    losses = noisy()
    alone = bootstrap_gap(losses.teacher, losses.twin, losses.student, n=500)
    pooled = pooled_gap({"one": losses}, n=500)
    assert pooled.value == pytest.approx(alone.value)
    assert (pooled.over_rows.low, pooled.over_rows.high) == pytest.approx((alone.low, alone.high))


def test_weights_and_groups_are_heard():
    weight = np.r_[np.ones(20), np.zeros(20)]
    two = SetLosses(*(np.r_[np.full(20, a), np.full(20, 7.0)] for a in (0.5, 1.0, 0.75)), weight=weight)
    assert pooled_gap({"two": two}, n=20).value == pytest.approx(0.5)
    losses = noisy(200)
    copies = [np.repeat(column, 10) for column in (losses.teacher, losses.twin, losses.student)]
    rows = pooled_gap({"copies": SetLosses(*copies)}, n=500).over_rows
    whole = pooled_gap({"copies": SetLosses(*copies, groups=np.repeat(np.arange(200), 10))}, n=500).over_rows
    assert rows.high - rows.low < 0.5 * (whole.high - whole.low)


def test_noise_on_every_set_has_no_answer():
    same = np.random.default_rng(0).random(50)
    pooled = pooled_gap(
        {
            "worse": constant(1.2, 1.0, 0.9),
            "equal": SetLosses(same, same, same - 0.1),
            "rounding": SetLosses(same - 1e-17, same, same - 0.1),
        },
        n=50,
    )
    assert (pooled.value, pooled.over_rows, pooled.over_sets) == (None, None, None)
    assert pooled.reason == NO_TEACHER_IS_BETTER
    assert all(share.edge_is_noise for share in pooled.sets.values())
    assert pooled.gain.value > 0.0


def test_one_proven_edge_that_others_undo_has_no_answer():
    pooled = pooled_gap({"won": constant(0.9, 1.0, 0.9), "lost": constant(1.3, 1.0, 1.0)}, n=50)
    assert pooled.value is None
    assert not pooled.sets["won"].edge_is_noise
    assert pooled.reason == (
        "Over all sets the teacher is not provably better than the twin: there is no gap to recover."
    )


def test_a_lost_set_among_few_leaves_no_interval_over_sets():
    """Drawn twice, it undoes the edge: one draw in four."""
    pooled = pooled_gap({"won": constant(0.5, 1.0, 0.6), "lost": constant(1.1, 1.0, 1.0)}, n=400)
    assert pooled.value == pytest.approx(1.0)
    assert pooled.over_rows is not None
    assert pooled.over_sets is None


def test_a_twin_without_loss_is_left_out_and_named():
    pooled = pooled_gap({"perfect": constant(0.0, 0.0, 0.1), "one": constant(0.5, 1.0, 0.75)}, n=20)
    assert pooled.left_out == ("perfect",)
    assert pooled.value == pytest.approx(0.5)
    with pytest.raises(
        ValueError, match="Wanted at least one set on which the twin loses something, got none"
    ):
        pooled_gap({"perfect": constant(0.0, 0.0, 0.1)}, n=20)


def test_a_set_of_hardly_any_errors_does_not_outweigh_the_others():
    nearly, other = constant(3e-4, 1e-8, 1e-8, floor=0.01), constant(0.5, 1.0, 0.75)
    pooled = pooled_gap({"nearly": nearly, "other": other}, n=20)
    assert pooled.sets["nearly"].edge.value == pytest.approx(-0.03, rel=1e-3)
    assert pooled.value == pytest.approx(0.25 / 0.47, rel=1e-3)
    assert pooled_gap({"floor": constant(0.5, 1.0, 0.75, floor=0.01)}, n=20).edge.value == pytest.approx(0.5)


def test_the_interval_covers_the_true_ratio_as_often_as_it_says():
    """Relative edges .3 and .1 and gains .2 and .1 in expectation: .3 / .4."""
    hits = 0
    for seed in range(150):
        sets = {"a": noisy(300, 0.3, 0.2, seed), "b": noisy(300, 0.1, 0.1, 1000 + seed)}
        gap = pooled_gap(sets, n=300, seed=seed).over_rows
        hits += gap.low <= 0.75 <= gap.high
    assert 135 <= hits <= 149


def test_the_same_seed_gives_the_same_answer():
    sets = {"a": noisy(seed=1), "b": noisy(seed=2)}
    assert pooled_gap(sets, n=100, seed=5) == pooled_gap(sets, n=100, seed=5)
    assert pooled_gap(sets, n=100, seed=5).over_sets != pooled_gap(sets, n=100, seed=6).over_sets
