"""Synthetic rows."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from potstill.artifact.pictures import pictures_of, pnm_bytes
from potstill.modalities.image import resized
from potstill.testing.augmenter import check_augmenter
from potstill.transfer.augment import AUGMENTERS, Conditional, Mixup, Neighbours, Views
from potstill.transfer.augment.blocks import find_blocks
from potstill.transfer.augment.coding import code_column
from potstill.transfer.augment.near import nearest
from potstill.types import TABLE_KINDS, Column, Dataset, Schema, Task

TASK = Task("binary", "y", classes=(0, 1))
FOR_TABLES = sorted(name for name, augmenter in AUGMENTERS.items() if augmenter.reads >= TABLE_KINDS)
MAKING = sorted(set(FOR_TABLES) - {"none", "words"})
MAKERS = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
}


def mixed_columns(n: int = 300) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    city = rng.integers(0, 5, n)
    price = rng.gamma(2.0, 100.0, n).round(2)
    price[rng.random(n) < 0.1] = np.nan
    colour = [None if x < 0.05 else "red" if x < 0.5 else "blue" for x in rng.random(n)]
    return {
        "age": rng.integers(17, 90, n),
        "price": price,
        "gain": np.where(rng.random(n) < 0.9, 0.0, rng.gamma(2.0, 100.0, n)).astype(np.float32),
        "city": [f"city {c}" for c in city],
        "zip": [f"{10 + c}" for c in city],
        "colour": colour,
        "member": rng.random(n) < 0.3,
        "day": [date(2024, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 300, n)],
        "rooms": rng.integers(1, 8, n),
        "only_red": (city == 0).astype(int),
        "only_blue": (city == 1).astype(int),
        "neither": (city > 1).astype(int),
        "id": np.arange(n),
    }


MIXED_KINDS = {
    "age": "numeric",
    "price": "numeric",
    "gain": "numeric",
    "city": "categorical",
    "zip": "categorical",
    "colour": "categorical",
    "member": "boolean",
    "day": "date",
    "rooms": "numeric",
    "only_red": "numeric",
    "only_blue": "numeric",
    "neither": "numeric",
}


def dataset_of(frame: Any, kinds: dict[str, Any]) -> Dataset:
    schema = Schema(tuple(Column(name, kind) for name, kind in kinds.items()))
    return Dataset(nw.from_native(frame, eager_only=True), TASK, schema)


@pytest.mark.parametrize("name", FOR_TABLES)
@pytest.mark.parametrize("backend", MAKERS)
def test_contract_on_mixed_columns(name: str, backend: str) -> None:
    check_augmenter(AUGMENTERS[name](), dataset_of(MAKERS[backend](mixed_columns()), MIXED_KINDS))


@pytest.mark.parametrize("name", FOR_TABLES)
@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_diabetes])
def test_contract_on_numbers(load: Any, name: str) -> None:
    frame = load(as_frame=True).data
    check_augmenter(AUGMENTERS[name](), dataset_of(frame, dict.fromkeys(frame.columns, "numeric")))


@pytest.mark.parametrize("name", MAKING)
def test_native_types_stay(name: str) -> None:
    augmenter = AUGMENTERS[name]()
    columns = mixed_columns()
    pandas = pd.DataFrame(columns).astype({"city": "category", "age": "Int16", "rooms": "int8"})
    pandas.loc[:20, "age"] = pd.NA
    made, _ = augmenter.augment(dataset_of(pandas, MIXED_KINDS), 200, seed=0)
    assert made.to_native().dtypes.equals(pandas.dtypes)
    assert 0 < made.to_native()["age"].isna().sum() < 100
    check_augmenter(augmenter, dataset_of(pandas, MIXED_KINDS))

    enum = pl.Enum(sorted(set(columns["city"])))
    polars = pl.DataFrame(columns).with_columns(pl.col("city").cast(enum), pl.col("age").cast(pl.UInt8))
    made, _ = augmenter.augment(dataset_of(polars, MIXED_KINDS), 200, seed=0)
    assert made.to_native().schema == polars.schema


@pytest.mark.parametrize("name", MAKING)
def test_columns_that_belong_together_stay_together(name: str) -> None:
    dataset = dataset_of(MAKERS["pyarrow"](mixed_columns()), MIXED_KINDS)
    coded = [code_column(dataset.rows[c.name], c.kind) for c in dataset.schema.columns]
    blocks = [[coded[i].name for i in block] for block in find_blocks(coded) if len(block) > 1]
    assert blocks == [["city", "zip"], ["only_red", "only_blue", "neither"]]

    made = AUGMENTERS[name]().augment(dataset, 600, seed=0)[0].to_native().to_pandas()
    assert (made.groupby("city")["zip"].nunique() == 1).all()
    assert (made[["only_red", "only_blue", "neither"]].sum(axis=1) == 1).all()


@pytest.mark.parametrize("name", MAKING)
def test_columns_outside_the_schema_come_from_the_parent(name: str) -> None:
    dataset = dataset_of(MAKERS["polars"](mixed_columns()), MIXED_KINDS)
    made, parents = AUGMENTERS[name]().augment(dataset, 500, seed=3)
    assert made["id"].to_list() == parents.tolist()


@pytest.mark.parametrize("name", MAKING)
def test_spikes_and_decimals_stay(name: str) -> None:
    dataset = dataset_of(pd.DataFrame(mixed_columns()), MIXED_KINDS)
    made = AUGMENTERS[name]().augment(dataset, 600, seed=0)[0].to_native()
    assert 0.8 < (made["gain"] == 0).mean() < 0.97
    price = made["price"].dropna()
    assert (price.round(2) == price).all()
    assert (set(price) <= set(mixed_columns()["price"])) == (name == "conditional")


@pytest.mark.parametrize("name", MAKING)
def test_a_table_with_every_combination_leaves_no_new_row(name: str) -> None:
    grid = pd.DataFrame([(a, b, c) for a in "xyz" for b in "uvw" for c in "pq"], columns=["a", "b", "c"])
    dataset = dataset_of(grid, dict.fromkeys(grid, "categorical"))
    made, parents = AUGMENTERS[name]().augment(dataset, 50, seed=0)
    assert (len(made), len(parents)) == (0, 0)


def test_names_alone_leave_room_for_every_combination_that_is_missing() -> None:
    rng = np.random.default_rng(0)
    grid = pd.DataFrame(
        [(a, b, c) for a in "stuvxyz" for b in "klmnop" for c in "abcde"], columns=["a", "b", "c"]
    )
    half = grid.iloc[rng.permutation(len(grid))[:150]]
    made, _ = Conditional().augment(dataset_of(half, dict.fromkeys(grid, "categorical")), 300, seed=0)
    assert len(made) > 50
    assert not set(made.rows()) & set(half.itertuples(index=False, name=None))


def test_conditional_draws_keep_what_a_column_says_of_another() -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 3_000)
    x, noise = rng.normal(size=3_000), rng.normal(size=3_000)
    y = np.where(kind == 0, x, np.where(kind == 1, -x, 0.0)) + 0.1 * noise
    frame = pd.DataFrame({"kind": [f"k{k}" for k in kind], "x": x, "y": y, "noise": noise})
    kinds = {"kind": "categorical", "x": "numeric", "y": "numeric", "noise": "numeric"}
    made = Conditional().augment(dataset_of(frame, kinds), 3_000, seed=0)[0].to_native()
    for name, expected in (("k0", 1.0), ("k1", -1.0), ("k2", 0.0)):
        rows = made[made["kind"] == name]
        assert rows["x"].corr(rows["y"]) == pytest.approx(expected, abs=0.2)


def test_mixed_rows_lie_at_most_half_way() -> None:
    frame = pd.DataFrame(
        {"x": np.where(np.arange(200) % 2, 1.0, 0.0) + np.arange(200) / 1e6, "y": range(200)}
    )
    dataset = dataset_of(frame, {"x": "numeric", "y": "numeric"})
    made, parents = Mixup(jitter=0.0).augment(dataset, 500, seed=0)
    way = np.abs(made["y"].to_numpy() - parents)
    assert 0 < way.max() <= 101
    assert not np.isin(made["x"].to_numpy(), frame["x"]).all()


@pytest.mark.parametrize("name", MAKING)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_few_rows(n: int, name: str) -> None:
    frame = pd.DataFrame({"a": np.arange(n, dtype=float), "b": list("vwxyz")[:n]})
    dataset = dataset_of(frame, {"a": "numeric", "b": "categorical"})
    made, parents = AUGMENTERS[name]().augment(dataset, 10, seed=0)
    assert len(made) == len(parents) <= 10


def test_nearest_is_exact_in_one_leaf_and_close_beyond() -> None:
    points = np.random.default_rng(0).normal(size=(1500, 3)).astype(np.float32)
    distances = np.square(points[:, None] - points[None]).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    exact = np.argsort(distances, axis=1)[:, :5]
    found = nearest(points, 5, np.random.default_rng(0))
    assert np.array_equal(np.sort(found, axis=1), np.sort(exact, axis=1))
    split = nearest(points, 5, np.random.default_rng(0), leaf_rows=400)
    shared = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(split, exact, strict=True)])
    assert 0.75 < shared < 1.0
    assert not (split == np.arange(1500)[:, None]).any()


class Broken:
    """Mixed rows, then spoilt."""

    name = "broken"

    def __init__(self, spoil: Any) -> None:
        self._spoil = spoil

    def augment(self, dataset: Dataset, n_rows: int, *, seed: int) -> Any:
        rows, parents = Mixup().augment(dataset, n_rows, seed=seed)
        return self._spoil(rows, dataset, seed), parents


SPOILT = {
    "broken copied 1 real rows": lambda rows, dataset, _: nw.concat([rows[1:, :], dataset.rows[:1, :]]),
    "broken, column 'price': no missing value": lambda rows, *_: rows.with_columns(
        nw.col("price").fill_null(1.0)
    ),
    "broken, column 'colour': values that no real row has": lambda rows, *_: rows.with_columns(
        nw.when(nw.col("colour") == "red").then(nw.lit("green")).otherwise(nw.col("colour")).alias("colour")
    ),
    "broken, column 'age': values from": lambda rows, *_: rows.with_columns(nw.col("age") + 100),
    "broken made columns": lambda rows, *_: rows.with_columns(nw.col("age").cast(nw.Float64)),
    "broken makes the same rows from another seed": lambda _, dataset, __: Mixup().augment(
        dataset, 2 * len(dataset), seed=7
    )[0],
}


@pytest.mark.parametrize("message", SPOILT)
def test_a_broken_augmenter_is_told_what_is_wrong(message: str) -> None:
    columns = mixed_columns()
    columns["price"] = [None if np.isnan(price) else float(price) for price in columns["price"]]
    with pytest.raises(AssertionError, match=message):
        check_augmenter(Broken(SPOILT[message]), dataset_of(pl.DataFrame(columns), MIXED_KINDS))


@pytest.mark.skipif("POTSTILL_DATA" not in os.environ, reason="wants POTSTILL_DATA, a folder of real tables")
def test_covertype_keeps_its_one_hot_groups_and_correlations() -> None:
    real = pq.read_table(Path(os.environ["POTSTILL_DATA"]) / "covertype_15k.parquet").to_pandas()
    real = real.drop(columns=["target", "split"])
    made = (
        Neighbours().augment(dataset_of(real, dict.fromkeys(real, "numeric")), 15_000, seed=0)[0].to_native()
    )
    for group in ("Wilderness", "Soil"):
        columns = [name for name in real if name.startswith(group)]
        assert (made[columns].sum(axis=1) == 1).mean() > 0.99
    numbers = list(real)[:10]
    assert np.abs(made[numbers].corr() - real[numbers].corr()).to_numpy().max() < 0.05


def pictures(backend: str, n: int = 40) -> Dataset:
    images, digits = load_digits(return_X_y=True)
    files = [pnm_bytes((image * 15).astype(np.uint8).reshape(8, 8, 1)) for image in images[:n]]
    frame = {
        "pandas": lambda: pd.DataFrame({"photo": files, "id": range(n)}),
        "polars": lambda: pl.DataFrame({"photo": files, "id": range(n)}),
        "pyarrow": lambda: pa.table({"photo": files, "id": range(n)}),
    }[backend]()
    schema = Schema((Column("photo", "image", shape=(8, 8, 1)),))
    return Dataset(nw.from_native(frame, eager_only=True), TASK, schema, labels=digits[:n])


@pytest.mark.parametrize("name", [name for name, part in AUGMENTERS.items() if "image" in part.reads])
@pytest.mark.parametrize("backend", MAKERS)
def test_contract_on_pictures(backend: str, name: str) -> None:
    check_augmenter(AUGMENTERS[name](), pictures(backend))


def test_views_are_their_parents_moved_about_or_mixed_with_others() -> None:
    dataset = pictures("polars")

    def moved_only(**shares: float) -> float:
        made, parents = Views(flips=False, turn=0, zoom=0, **shares).augment(dataset, 400, seed=0)
        assert made["id"].to_list() == parents.tolist()
        real, new = (pictures_of(frame["photo"].to_list()) for frame in (dataset.rows, made))
        places = [(down, right) for down in range(3) for right in range(3)]
        inside = [real[parents][:, down : down + 6, right : right + 6] for down, right in places]
        same = [np.abs(new[:, 1:7, 1:7].astype(int) - each).max(axis=(1, 2, 3)) <= 1 for each in inside]
        return float(np.any(same, axis=0).mean())

    assert moved_only(blended=0.0, pasted=0.0) == 1.0
    assert moved_only(blended=1.0, pasted=0.0) < 0.02
    assert 0.0 < moved_only(blended=0.0, pasted=1.0) < 0.3


def test_views_are_of_the_small_pictures_and_few_large_ones_are_decoded_at_once(
    photos: list[Any], decoded: Any
) -> None:
    schema = Schema((Column("photo", "image", shape=(8, 8, 3)),))

    def of(given: Any) -> Dataset:
        files = pa.table({"photo": [pnm_bytes(picture) for picture in given]})
        return Dataset(nw.from_native(files, eager_only=True), TASK, schema)

    small = [resized(photo[None], (8, 8, 3))[0] for photo in photos]
    wanted = Views().augment(of(small), 70, seed=0)[0]["photo"].to_list()
    assert Views().augment(of(photos), 70, seed=0)[0]["photo"].to_list() == wanted
    assert decoded.most <= 3 * decoded.budget


def test_views_of_many_pictures_are_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = pictures("polars")

    def distance() -> float:
        made, parents = Views(flips=False, shift=0.3).augment(dataset, 400, seed=0)
        real, new = (pictures_of(frame["photo"].to_list()) for frame in (dataset.rows, made))
        return float(np.abs(new.astype(float) - real[parents]).mean())

    far = distance()
    monkeypatch.setattr("potstill.transfer.augment.views.MANY_PICTURES", len(dataset))
    assert distance() < 0.95 * far


def test_views_of_digits_are_not_mirrored() -> None:
    images, digits = load_digits(return_X_y=True)
    files = [pnm_bytes((image * 15).astype(np.uint8).reshape(8, 8, 1)) for image in images]
    schema = Schema((Column("photo", "image", shape=(8, 8, 1)),))
    frame = nw.from_native(pa.table({"photo": files}), eager_only=True)
    told = Dataset(frame, TASK, schema, labels=digits)
    chosen, never, always = (
        Views(flips=flips).augment(told, 50, seed=0)[0]["photo"].to_list() for flips in (None, False, True)
    )
    assert chosen == never
    assert chosen != always
