"""The subcommands that save, list and restore flags."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from parallactic.cli.console import Json, guarded, show

__all__ = ["LINE", "flagversions"]

LINE = "Save flags, list what is saved, put it back."

Vis = Annotated[
    str, typer.Argument(metavar="VIS", help="The MeasurementSet or multi-MS.", show_default=False)
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the version is called.", show_default=False)]


def flagversions() -> typer.Typer:
    """Make the group."""
    group = typer.Typer(
        help=LINE, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False
    )
    for name, function in (("list", _list), ("save", _save), ("restore", _restore)):
        group.command(name, no_args_is_help=True)(function)
    return group


@guarded
def _list(vis: Vis, *, json: Json = False, quiet: bool) -> None:
    """List the saved versions of the flags, the oldest first."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from parallactic.tasks import flag

    found = flag.versions(vis)
    table = Table(title=escape(f"Flag versions of {vis}"), title_justify="left")
    for column in ("name", "comment"):
        table.add_column(column, overflow="fold")
    for version in found:
        table.add_row(Text(version.name), Text(version.comment))
    show([asdict(version) for version in found] if json else table, as_json=json, quiet=quiet)


@guarded
def _save(
    vis: Vis,
    name: Name,
    *,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="One line about it.", show_default=False)] = "",
    json: Json = False,
    quiet: bool,
) -> None:
    """Save the flags as they are under a name."""
    from parallactic.tasks import flag

    saved = flag.save(vis, name, comment)
    show(asdict(saved) if json else f"saved the flags of {vis} as {saved.name}", as_json=json, quiet=quiet)


@guarded
def _restore(vis: Vis, name: Name, *, json: Json = False, quiet: bool) -> None:
    """Put the flags back as they were saved."""
    from parallactic.tasks import flag

    flag.restore(vis, name)
    show({"name": name} if json else f"put back the flags of {vis} from {name}", as_json=json, quiet=quiet)
