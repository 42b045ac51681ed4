"""What every command shares: options shown in sections, examples, and the options all of them take."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
OTHER = "Options"
_TYPED = "potstill.typed"


class SectionedOption(click.Option):
    """A click option that knows the heading it is shown under."""

    def __init__(self, *args: Any, section: str = OTHER, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A click command whose help groups the options under headings, in order of first appearance."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, options in sections(self, ctx).items():
            records = [record for option in options if (record := option.get_help_record(ctx))]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def typed_command(ctx: click.Context, *, leaving_out: str = "") -> str:
    """The command line as it was typed, quoted for a shell, without ``leaving_out`` and its value."""
    kept: list[str] = []
    skip = False
    for argument in ctx.meta.get(_TYPED, ()):
        if skip or (leaving_out and argument.startswith(f"{leaving_out}=")):
            skip = False
        elif leaving_out and argument == leaving_out:
            skip = True
        else:
            kept.append(argument)
    return shlex.join(["potstill", str(ctx.info_name), *kept])


def sections(command: click.Command, ctx: click.Context) -> dict[str, list[click.Parameter]]:
    """The options of a command under their headings; those without one come last."""
    grouped: dict[str, list[click.Parameter]] = {}
    for parameter in command.get_params(ctx):
        if isinstance(parameter, click.Option):
            heading = parameter.section if isinstance(parameter, SectionedOption) else OTHER
            grouped.setdefault(heading, []).append(parameter)
    if OTHER in grouped:
        grouped[OTHER] = grouped.pop(OTHER)
    return grouped


def option(*declarations: str, section: str = OTHER, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """``click.option`` under a heading."""
    return click.option(*declarations, cls=SectionedOption, section=section, **attributes)


def examples(*lines: str) -> str:
    """An epilog of example commands, kept as they are typed."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def command(*, epilog: str, name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """A potstill command: sectioned options, examples below, and ``--debug``."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        with_debug = option(
            "--debug", is_flag=True, expose_value=False, help="Show the traceback of an unexpected error."
        )(function)
        return click.command(name, cls=SectionedCommand, epilog=epilog)(with_debug)

    return decorate


def json_option(
    help_text: str = "Print one JSON object on stdout instead of text.",
) -> Callable[[Decorated], Decorated]:
    """``--json``, passed to the command as ``as_json``."""
    return option("--json", "as_json", is_flag=True, help=help_text)


def quiet_option() -> Callable[[Decorated], Decorated]:
    """``--quiet``: no progress, no messages."""
    return option("-q", "--quiet", is_flag=True, help="No progress and no messages on stderr.")
