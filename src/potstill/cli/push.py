"""``potstill push``: an artifact into a model repository, if it may ship."""

from __future__ import annotations

from pathlib import Path

import click

from potstill.cli.command import command, examples, json_option, option
from potstill.cli.output import emit_json


@command(
    epilog=examples(
        "potstill push income.onnx models/",
        "potstill push income.onnx models/ --gate 'recovery>=0.5' --gate 'latency_p99_us<=100'",
        "potstill push new.onnx models/ --name income --alias challenger",
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("repository", type=click.Path(path_type=Path))
@option("--name", help="What the model is called there; the stem of the file by default.")
@option(
    "--gate",
    multiple=True,
    metavar="CONDITION",
    help="A condition on what the Card says was measured, such as recovery>=0.5, log_loss<=0.3, "
    "accuracy>0.8, recovery_low>0, latency_p99_us<=100 or size_kb<500; again for more.",
)
@option("--alias", help="Let this point to it too, such as challenger.")
@json_option()
def push(
    model: Path,
    repository: Path,
    *,
    name: str | None,
    gate: tuple[str, ...],
    alias: str | None,
    as_json: bool,
) -> None:
    """Add the artifact MODEL to the model repository in the folder REPOSITORY.

    Refused are files that were changed since they were written, that answer their probe rows otherwise here
    (exit code 2), or that do not pass the gate (exit code 1). The first version of a model becomes its
    champion, later ones wait for ``potstill promote``.
    """
    from potstill.versions import Repository

    pushed = Repository(repository).push(model, name, gate=gate, alias=alias)
    if as_json:
        emit_json(pushed)
        return
    known_as = f", {' and '.join(pushed.aliases)}" if pushed.aliases else ""
    click.echo(f"{name or model.stem} version {pushed.version} ({pushed.hash[:12]}){known_as}")
