"""``potstill promote``, ``rollback`` and ``ls``: which version of a model is in use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from potstill.cli.command import command, examples, json_option, option
from potstill.cli.output import emit_json, emit_table, table
from potstill.errors import UserError

if TYPE_CHECKING:
    from potstill.versions import Repository, Version


@command(
    epilog=examples(
        "potstill promote models/ income 3",
        "potstill promote models/ income challenger",
        "potstill promote models/ income 5f2c91 --alias challenger",
    )
)
@click.argument("repository", type=click.Path(path_type=Path))
@click.argument("name")
@click.argument("version")
@option("--alias", default="champion", show_default=True, help="What is to point to it.")
@json_option()
def promote(repository: Path, name: str, version: str, *, alias: str, as_json: bool) -> None:
    """Make VERSION of the model NAME in REPOSITORY its champion.

    VERSION is a number, an alias, or six or more digits its hash begins with. Its hash and its probe rows are
    checked first. The switch is one rename: who reads sees the old version or the new one.
    """
    _tell(_opened(repository).promote(name, version, alias), name, alias, as_json=as_json)


@command(
    epilog=examples("potstill rollback models/ income", "potstill rollback models/ income --alias challenger")
)
@click.argument("repository", type=click.Path(path_type=Path))
@click.argument("name")
@option("--alias", default="champion", show_default=True, help="What is to point to it.")
@json_option()
def rollback(repository: Path, name: str, *, alias: str, as_json: bool) -> None:
    """Make the version that was champion of NAME before champion again.

    Once more goes further back.
    """
    _tell(_opened(repository).rollback(name, alias), name, alias, as_json=as_json)


@command(epilog=examples("potstill ls models/", "potstill ls models/ income --history"))
@click.argument("repository", type=click.Path(path_type=Path))
@click.argument("name", required=False)
@option("--history", is_flag=True, help="Show what happened instead: pushes, promotions and rollbacks.")
@json_option()
def ls(repository: Path, name: str | None, *, history: bool, as_json: bool) -> None:
    """List the models in REPOSITORY and their versions, or those of NAME alone."""
    opened = _opened(repository)
    names = opened.names() if name is None else [name]
    if as_json:
        emit_json({each: opened.history(each) if history else opened.versions(each) for each in names})
    elif history:
        events = [(each, event) for each in names for event in opened.history(each)]
        past = [
            (each, event.at, str(event.action), str(event.version), event.alias) for each, event in events
        ]
        emit_table(table("", ("model", "when", "what", "version", "alias"), past, left=5))
    else:
        listed = [(each, version) for each in names for version in opened.versions(each)]
        lines = [
            (
                each,
                str(version.version),
                version.hash[:12],
                version.pushed_at,
                ", ".join(version.aliases),
                f"{version.size_bytes / 1000:,.1f} kB",
            )
            for each, version in listed
        ]
        emit_table(table("", ("model", "version", "hash", "pushed", "aliases", "size"), lines, left=5))


def _opened(folder: Path) -> Repository:
    from potstill.versions import Repository, is_repository

    if not is_repository(folder):
        raise UserError(
            f"{folder} is no model repository.",
            hint=f"Push a model to make one: potstill push MODEL {folder}",
        )
    return Repository(folder)


def _tell(version: Version, name: str, alias: str, *, as_json: bool) -> None:
    if as_json:
        emit_json(version)
    else:
        click.echo(f"{name}: {alias} is version {version.version} ({version.hash[:12]})")
