"""The command line: one file a command, listed in `COMMANDS`.

Data goes to stdout, progress and messages to stderr. Nothing heavy is imported before a command runs, and
`predict`, `compare`, `drift`, `inspect`, `verify`, `push` and its like never import the training half at all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from potstill import __version__
from potstill.cli.cascade import cascade
from potstill.cli.collect import collect
from potstill.cli.command import examples
from potstill.cli.compare import compare
from potstill.cli.demo import demo
from potstill.cli.distill import distill
from potstill.cli.drift import drift
from potstill.cli.evaluate import evaluate
from potstill.cli.export import export
from potstill.cli.guard import guarded
from potstill.cli.inspect import inspect
from potstill.cli.parts import parts
from potstill.cli.predict import predict
from potstill.cli.push import push
from potstill.cli.report import report
from potstill.cli.serve import serve
from potstill.cli.verify import verify
from potstill.cli.versions import ls, promote, rollback

COMMANDS: tuple[click.Command, ...] = (
    demo,
    distill,
    collect,
    predict,
    serve,
    evaluate,
    compare,
    drift,
    cascade,
    inspect,
    verify,
    report,
    export,
    push,
    promote,
    rollback,
    ls,
    parts,
)


class _InOrder(click.Group):
    """Lists commands in the order of `COMMANDS`, which is the order of a first acquaintance."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


@click.group(
    cls=_InOrder,
    commands={str(command.name): command for command in COMMANDS},
    epilog=examples(
        "potstill demo",
        "potstill distill train.csv --target income --out income.onnx --report income.html",
        "potstill predict income.onnx rows.csv > predictions.csv",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="potstill")
def potstill() -> None:
    """Turn an ensemble too heavy to ship into one small ONNX file that is not.

    Exit codes: 0 all is well, 1 a check or a gate failed, 2 the input is wrong, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    # Threads that wait without spinning: on a busy machine the others cost a fit many times its time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(guarded(potstill, given))
