"""The default ensemble: twelve members in one table, sized to the data and the time by arithmetic.

The order matters: whoever runs out of time drops members from the end, and every prefix is still diverse.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from potstill.teachers.zoo_boosted import CatBoostMember, LightGBMMember, XGBoostMember
from potstill.teachers.zoo_forest import ForestMember
from potstill.teachers.zoo_member import Shape
from potstill.teachers.zoo_network import NetworkMember
from potstill.teachers.zoo_repeated import Repeated
from potstill.types import FeatureSpec, Task, Trainable

Member: TypeAlias = LightGBMMember | XGBoostMember | CatBoostMember | ForestMember | NetworkMember


class Place(NamedTuple):
    """A member and its part of the time, as long as it can use it.

    Parameters
    ----------
    member
        With all the time in the world.
    share
        Twice the share is twice the seconds.
    share_many
        The share where there are more than ten classes: boosting pays for every class, a network hardly.
    once
        It is fitted once, on all rows, and may take the time of all folds for it.
    enough
        Part of its appetite for time that a fold's fit needs; members with less are fitted a few times on
        nearly all rows instead, see `Repeated`. Trees get along with little, networks do not.
    """

    member: Member
    share: float
    share_many: float
    once: bool = False
    enough: float = 0.05


_NETWORKS_ENOUGH = 0.67

ZOO: tuple[Place, ...] = (
    Place(
        LightGBMMember(
            name="lightgbm",
            rounds=1500,
            learning_rate=0.03,
            num_leaves=24,
            l2=0.1,
            feature_fraction=0.4,
            categories="means",
        ),
        1.0,
        0.5,
    ),
    Place(ForestMember(name="random-forest", extra=False, column_fraction=0.4), 0.5, 0.3, once=True),
    Place(
        NetworkMember(
            name="network-wide",
            numbers="periodic",
            frequencies=(0.05, 0.3),
            width=384,
            depth=2,
            learning_rate=0.12,
            dropout=0.2,
            weight_decay=0.03,
        ),
        2.0,
        8.0,
        enough=_NETWORKS_ENOUGH,
    ),
    Place(CatBoostMember(name="catboost", depth=6), 2.0, 0.3),
    Place(
        XGBoostMember(
            name="xgboost-deep",
            max_depth=12,
            column_fraction=0.7,
            row_fraction=0.85,
            vector_leaves=True,
        ),
        1.2,
        1.5,
    ),
    Place(ForestMember(name="extra-trees", extra=True), 0.5, 0.3, once=True),
    Place(
        LightGBMMember(
            name="lightgbm-deep",
            rounds=1500,
            learning_rate=0.03,
            num_leaves=127,
            min_rows=8,
            feature_fraction=0.6,
            bagging_fraction=0.8,
            categories="native",
        ),
        1.0,
        0.3,
    ),
    Place(
        XGBoostMember(name="xgboost", max_depth=6, column_fraction=0.6, row_fraction=0.8, categories="means"),
        1.0,
        0.5,
    ),
    Place(
        NetworkMember(
            name="network-periodic", numbers="periodic", learning_rate=0.1, dropout=0.25, weight_decay=0.03
        ),
        1.0,
        4.0,
        enough=_NETWORKS_ENOUGH,
    ),
    Place(CatBoostMember(name="catboost-deep", depth=8, column_fraction=0.7, categories="ranked"), 1.5, 0.3),
    Place(
        NetworkMember(
            name="network-binned", numbers="binned", learning_rate=0.08, dropout=0.2, weight_decay=0.03
        ),
        1.5,
        1.0,
        enough=_NETWORKS_ENOUGH,
    ),
    Place(
        LightGBMMember(
            name="lightgbm-random",
            rounds=1500,
            learning_rate=0.05,
            num_leaves=63,
            extra_trees=True,
            categories="ranked",
        ),
        0.7,
        0.3,
    ),
)

_BEGINNING_S = 3.0
"""Seconds until the libraries are loaded; a quarter of the time if that is less."""

_LEAST_S, _LEAST_S_PER_ROW = 0.6, 3e-5
"""Seconds of one core that a fit should have on average; where there are fewer, fewer members are planned."""

_FEWEST = 4
"""Members that are planned however short the time."""

_ROWS_TO_REPEAT = 5_000
"""Where there are fewer rows, what the fold models see is worth more than how long they learn."""


def default_members(
    task: Task,
    *,
    n_rows: int,
    spec: FeatureSpec,
    time_s: float,
    folds: int,
    threads: int,
    independent: bool = True,
) -> list[Trainable]:
    """The members of `ZOO`, each with as many rounds, epochs or trees as its part of the time allows.

    All of the time is planned: members that stop early make up for answering the rows, and what does not end
    in time is left out, the last first. Where time is short only the first members are planned. The sizes
    follow from the numbers given here and from nothing else, so one seed gives one teacher.

    Parameters
    ----------
    task, spec
        What is predicted, from which encoded columns.
    n_rows
        Rows with labels.
    time_s
        Seconds for all fits of all members.
    folds
        Fits of each member, each on ``(folds - 1) / folds`` of the rows (on all of them if 1).
    threads
        Cores there are; each fit uses one, and as many members as cores are at work side by side.
    independent
        Whether rows come without groups: with them every member is fitted fold by fold.

    Returns
    -------
    The best first, in an order of which every prefix is diverse.
    """
    whole = Shape(
        n_rows, len(spec.numeric), len(spec.categorical), task.n_outputs if task.n_outputs > 2 else 1
    )
    shape = whole._replace(n_rows=n_rows if folds < 2 else n_rows * (folds - 1) // folds)
    core_s = (time_s - min(_BEGINNING_S, time_s / 4)) * threads / max(folds, 1)
    many = shape.n_outputs > 10
    # With many classes most of the time goes to the networks: they must not be what runs out of it.
    ordered = sorted(ZOO, key=lambda place: -place.share_many) if many else ZOO
    planned = ordered[: max(_FEWEST, int(core_s / (_LEAST_S + _LEAST_S_PER_ROW * shape.n_rows)))]
    shares = [place.share_many if many else place.share for place in planned]
    fits = [max(folds, 1) if place.once and independent else 1 for place in planned]
    useful = [place.member.cost_s(shape) / times for place, times in zip(planned, fits, strict=True)]
    seconds = _divided(core_s, list(zip(shares, useful, strict=True)))
    repeats = independent and n_rows >= _ROWS_TO_REPEAT and folds > 2
    members: list[Trainable] = []
    for place, given, times in zip(planned, seconds, fits, strict=True):
        part = given / place.member.cost_s(shape)
        if repeats and not place.once and part < place.enough:
            copies = min(folds - 1, max(2, int(folds * part / place.enough)))
            members.append(Repeated(place.member.within(folds * given / copies, whole), copies))
        else:
            members.append(place.member.within(given * times, shape))
    return members


def _divided(total: float, wanted: list[tuple[float, float]]) -> list[float]:
    """``total`` by shares; what one does not want goes to the others.

    Parameters
    ----------
    total
        To divide.
    wanted
        A share and the most that is of use, for each.
    """
    given = [0.0] * len(wanted)
    # By ascending appetite per share: whoever is satisfied early leaves the rest to those after it.
    order = sorted(range(len(wanted)), key=lambda at: wanted[at][1] / wanted[at][0])
    shares = sum(share for share, _ in wanted)
    for at in order:
        share, most = wanted[at]
        given[at] = min(most, total * share / shares)
        total, shares = total - given[at], shares - share
    return given
