"""Recipes: read from TOML, refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill import Recipe, UserError


def test_recipe_from_toml(tmp_path: Path) -> None:
    place = tmp_path / "potstill.toml"
    place.write_text('folds = 4\ndrop = ["id"]\n[columns]\nzip = "categorical"\n')
    assert Recipe.load(place) == Recipe(folds=4, drop=("id",), columns={"zip": "categorical"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foldz = 4", "is no recipe: Object contains unknown field `foldz`."),
        ("folds = 1", "The recipe wants folds between 2 and 50, got 1."),
        ("folds =", "is not TOML: "),
        (
            'teacher_weights = "best"',
            "is no recipe: Invalid enum value 'best' - at `$.teacher_weights`.",
        ),
        ('device = "tpu"', "The recipe wants device to be one of auto, cpu, cuda, got 'tpu'."),
    ],
)
def test_wrong_recipe_is_refused_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    place = tmp_path / "potstill.toml"
    place.write_text(text)
    with pytest.raises(UserError) as raised:
        Recipe.load(place)
    assert said in raised.value.message


def test_absent_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        Recipe.load(tmp_path / "none.toml")
    assert (
        raised.value.message
        == f"The recipe {tmp_path / 'none.toml'} cannot be read: No such file or directory."
    )


def test_wrong_words_are_refused_in_python_too() -> None:
    with pytest.raises(UserError) as raised:
        Recipe(teacher_weights="best")  # type: ignore[arg-type]
    assert raised.value.message == "The recipe wants teacher_weights to be one of equal, select, got 'best'."
