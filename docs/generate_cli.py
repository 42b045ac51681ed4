"""Writes docs/cli.md from the commands themselves: ``./dev docs``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from potstill.cli import potstill
from potstill.cli.command import sections

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# Command line

<!-- Made by `./dev docs` from the commands themselves; change those, not this page. -->

Data goes to stdout, progress and messages to stderr. Exit codes: 0 all is well, 1 a check or a gate failed,
2 the input is wrong, 130 interrupted. Every command takes `--help` and `--debug`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, command in potstill.commands.items():
        with click.Context(
            command, info_name=name, parent=click.Context(potstill, info_name="potstill")
        ) as ctx:
            parts.append("\n".join(chapter(command, ctx)))
    return "\n".join(parts)


def chapter(command: click.Command, ctx: click.Context) -> Iterator[str]:
    """One command: usage, what it does, examples, options."""
    yield f"## potstill {ctx.info_name}\n"
    yield f"```text\n{' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)])}\n```\n"
    paragraphs = (command.help or "").split("\n\n")
    for paragraph in paragraphs:
        yield " ".join(paragraph.split()) + "\n"
    examples = [line.strip() for line in (command.epilog or "").splitlines() if line.startswith("  ")]
    yield "```sh\n" + "\n".join(examples) + "\n```\n"
    for heading, options in sections(command, ctx).items():
        records = [
            option.get_help_record(ctx) for option in options if not {"--help", "--debug"} & {*option.opts}
        ]
        yield f"| {heading} | |\n| --- | --- |"
        for record in filter(None, records):
            flags, text = (cell.replace("|", "\\|") for cell in record)
            yield f"| `{flags}` | {text} |"
        yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.name}", file=sys.stderr)
