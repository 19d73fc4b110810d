"""The subcommand that makes a batch job of a recipe, from the request file of a Torque or PBS cluster."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from parallactic.cli.console import Json, guarded, show
from parallactic.cli.tasks import RUNNING
from parallactic.errors import InvalidSpec, SubmitError

__all__ = ["submit"]

REQUEST = "The request (one of both)"
_QSUB_SECONDS = 60.0


@guarded
def submit(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECIPE",
            help="The TOML file to run; without it the file's COMMAND.",
            show_default=False,
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN_OPTIONS", help="Options of [cyan]parallactic run[/], after --.", show_default=False
        ),
    ] = None,
    *,
    torque: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A cluster.req, for a cluster with Torque.", rich_help_panel=REQUEST
        ),
    ] = None,
    pbspro: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The same file, for PBS Pro or OpenPBS.", rich_help_panel=REQUEST),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            "-n",
            metavar="",
            help="Check everything, print the job script, submit nothing.",
            rich_help_panel=RUNNING,
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check/--no-check",
            metavar="",
            help="Check the recipe and its data here, before the job waits in a queue.",
            rich_help_panel=RUNNING,
        ),
    ] = True,
    json: Json = False,
    quiet: bool,
) -> None:
    """Submit a recipe as a batch job that runs on MPI servers of a Torque or PBS cluster."""
    from parallactic.cli.submit_request import read_request
    from parallactic.cli.submit_script import job_script

    path = torque or pbspro
    if path is None or (torque and pbspro):
        raise InvalidSpec("give one request file: --torque cluster.req, or --pbspro cluster.req.")
    request = read_request(path)
    words: list[str] = []
    if recipe is not None:
        words = ["run", str(recipe.resolve()), *(arguments or [])]
        if any(word.partition("=")[0] == "--backend" for word in words):
            raise InvalidSpec("the job runs on backend 'mpi'; leave --backend out.")
        if check:
            _check(words, request.folder)
        if request.command:
            typer.echo(f"{path}: the recipe runs in place of COMMAND.", err=True)
    elif not request.command:
        raise InvalidSpec(f"{path} has no COMMAND: add one, or name a recipe to run.")
    script = job_script(request, "torque" if torque else "pbspro", path.name, words)
    if dry_run:
        if json:
            show({"script": script}, as_json=True)
        else:
            # As it is: a table's console would break its lines and read its brackets.
            typer.echo(script, nl=False)
        return
    number = _submit(script)
    show({"job": number, "script": script} if json else number, as_json=json, quiet=quiet)


def _check(words: list[str], folder: Path) -> None:
    """Let ``run --dry-run`` look at the recipe where the job will run.

    Raises
    ------
    InvalidSpec
        If it finds a fault.
    """
    done = subprocess.run(
        [sys.executable, "-m", "parallactic", *words, "--dry-run", "--quiet", "--backend", "serial"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InvalidSpec(_complaint(done.stderr))


def _complaint(text: str) -> str:
    """Return what a command complained of: its sentence, or what stands in the box of a wrong option."""
    boxed = [line.strip("│ ") for line in text.splitlines() if line.startswith("│")]
    if boxed:
        return f"parallactic run: {' '.join(boxed)}"
    return text.strip().removeprefix("error: ")


def _submit(script: str) -> str:
    """Hand a script to qsub and return the number of the job.

    Raises
    ------
    InvalidSpec
        If there is no qsub here.
    SubmitError
        If it refuses the job, or does not answer.
    """
    qsub = shutil.which("qsub")
    if qsub is None:
        raise InvalidSpec(
            "there is no qsub on this host: submit on a login node of the cluster, "
            "or write the script with --dry-run and take it there."
        )
    try:
        done = subprocess.run(
            [qsub], input=script, capture_output=True, text=True, timeout=_QSUB_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SubmitError(
            f"qsub did not answer within {_QSUB_SECONDS:.0f} s; look with qstat whether the job is there."
        ) from None
    if done.returncode != 0:
        raise SubmitError(f"qsub refused the job: {done.stderr.strip() or f'exit code {done.returncode}'}.")
    return done.stdout.strip()
