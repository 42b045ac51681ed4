"""``potstill report``: the HTML page anew, from the facts of a run."""

from __future__ import annotations

from pathlib import Path

import click

from potstill.cli.command import command, examples, json_option, option
from potstill.cli.output import check_folder, emit_json


@command(
    epilog=examples(
        "potstill report facts.json --out income.html",
        "potstill distill train.csv --target income --facts facts.json && potstill report facts.json",
    )
)
@click.argument("facts", type=click.Path(path_type=Path))
@option("--out", "-o", type=click.Path(path_type=Path), help="The page; FACTS's name with .html by default.")
@json_option()
def report(facts: Path, *, out: Path | None, as_json: bool) -> None:
    """Render the report of FACTS as HTML.

    FACTS is the JSON that `potstill distill --facts` wrote; the page is one self-contained file.
    """
    from potstill.report import load_facts, save_report

    page = out or Path(facts.with_suffix(".html").name)
    check_folder(page)
    save_report(load_facts(facts), page)
    if as_json:
        emit_json({"report": str(page), "size_bytes": page.stat().st_size})
    else:
        click.echo(f"wrote {page}", err=True)
