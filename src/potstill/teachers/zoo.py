"""The default ensemble: twelve members in one table, sized to the data and the time by arithmetic.

The order matters: whoever runs out of time drops members from the end, and every prefix is still diverse.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from potstill.teachers.zoo_boosted import CatBoostMember, LightGBMMember, XGBoostMember
from potstill.teachers.zoo_forest import ForestMember
from potstill.teachers.zoo_member import Shape
from potstill.teachers.zoo_network import NetworkMember
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
    """

    member: Member
    share: float
    share_many: float


ZOO: tuple[Place, ...] = (
    Place(
        LightGBMMember(
            name="lightgbm",
            learning_rate=0.03,
            num_leaves=24,
            l2=0.1,
            feature_fraction=0.4,
            categories="means",
        ),
        1.0,
        1.0,
    ),
    Place(NetworkMember(name="network-periodic", numbers="periodic"), 2.0, 6.0),
    Place(CatBoostMember(name="catboost", depth=6), 2.5, 0.3),
    Place(ForestMember(name="extra-trees", extra=True), 0.5, 0.6),
    Place(
        XGBoostMember(name="xgboost", max_depth=6, column_fraction=0.6, row_fraction=0.8, categories="means"),
        1.0,
        1.0,
    ),
    Place(
        NetworkMember(
            name="network-binned", numbers="binned", learning_rate=0.025, dropout=0.2, weight_decay=0.03
        ),
        1.5,
        2.0,
    ),
    Place(
        XGBoostMember(
            name="xgboost-deep",
            max_depth=12,
            column_fraction=0.7,
            row_fraction=0.85,
            vector_leaves=True,
        ),
        1.0,
        1.5,
    ),
    Place(CatBoostMember(name="catboost-deep", depth=8, column_fraction=0.7, categories="ranked"), 1.5, 0.3),
    Place(ForestMember(name="random-forest", extra=False, column_fraction=0.4), 0.5, 0.3),
    Place(
        NetworkMember(
            name="network-heads",
            numbers="periodic",
            frequencies=(0.05, 0.7),
            width=96,
            depth=2,
            heads=8,
            dropout=0.1,
        ),
        1.5,
        2.5,
    ),
    Place(
        LightGBMMember(
            name="lightgbm-deep",
            learning_rate=0.04,
            num_leaves=63,
            feature_fraction=0.4,
            bagging_fraction=0.9,
            categories="native",
        ),
        1.0,
        0.7,
    ),
    Place(
        LightGBMMember(
            name="lightgbm-random",
            rounds=600,
            learning_rate=0.08,
            num_leaves=63,
            extra_trees=True,
            categories="ranked",
        ),
        0.7,
        0.3,
    ),
)

_USED = 0.85
"""Part of the time that is planned; the rest is for answering rows, and for slower machines."""


def default_members(
    task: Task, *, n_rows: int, spec: FeatureSpec, time_s: float, folds: int, threads: int
) -> list[Trainable]:
    """The members of `ZOO`, each with as many rounds, epochs or trees as its part of the time allows.

    The sizes follow from the numbers given here and from nothing else, so one seed gives one teacher.

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

    Returns
    -------
    The best first, in an order of which every prefix is diverse.
    """
    rows = n_rows if folds < 2 else n_rows * (folds - 1) // folds
    outputs = task.n_outputs if task.n_outputs > 2 else 1
    shape = Shape(rows, len(spec.numeric), len(spec.categorical), outputs)
    core_s = time_s * _USED * threads / max(folds, 1)
    many = outputs > 10
    wanted = [(place.share_many if many else place.share, place.member.cost_s(shape)) for place in ZOO]
    return [
        place.member.within(seconds, shape)
        for place, seconds in zip(ZOO, _divided(core_s, wanted), strict=True)
    ]


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
