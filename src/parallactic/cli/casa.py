"""The subcommand that runs an unmodified CASA script with its parallel tasks on the workers of a backend."""

from __future__ import annotations

import runpy
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from parallactic.cli.console import guarded
from parallactic.cli.tasks import RUNNING, Backend, Workers
from parallactic.errors import InvalidSpec

__all__ = ["casa"]


@guarded
def casa(
    script: Annotated[
        Path, typer.Argument(metavar="SCRIPT", help="A script that uses casatasks.", show_default=False)
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ARGUMENTS]", help="Its arguments; after -- if they begin with a dash."),
    ] = None,
    *,
    backend: Backend = None,
    workers: Workers = None,
    fast_polling: Annotated[
        bool,
        typer.Option(
            "--fast-polling",
            metavar="",
            help="Let tclean ask its workers every 5 ms instead of once a second.",
            rich_help_panel=RUNNING,
        ),
    ] = False,
    quiet: bool,  # noqa: ARG001  (it has silenced the log already)
) -> None:
    """Run a CASA script whose parallel tasks (a multi-MS, tclean mfs with parallel=True) use the workers."""
    from parallactic.casa import enable

    if not script.is_file():
        raise InvalidSpec(f"there is no script {script}.")
    sys.argv = [str(script), *(arguments or [])]
    # Before the workers start: they look for modules where the script does.
    sys.path.insert(0, str(script.resolve().parent))
    enable(backend, workers, fast_polling=fast_polling)
    try:
        runpy.run_path(str(script), run_name="__main__")
    except Exception as error:
        # The script's own error, shown as Python would.
        frame = error.__traceback__
        while frame is not None and frame.tb_frame.f_code.co_filename != str(script):
            frame = frame.tb_next
        traceback.print_exception(type(error), error, frame or error.__traceback__)
        raise typer.Exit(1) from error
