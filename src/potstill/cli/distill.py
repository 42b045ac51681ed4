"""``potstill distill``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from potstill.cli.command import command, examples, json_option, option, quiet_option
from potstill.cli.output import check_folder, emit_json, emit_table
from potstill.cli.progress import shown_progress
from potstill.cli.summary import summary_table
from potstill.cli.training_options import (
    FILE,
    budget_from,
    data_options,
    directions_by_column,
    multiple_or_auto,
    recipe_from,
    student_from,
    teacher_options,
    teachers_from,
)

if TYPE_CHECKING:
    from potstill.distillation import Result

STUDENT, OUTPUT, RUN = "Student and budget", "Output", "Run"


@command(
    epilog=examples(
        "potstill distill train.csv --target income --out income.onnx --report income.html",
        "potstill distill visits.parquet --target relapse --group patient_id --latency-ms 0.1 --json",
        "potstill distill train.csv --target y --teacher forest.skops --teacher booster.txt -o m.onnx",
        "potstill distill train.csv --target y --explain",
    )
)
@click.argument("train", type=FILE)
@data_options
@teacher_options
@option("--student", metavar="NAME", section=STUDENT, help="gbdt, mlp or additive; the best by default.")
@option(
    "--monotone",
    metavar="NAME=+1",
    multiple=True,
    callback=directions_by_column,
    section=STUDENT,
    help="As this column rises, the student's value (of two classes, the probability of the second in sorted "
    "order) never falls; -1: never rises. Repeatable.",
)
@option(
    "--latency-ms",
    type=float,
    section=STUDENT,
    help="One row's p99 at most, milliseconds [1, if no size is given].",
)
@option(
    "--size-kb",
    type=float,
    section=STUDENT,
    help="Size of the file at most, 1,000 bytes [1024, if no latency is given].",
)
@option(
    "--opset",
    type=int,
    section=STUDENT,
    help="Highest ONNX operator set its runtime reads: 21 for ONNX Runtime 1.21 and later, 17 for older.",
)
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
@json_option()
@quiet_option()
@option("--explain", is_flag=True, section=RUN, help="Print the columns, the task and the splits, and stop.")
@option("--recipe", type=FILE, section=RUN, help="TOML file with settings; options given here come first.")
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

    TRAIN is a CSV, Parquet or Arrow file of labelled rows. Without --teacher an ensemble of twelve models is
    trained and cross-fitted first. On rows that neither teacher nor student learned from, the summary
    compares the teacher, its best member, the same student trained on labels alone (the twin), and the
    student.
    """
    recipe = recipe_from(chosen)
    out = chosen["out"] or Path(train.with_suffix(".onnx").name)
    for path in (out, chosen["report"], chosen["facts"]):
        check_folder(path)
    if chosen["explain"]:
        from potstill.cli.explain import explain

        explain(
            train, recipe=recipe, **{name: chosen[name] for name in ("target", "test", "seed", "as_json")}
        )
        return
    with shown_progress(quiet=chosen["quiet"]) as progress:
        import potstill

        result = potstill.distill(
            train,
            target=chosen["target"],
            test=chosen["test"],
            unlabeled=chosen["unlabeled"],
            teachers=teachers_from(chosen),
            student=student_from(chosen["student"]),
            budget=budget_from(chosen["latency_ms"], chosen["size_kb"], opset=chosen["opset"]),
            seed=chosen["seed"],
            recipe=recipe,
            progress=progress,
        )
        write(result, out=out, report=chosen["report"], facts=chosen["facts"])
    show(result, report=chosen["report"], as_json=chosen["as_json"])


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
