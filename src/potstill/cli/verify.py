"""``potstill verify``: is the file whole, and does it answer here as it did where it was made?"""

from __future__ import annotations

from pathlib import Path

import click

from potstill.cli.command import command, examples, json_option
from potstill.cli.output import emit_json
from potstill.errors import ArtifactError, GateFailed


@command(epilog=examples("potstill verify income.onnx", "potstill verify income.onnx --json"))
@click.argument("model", type=click.Path(path_type=Path))
@json_option()
def verify(model: Path, *, as_json: bool) -> None:
    """Check that MODEL is whole and answers as ever.

    The file's hash is checked, then the probe rows it carries are replayed. Exit code 1 if this machine
    answers otherwise, 2 if the file is no artifact or was changed.
    """
    from potstill.artifact import load

    opened = load(model)
    try:
        replayed = opened.verify()
    except ArtifactError as error:
        raise GateFailed(error.message, hint=error.hint) from error
    if as_json:
        emit_json(
            {"artifact": str(model), "n_rows": replayed.n_rows, "max_difference": replayed.max_difference}
        )
    else:
        click.echo(
            f"{model} is whole; its {replayed.n_rows} probe rows are answered as when it was written "
            f"(largest difference {replayed.max_difference:.1e})."
        )
