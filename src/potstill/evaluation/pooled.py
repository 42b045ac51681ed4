"""The gap recovered over several data sets at once: one ratio for all, with its interval.

    pooled = sum of (twin - student) / sum of (twin - teacher)

over the sets, each difference of mean losses divided by the twin's loss on that set. What is summed are then
relative improvements over the twin: a set with large losses, or with many rows, counts no more than another.
A ratio of sums stays finite where the teacher's edge on one set is near 0; a mean of ratios does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.evaluation.recovery import ROUNDING, Interval, resampled_means
from potstill.types import Doubles


@dataclass(frozen=True)
class SetLosses:
    """What three models lose on the same rows of one data set.

    Parameters
    ----------
    teacher, twin, student
        ``(rows,)`` float64 losses of each row, lower is better: log-losses, squared errors; for accuracy 1
        where the answer is wrong and 0 where it is right.
    weight, groups
        ``(rows,)`` sample weights; group ids, which make the bootstrap draw whole groups.
    root
        Compare the roots of the mean losses: squared errors become RMSE.
    floor
        Differences are divided by this where the twin's loss is smaller. Of models that hardly ever err, one
        may lose a thousand times what another does, and neither matters: without a floor such a set would
        outweigh all others.
    """

    teacher: Doubles
    twin: Doubles
    student: Doubles
    weight: NDArray[Any] | None = None
    groups: NDArray[Any] | None = None
    root: bool = False
    floor: float = 0.0


class SetShare(msgspec.Struct, frozen=True):
    """What one set adds to the pool.

    Parameters
    ----------
    edge, gain
        What the teacher, and the student, are better than the twin, in the pool's unit.
    edge_is_noise
        The edge's interval does not lie above 0.
    """

    edge: Interval
    gain: Interval
    edge_is_noise: bool


class Pooled(msgspec.Struct, frozen=True):
    """The gap recovered over all sets.

    Parameters
    ----------
    value
        The ratio of the sums; None where there is no proven edge to recover, see ``reason``.
    over_rows
        ``value`` with the interval over new rows of the same sets; None where ``value`` is.
    over_sets
        The same over new sets too, drawn from where these came from; None where ``value`` is, and where the
        teacher's edge is not above 0 in 97.5 % of the draws (few sets, or a set whose twin is the better).
    edge, gain
        Means over the sets of teacher's and student's improvement over the twin, over new rows.
    sets
        Name to what each set adds.
    left_out
        Sets without a floor on which the twin loses nothing: there is nothing to win or to divide by.
    reason
        Why there is no ``value``; empty where there is one.
    """

    value: float | None
    over_rows: Interval | None
    over_sets: Interval | None
    edge: Interval
    gain: Interval
    sets: dict[str, SetShare]
    left_out: tuple[str, ...] = ()
    reason: str = ""


def pooled_gap(
    sets: Mapping[str, SetLosses], *, relative: bool = True, n: int = 2000, seed: int = 0
) -> Pooled:
    """Gap recovered over ``sets``, with bootstrap intervals.

    Parameters
    ----------
    sets
        Name to losses; at least one set.
    relative
        Whether differences are divided by the twin's loss on the set (on its rows as they are, in every
        resample the same). False for runs of one problem that differ by their seed: there the plain
        differences have one unit.
    n
        Number of resamples.

    Raises
    ------
    ValueError
        ``sets`` is empty, or the twin loses nothing on any of them.

    References
    ----------
    Efron and Tibshirani 1993, An introduction to the bootstrap, ch. 8 (strata are resampled apart) and 13.

    Examples
    --------
    >>> one = SetLosses(teacher=np.array([0.5]), twin=np.array([1.0]), student=np.array([0.75]))
    >>> two = SetLosses(teacher=np.array([8.0]), twin=np.array([10.0]), student=np.array([8.0]))
    >>> round(pooled_gap({"one": one, "two": two}, n=10).value, 3)
    0.643
    """
    drawn: dict[str, tuple[Doubles, Doubles]] = {}
    left_out = []
    for number, (name, losses) in enumerate(sets.items()):
        whole, means = _means(losses, n, seed + number)
        scale = max(float(whole[1]), losses.floor) if relative else 1.0
        if scale > 0.0:
            improved = _improvements(np.vstack([whole, means]), float(whole[1])) / scale
            drawn[name] = improved[0], improved[1:]
        else:
            left_out.append(name)
    if not drawn:
        raise ValueError("Wanted at least one set on which the twin loses something, got none.")
    values = np.stack([value for value, _ in drawn.values()])
    resamples = np.stack([resampled for _, resampled in drawn.values()], axis=1)
    shares = {
        name: _share(value, resampled)
        for name, value, resampled in zip(drawn, values, resamples.swapaxes(0, 1), strict=True)
    }
    whole, by_rows = values.mean(axis=0), resamples.mean(axis=1)
    pool = _share(whole, by_rows)
    reason = _reason(pool, shares)
    value = None if reason else float(whole[1] / whole[0])
    return Pooled(
        value=value,
        over_rows=None if value is None else _ratio_interval(value, by_rows),
        over_sets=None if value is None else _ratio_interval(value, _with_drawn_sets(resamples, seed)),
        edge=pool.edge,
        gain=pool.gain,
        sets=shares,
        left_out=tuple(left_out),
        reason=reason,
    )


def _means(losses: SetLosses, n: int, seed: int) -> tuple[Doubles, Doubles]:
    """Mean losses of teacher, twin and student, ``(3,)``; and in every resample, ``(n, 3)``."""
    columns = np.stack([losses.teacher, losses.twin, losses.student], axis=1)
    whole = np.average(columns, axis=0, weights=losses.weight)
    means = resampled_means(columns, n=n, seed=seed, weight=losses.weight, groups=losses.groups)
    return (np.sqrt(whole), np.sqrt(np.maximum(means, 0.0))) if losses.root else (whole, means)


def _improvements(means: Doubles, twin_loss: float) -> Doubles:
    """``(n, 2)`` edge and gain out of ``(n, 3)`` mean losses; differences of rounding are none."""
    differences = means[:, 1:2] - means[:, [0, 2]]
    return np.where(np.abs(differences) <= ROUNDING * twin_loss, 0.0, differences)


def _share(value: Doubles, resamples: Doubles) -> SetShare:
    low, high = np.percentile(resamples, [2.5, 97.5], axis=0)
    edge, gain = (Interval(float(value[i]), float(low[i]), float(high[i])) for i in (0, 1))
    return SetShare(edge=edge, gain=gain, edge_is_noise=edge.low <= 0.0)


def _reason(pool: SetShare, shares: Mapping[str, SetShare]) -> str:
    if all(share.edge_is_noise for share in shares.values()):
        return "On none of the sets is the teacher provably better than the twin: there is no gap to recover."
    if pool.edge_is_noise:
        return "Over all sets the teacher is not provably better than the twin: there is no gap to recover."
    return ""


def _with_drawn_sets(resamples: Doubles, seed: int) -> Doubles:
    """``(n, 2)`` means over the sets, as many drawn anew in each of the ``(n, sets, 2)`` resamples."""
    n, n_sets, _ = resamples.shape
    counts = np.random.default_rng(seed).multinomial(n_sets, np.full(n_sets, 1.0 / n_sets), size=n)
    means: Doubles = (resamples * counts[:, :, None]).sum(axis=1) / n_sets
    return means


def _ratio_interval(value: float, resamples: Doubles) -> Interval | None:
    """Percentiles of gain by edge; None where the edge is not above 0 often enough for there to be any."""
    edges, gains = resamples.T
    above = edges > 0.0
    if above.mean() < 0.975:
        return None
    low, high = np.percentile(gains[above] / edges[above], [2.5, 97.5])
    return Interval(value, float(low), float(high))
