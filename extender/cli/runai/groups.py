"""Commands that are grouped by what they are about, as in `runai delete job NAME`, which may be left out."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


def group(about: str, *, default: str | None = None) -> typer.Typer:
    """A group; with `default`, arguments that begin with the name of none of its commands are that command's."""

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if default is not None and args and args[0] not in (*self.commands, *ctx.help_option_names):
                args = [default, *args]
            return super().parse_args(ctx, args)

    return typer.Typer(
        help=about, cls=Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
