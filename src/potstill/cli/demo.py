"""``potstill demo``: the main job on data that scikit-learn carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from potstill.cli.command import command, examples, json_option, option, quiet_option
from potstill.cli.output import check_folder
from potstill.cli.progress import shown_progress

DATA_SETS = {
    "digits": ("load_digits", "digit"),
    "breast_cancer": ("load_breast_cancer", "benign"),
    "diabetes": ("load_diabetes", "progression"),
}
"""Name to scikit-learn's loader and what to call the target."""


@command(epilog=examples("potstill demo", "potstill demo --data diabetes --out-dir /tmp/demo"))
@option(
    "--data",
    type=click.Choice(list(DATA_SETS)),
    default="digits",
    show_default=True,
    help="Which of scikit-learn's real data sets.",
)
@option(
    "--out-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="the current folder",
    help="Where demo.onnx and demo.html go.",
)
@option("--time-limit", type=float, default=90.0, show_default=True, help="Seconds for all of it.")
@json_option()
@quiet_option()
def demo(*, data: str, out_dir: Path, time_limit: float, as_json: bool, quiet: bool) -> None:
    """Run the main job on a small real data set.

    Prints the summary and writes demo.onnx and demo.html. The answers of the ensemble are kept, so a second
    run is quicker.
    """
    from potstill.cli.distill import show, write

    out, report = out_dir / "demo.onnx", out_dir / "demo.html"
    out_dir.mkdir(parents=True, exist_ok=True)
    check_folder(out)
    with shown_progress(quiet=quiet) as progress:
        import potstill

        result = potstill.distill(
            embedded(data),
            target=DATA_SETS[data][1],
            recipe=potstill.Recipe(time_limit=time_limit),
            progress=progress,
        )
        write(result, out=out, report=report, facts=None)
    show(result, report=report, as_json=as_json)


def embedded(name: str) -> Any:
    """One of scikit-learn's data sets as a data frame, its target among the columns."""
    from sklearn import datasets

    loader, target = DATA_SETS[name]
    return getattr(datasets, loader)(as_frame=True).frame.rename(columns={"target": target})
