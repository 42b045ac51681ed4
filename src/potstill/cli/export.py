"""``potstill export``: an artifact in another form, for where no ONNX Runtime fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from potstill.cli.command import command, examples, json_option, option
from potstill.cli.output import check_folder, emit_json
from potstill.errors import UserError

if TYPE_CHECKING:
    from potstill.artifact import Card, Model


@command(
    epilog=examples(
        "potstill export income.onnx --c income.c",
        "potstill export income.onnx --web site/",
        "potstill export reviews.onnx --with-tokenizer reviews-raw.onnx",
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@option("--c", "c_file", type=click.Path(path_type=Path), help="Write one C99 file.")
@option(
    "--web",
    "web_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a folder with a page for the browser.",
)
@option(
    "--hub",
    type=click.Path(path_type=Path),
    help="Write a folder with a model card, as Hugging Face has them.",
)
@option(
    "--with-tokenizer",
    "raw",
    type=click.Path(path_type=Path),
    help="Write one ONNX file that takes the text itself, where a transformer's artifact takes word pieces.",
)
@json_option()
def export(
    model: Path,
    *,
    c_file: Path | None,
    web_folder: Path | None,
    hub: Path | None,
    raw: Path | None,
    as_json: bool,
) -> None:
    """Write the artifact MODEL in another form.

    The C file needs nothing but the C standard library: one struct for a row, one function that answers it,
    raw values in (text for categories), calibrated probabilities out. Weights take as few bytes there as in
    the artifact.

    The page has the model inside and a form made of its columns; nothing that is typed in leaves the
    browser. It needs three files of npm's onnxruntime-web beside it: they are copied where npm has installed
    it in this folder or one above. Any web server can serve the folder.

    A transformer's artifact carries its tokenizer beside the graph, where potstill uses it. With the
    tokenizer inside, other programs can run it too, one row at a time, with the library
    onnxruntime-extensions.
    """
    from potstill.artifact import load

    if c_file is None and web_folder is None and hub is None and raw is None:
        raise UserError(
            "Nothing was asked for.",
            hint="Say --c FILE, --web FOLDER, --hub FOLDER or --with-tokenizer FILE.",
        )
    check_folder(c_file)
    check_folder(raw)
    opened = load(model, verify=True)
    told: dict[str, dict[str, object]] = {}
    if c_file is not None:
        told["c"] = _export_c(model, opened.card, c_file, quiet=as_json)
    if web_folder is not None:
        told["web"] = _export_web(model, web_folder, quiet=as_json)
    if raw is not None:
        told["with_tokenizer"] = _export_raw(model, opened, raw, quiet=as_json)
    if hub is not None:
        from potstill.versions import save_model_folder

        told["hub"] = {"files": [str(each) for each in save_model_folder(model, hub)]}
        if not as_json:
            click.echo(f"{hub}: the model with its card as README.md.")
    if as_json:
        emit_json(told)


def _export_c(model: Path, card: Card, c_file: Path, *, quiet: bool) -> dict[str, object]:
    from potstill.export.c99 import write_c
    from potstill.files import write_whole

    source, footprint = write_c(model.read_bytes(), card, name=c_file.stem)
    write_whole(source.encode(), c_file)
    flash, ram = footprint.flash_bytes, footprint.ram_bytes
    if not quiet:
        click.echo(
            f"{c_file}: tables of {flash / 1000:,.1f} kB (flash), {ram:,} bytes of stack for values "
            "(RAM), besides a few kB of code."
        )
    return {"file": str(c_file), "flash_bytes": flash, "ram_bytes": ram}


def _export_raw(path: Path, model: Model, raw: Path, *, quiet: bool) -> dict[str, object]:
    from potstill.export.extensions import check_tokenizer, with_tokenizer
    from potstill.files import write_whole

    graph = with_tokenizer(path.read_bytes(), model.card)
    checked = check_tokenizer(graph, model)
    write_whole(graph.SerializeToString(), raw)
    if not quiet:
        click.echo(f"{raw}: one text at a time; needs onnxruntime-extensions.")
        if not checked:
            click.echo("It was not tried: pip install onnxruntime-extensions and export again.")
    return {"file": str(raw), "tried": checked}


def _export_web(model: Path, folder: Path, *, quiet: bool) -> dict[str, object]:
    from potstill.export.web import RUNTIME_VERSION, find_runtime, write_page

    here = Path.cwd()
    absent = write_page(model.read_bytes(), folder, runtime=find_runtime([here, *here.parents]))
    if not quiet:
        click.echo(f"{folder / 'index.html'}: serve the folder, for instance with")
        click.echo(f"    python -m http.server --directory {folder}")
        if absent:
            click.echo(f"It still needs {', '.join(absent)} beside it: run")
            click.echo(f"    npm install onnxruntime-web@{RUNTIME_VERSION}")
            click.echo("and export again, or copy them from its dist/.")
    return {"file": str(folder / "index.html"), "needs": absent}
