"""The subcommands that look at a run from outside: how it stands, and how its time went."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from parallactic.cli.console import Json, guarded, show

__all__ = ["status", "timeline"]

Run = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="The output folder of a recipe, or the run_dir of an Executor.",
        show_default=False,
    ),
]


@guarded
def status(run: Run, *, json: Json = False, quiet: bool) -> None:
    """Say how a run stands, from any shell: its tasks, their times, what has failed."""
    from parallactic.history import read_run

    history = read_run(run)
    content = {
        "name": history.name,
        "backend": history.backend,
        "ended": history.closed,
        "counts": dict(history.counts),
        "unfinished": history.unfinished,
        "failed": [asdict(attempt) for attempt in history.attempts if attempt.state == "failed"],
    }
    show(content if json else history, as_json=json, quiet=quiet)


@guarded
def timeline(
    run: Run,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write; must not exist.")
    ] = Path("timeline.json"),
    json: Json = False,
    quiet: bool,
) -> None:
    """Write what every worker did when, for the trace viewers of browsers (Perfetto, chrome://tracing)."""
    from parallactic.history import read_run

    history = read_run(run)
    history.write_chrome_trace(output)
    told = f"{len(history.attempts)} attempts of {history.name} in {output}; open it in Perfetto or chrome://tracing"
    show({"file": str(output)} if json else told, as_json=json, quiet=quiet)
