"""``potstill export``: an artifact in another form, for where no ONNX Runtime fits."""

from __future__ import annotations

from pathlib import Path

import click

from potstill.cli.command import command, examples, json_option, option
from potstill.cli.output import check_folder, emit_json


@command(
    epilog=examples(
        "potstill export income.onnx --c income.c", "potstill export income.onnx --c income.c --json"
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@option("--c", "c_file", type=click.Path(path_type=Path), required=True, help="Write one C99 file.")
@json_option()
def export(model: Path, *, c_file: Path, as_json: bool) -> None:
    """Write the artifact MODEL in another form.

    The C file needs nothing but the C standard library: one struct for a row, one function that answers it,
    raw values in (text for categories), calibrated probabilities out. Weights that the artifact stores in
    fewer bytes are float there.
    """
    from potstill.artifact import load
    from potstill.export.c99 import write_c
    from potstill.files import write_whole

    check_folder(c_file)
    opened = load(model, verify=True)
    source, footprint = write_c(model.read_bytes(), opened.card, name=c_file.stem)
    write_whole(source.encode(), c_file)
    if as_json:
        emit_json(
            {"file": str(c_file), **{name: getattr(footprint, name) for name in footprint.__struct_fields__}}
        )
    else:
        click.echo(
            f"{c_file}: tables of {footprint.flash_bytes / 1000:,.1f} kB (flash), "
            f"{footprint.ram_bytes:,} bytes of stack for values (RAM), besides a few kB of code."
        )
