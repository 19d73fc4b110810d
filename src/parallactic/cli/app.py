"""The command as a whole: ``run``, ``backends``, and a subcommand for each task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parallactic import __version__
from parallactic.cli.casa import casa
from parallactic.cli.console import Json, guarded, show
from parallactic.cli.doctor import doctor
from parallactic.cli.flagversions import flagversions
from parallactic.cli.history import status, timeline
from parallactic.cli.submit import submit
from parallactic.cli.tasks import RUNNING, Backend, Workers, add_task, marked_up
from parallactic.cli.texts import LINES, PAGE, PAGE_END, RUN, RUN_END
from parallactic.tasks import TASKS

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["make_app"]

RECIPES = "Recipes"
ABOUT = "About"
CHANGES = "The recipe"


def make_app(words: Sequence[str] = ()) -> typer.Typer:
    """Make the command.

    Parameters
    ----------
    words
        What was typed. Only tasks that occur in it are imported; the others are there by name, so that the
        first page comes at once.
    """
    app = typer.Typer(
        name="parallactic",
        help=PAGE,
        epilog=PAGE_END,
        rich_markup_mode="rich",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command("run", help=marked_up(RUN), epilog=RUN_END, rich_help_panel=RECIPES, no_args_is_help=True)(
        _run
    )
    # While a shell completes, the words are in the environment.
    typed = {
        *words,
        *os.environ.get("COMP_WORDS", "").split(),
        *os.environ.get("_TYPER_COMPLETE_ARGS", "").split(),
    }
    for name in (*LINES, *(name for name in TASKS if name not in LINES)):
        panel, line = LINES.get(name, ("Tasks", ""))
        if name in typed:
            add_task(app, name, panel)
        else:
            app.command(name, help=line, rich_help_panel=panel)(_not_asked_for)
    app.add_typer(flagversions(), name="flagversions", rich_help_panel="Flagging")
    app.command("submit", rich_help_panel=RECIPES, no_args_is_help=True)(submit)
    app.command("status", rich_help_panel=RECIPES, no_args_is_help=True)(status)
    app.command("timeline", rich_help_panel=RECIPES, no_args_is_help=True)(timeline)
    app.command("casa", rich_help_panel="CASA", no_args_is_help=True)(casa)
    app.command("backends", rich_help_panel=ABOUT)(_backends)
    app.command("doctor", rich_help_panel=ABOUT)(doctor)
    return app


def _not_asked_for() -> None:
    """Stand in for a task that is not on the command line."""
    raise AssertionError("a task is always imported when its name is on the command line")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"parallactic {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_show_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None: ...


@guarded
def _run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The TOML file.", show_default=False)],
    *,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Change an input (vis=...), or a parameter of a step (flag.timecutoff=5). May be repeated.",
            rich_help_panel=CHANGES,
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="A:B,C", help="Run these steps only, by name or number.", rich_help_panel=CHANGES
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP", help="Leave this step out. May be repeated.", rich_help_panel=CHANGES),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for products and logs.", rich_help_panel=CHANGES),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            metavar="",
            help="Remove first what the steps made in this folder before, and nothing else.",
            rich_help_panel=CHANGES,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            "-n",
            metavar="",
            help="Check everything, print the plan, run nothing.",
            rich_help_panel=RUNNING,
        ),
    ] = False,
    backend: Backend = None,
    workers: Workers = None,
    json: Json = False,
    quiet: bool,
) -> None:
    from parallactic.pipeline import RunFailed, make_plan
    from parallactic.pipeline.runner import execute

    plan = make_plan(recipe, set=set or (), steps=steps, skip=skip or (), output=output, overwrite=overwrite)
    if dry_run:
        show(plan, as_json=json, quiet=quiet)
        return
    try:
        result = execute(plan, backend=backend, workers=workers, overwrite=overwrite)
    except RunFailed as error:
        if error.result is not None:
            show(error.result, as_json=json, quiet=quiet)
        raise
    show(result, as_json=json, quiet=quiet)


@guarded
def _backends(*, json: Json = False, quiet: bool) -> None:
    """Say where tasks can run on this machine, and what to install for the rest."""
    found = _found_backends()
    show(found if json else _backends_table(found), as_json=json, quiet=quiet)


def _found_backends() -> list[dict[str, Any]]:
    from dataclasses import asdict

    from parallactic import registry
    from parallactic.config import DEFAULT_BACKEND, read_configuration

    chosen = read_configuration().backend or DEFAULT_BACKEND
    found = []
    for name in sorted(registry.backends()):
        state = registry.availability(name)
        entry = {
            "name": name,
            "available": state.ok,
            "default": name == chosen,
            "detail": state.detail,
            "hint": state.hint,
        }
        if state.ok:
            able = asdict(registry.load(name).capabilities)
            entry["capabilities"] = sorted(key for key, value in able.items() if value)
        found.append(entry)
    return found


def _backends_table(found: list[dict[str, Any]]) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Backends", title_justify="left")
    for column in ("backend", "available", "what it is", "can"):
        table.add_column(column, overflow="fold", no_wrap=column in ("backend", "available"))
    for entry in found:
        table.add_row(
            Text(entry["name"] + (" *" if entry["default"] else ""), style="bold"),
            Text("yes", style="green") if entry["available"] else Text("no", style="red"),
            Text(entry["detail"]),
            Text(", ".join(entry.get("capabilities", [])).replace("_", " ")),
        )
    # Below the table, where a command is not cut into lines.
    hints = [
        Text(f"{entry['name']}: {entry['hint']}")
        for entry in found
        if entry["hint"] and not entry["available"]
    ]
    return Group(table, Text("* runs unless another is asked for", style="dim"), *hints)
