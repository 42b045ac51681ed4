"""``potstill export``: an artifact in another form, for where no ONNX Runtime fits."""

from __future__ import annotations

from pathlib import Path

import click

from potstill.cli.command import command, examples, json_option, option
from potstill.cli.output import check_folder, emit_json
from potstill.errors import UserError


@command(
    epilog=examples(
        "potstill export income.onnx --c income.c",
        "potstill export income.onnx --web site/index.html",
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@option("--c", "c_file", type=click.Path(path_type=Path), help="Write one C99 file.")
@option("--web", "page_file", type=click.Path(path_type=Path), help="Write one HTML page.")
@option(
    "--hub",
    type=click.Path(path_type=Path),
    help="Write a folder with a model card, as Hugging Face has them.",
)
@json_option()
def export(
    model: Path, *, c_file: Path | None, page_file: Path | None, hub: Path | None, as_json: bool
) -> None:
    """Write the artifact MODEL in another form.

    The C file needs nothing but the C standard library: one struct for a row, one function that answers it,
    raw values in (text for categories), calibrated probabilities out. Weights take as few bytes there as in
    the artifact.

    The page has the model inside and a form made of its columns; it runs the model in the browser with three
    files of onnxruntime-web (npm) that have to lie beside it, on any web server.
    """
    from potstill.artifact import load
    from potstill.files import write_whole

    if c_file is None and page_file is None and hub is None:
        raise UserError("Nothing was asked for.", hint="Say --c FILE, --web FILE or --hub FOLDER.")
    for path in (c_file, page_file):
        check_folder(path)
    opened = load(model, verify=True)
    told: dict[str, dict[str, object]] = {}
    if c_file is not None:
        from potstill.export.c99 import write_c

        source, footprint = write_c(model.read_bytes(), opened.card, name=c_file.stem)
        write_whole(source.encode(), c_file)
        flash, ram = footprint.flash_bytes, footprint.ram_bytes
        told["c"] = {"file": str(c_file), "flash_bytes": flash, "ram_bytes": ram}
        if not as_json:
            click.echo(
                f"{c_file}: tables of {flash / 1000:,.1f} kB (flash), {ram:,} bytes of stack for values "
                "(RAM), besides a few kB of code."
            )
    if page_file is not None:
        from potstill.export.web import RUNTIME_FILES, page

        write_whole(page(model.read_bytes()).encode(), page_file)
        told["web"] = {"file": str(page_file), "needs": RUNTIME_FILES}
        if not as_json:
            click.echo(f"{page_file}: put {', '.join(RUNTIME_FILES)} of npm's onnxruntime-web beside it.")
    if hub is not None:
        from potstill.versions import save_model_folder

        told["hub"] = {"files": [str(each) for each in save_model_folder(model, hub)]}
        if not as_json:
            click.echo(f"{hub}: the model with its card as README.md.")
    if as_json:
        emit_json(told)
