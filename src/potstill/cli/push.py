"""``potstill push``: an artifact into a model repository, if it may ship."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from potstill.cli.command import command, examples, json_option, option
from potstill.cli.output import emit_json
from potstill.errors import UserError

if TYPE_CHECKING:
    from potstill.versions import Registered, Version


@command(
    epilog=examples(
        "potstill push income.onnx models/",
        "potstill push income.onnx models/ --gate 'recovery>=0.5' --gate 'latency_p99_us<=100'",
        "potstill push new.onnx models/ --name income --alias challenger",
        "potstill push income.onnx --mlflow http://localhost:5000",
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("repository", type=click.Path(path_type=Path), required=False)
@option(
    "--mlflow",
    metavar="URI",
    help="Register it in MLflow instead: the address of a server, or of a database such as "
    "sqlite:///mlflow.db.",
)
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
    repository: Path | None,
    *,
    mlflow: str | None,
    name: str | None,
    gate: tuple[str, ...],
    alias: str | None,
    as_json: bool,
) -> None:
    """Add the artifact MODEL to the model repository in the folder REPOSITORY, or to MLflow's registry.

    Refused are files that were changed since they were written, that answer their probe rows otherwise here
    (exit code 2), or that do not pass the gate (exit code 1). The first version of a model becomes its
    champion, later ones wait for ``potstill promote``.
    """
    pushed: Version | Registered
    if repository is not None and mlflow is None:
        from potstill.versions import Repository

        pushed = Repository(repository).push(model, name, gate=gate, alias=alias)
    elif repository is None and mlflow is not None:
        from potstill.versions import push_to_mlflow

        # MLflow would ask a server that is not there for minutes, and send its maker statistics
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        pushed = push_to_mlflow(model, mlflow, name, gate=gate, alias=alias)
    else:
        raise UserError("Wanted one place to push to.", hint="Name a folder REPOSITORY, or --mlflow URI.")
    if as_json:
        emit_json(pushed)
        return
    known_as = f", {' and '.join(pushed.aliases)}" if pushed.aliases else ""
    click.echo(f"{name or model.stem} version {pushed.version} ({pushed.hash[:12]}){known_as}")
