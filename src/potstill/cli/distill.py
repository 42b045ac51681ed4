"""``potstill distill``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from potstill.cli.command import command, examples, json_option, option, quiet_option, typed_command
from potstill.cli.output import check_folder, emit_json, emit_table
from potstill.cli.progress import shown_progress
from potstill.cli.summary import summary_table
from potstill.cli.training_options import (
    FILE,
    STUDENT,
    budget_from,
    budget_options,
    data_options,
    directions_by_column,
    multiple_or_auto,
    recipe_from,
    seconds_of,
    student_column_options,
    student_from,
    teacher_options,
    teachers_from,
)
from potstill.errors import PotstillError, UserError

if TYPE_CHECKING:
    from potstill.distillation import Result

OUTPUT, RUN = "Output", "Run"


@command(
    epilog=examples(
        "potstill distill train.csv --target income --out income.onnx --report income.html",
        "potstill distill train.csv --target y --teacher forest.skops --teacher booster.txt -o m.onnx",
        "potstill distill photos/ --out photos.onnx --report photos.html --time-limit 40m",
        "potstill distill reviews.parquet --text review --target stars --out reviews.onnx",
    )
)
@click.argument("train", type=FILE)
@data_options
@teacher_options
@option(
    "--student", metavar="NAME", section=STUDENT, help="A family, see `potstill parts`; the best by default."
)
@option(
    "--monotone",
    metavar="NAME=+1",
    multiple=True,
    callback=directions_by_column,
    section=STUDENT,
    help="As this column rises, the student's value (of two classes, the probability of the second in sorted "
    "order) never falls; -1: never rises. Repeatable.",
)
@budget_options
@student_column_options
@option("--temperature", type=float, section=STUDENT, help="Of the distillation loss; searched by default.")
@option(
    "--hard-label-weight",
    type=float,
    section=STUDENT,
    help="Weight of the labels against the soft targets, 0 to 1; searched by default.",
)
@option(
    "--synthetic",
    metavar="N|auto",
    callback=multiple_or_auto,
    section=STUDENT,
    help="Synthetic rows for each real one; 0 for none; auto decides.",
)
@option(
    "--augmenter",
    metavar="NAME",
    section=STUDENT,
    help="What makes the synthetic rows; see `potstill parts`.",
)
@option("--out", "-o", type=FILE, section=OUTPUT, help="The artifact; TRAIN's name with .onnx by default.")
@option("--report", type=FILE, section=OUTPUT, help="The HTML report.")
@option(
    "--facts", type=FILE, section=OUTPUT, help="All measurements as JSON; `potstill report` renders them."
)
@option(
    "--pick",
    metavar="N",
    type=click.IntRange(min=1),
    section=OUTPUT,
    help="Ship candidate N of the report's frontier instead of the best one within the budget.",
)
@option(
    "--frontier",
    type=click.Path(path_type=Path, file_okay=False),
    section=OUTPUT,
    help="Folder for all Pareto points, as NUMBER.onnx, and frontier.json; `potstill compare` puts them "
    "side by side. Each is fitted and measured anew, after what --time-limit allows.",
)
@json_option()
@quiet_option()
@option("--verbose", "-v", is_flag=True, help="A line on stderr for each candidate of the search.")
@option("--explain", is_flag=True, section=RUN, help="Print the columns, the task and the splits, and stop.")
@option("--recipe", type=FILE, section=RUN, help="TOML file with settings; options given here come first.")
@option(
    "--time-limit",
    metavar="DURATION",
    callback=seconds_of,
    section=RUN,
    help="For the whole run: 90 or 90s, 3m, 1.5h. The teacher's answers are kept, so a second run has more "
    "of it for the student.",
)
@option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), section=RUN, help="Where networks train [auto]."
)
@option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    section=RUN,
    help="Same seed, same machine, same file.",
)
def distill(train: Path, **chosen: Any) -> None:
    """Distil a teacher on TRAIN into one small ONNX file.

    TRAIN is a CSV, Parquet or Arrow file of labelled rows, tables, pictures or texts, or a folder with one
    folder of pictures for each class. Without --teacher an ensemble is trained first, of twelve models for
    tables. On rows that neither teacher nor student learned from, the summary
    compares the teacher, its best member, the same student trained on labels alone (the twin), and the
    student.
    """
    recipe = recipe_from(chosen)
    out = chosen["out"] or Path(train.resolve().with_suffix(".onnx").name)
    for path in (out, chosen["report"], chosen["facts"]):
        check_folder(path)
    if recipe.test_fraction == 0 and chosen["test"] is None and (chosen["report"] or chosen["facts"]):
        raise UserError(
            "The report and the facts say what was measured on test rows, and the recipe holds none out.",
            hint="Give --test, or a test_fraction above 0.",
        )
    if chosen["frontier"] is not None:
        from potstill.distillation.frontier import LISTING, check_frontier_folder

        folder = check_frontier_folder(chosen["frontier"])
        check_folder(folder / LISTING if folder.is_dir() else folder)
    if chosen["explain"]:
        from potstill.cli.explain import explain

        explain(
            train,
            student=student_from(chosen["student"]),
            budget=budget_from(chosen),
            recipe=recipe,
            **{name: chosen[name] for name in ("target", "test", "seed", "as_json")},
        )
        return
    with shown_progress(
        quiet=chosen["quiet"], verbose=chosen["verbose"], time_limit_s=recipe.time_limit
    ) as progress:
        import potstill

        result = potstill.distill(
            train,
            target=chosen["target"],
            test=chosen["test"],
            unlabeled=chosen["unlabeled"],
            teachers=teachers_from(chosen),
            student=student_from(chosen["student"]),
            budget=budget_from(chosen),
            seed=chosen["seed"],
            recipe=recipe,
            progress=progress,
        )
        files = {"out": out, "report": chosen["report"], "facts": chosen["facts"]}
        try:
            if chosen["frontier"] is not None:
                result.frontier(chosen["frontier"], progress=progress)
            if chosen["pick"] is not None:
                progress.start(f"fitting and measuring Pareto point {chosen['pick']}")
                result = result.pick(chosen["pick"])
        except BaseException as error:
            say_command(result, frontier=None)
            write(result, **files)
            if not isinstance(error, PotstillError):
                raise
            kept = f"{out} holds what the search chose."
            raise type(error)(error.message, hint=f"{kept} {error.hint}".strip()) from None
        say_command(result, frontier=chosen["frontier"])
        write(result, **files)
    show(result, report=chosen["report"], as_json=chosen["as_json"])


def say_command(result: Result, *, frontier: Path | None) -> None:
    """Tell the report how this run was started, so that it can say how to pick another point."""
    if result.facts is not None:
        typed = typed_command(click.get_current_context(), leaving_out="--pick")
        folder = None if frontier is None else str(frontier)
        result.facts = msgspec.structs.replace(result.facts, command=typed, frontier=folder)


def write(result: Result, *, out: Path, report: Path | None, facts: Path | None) -> None:
    """Write what was asked for, each file whole or not at all, the artifact last."""
    if report is not None:
        result.report(report)
    if facts is not None and result.facts is not None:
        from potstill.report import save_facts

        save_facts(result.facts, facts)
    result.save(out)


def show(result: Result, *, report: Path | None, as_json: bool) -> None:
    """The summary on stdout, as a table or as the JSON object scripts read."""
    answer = result.to_dict()
    if as_json:
        emit_json({**answer, "report": None if report is None else str(report)})
        return
    if result.facts is not None:
        emit_table(summary_table(result.facts))
        click.echo(result.summary())
    click.echo(f"wrote {answer['artifact']}" + (f" and {report}" if report else ""))
