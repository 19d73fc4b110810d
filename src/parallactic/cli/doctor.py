"""The subcommand that examines a machine: what is there, what is missing, what to do."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parallactic.cli.console import FAILED, Json, guarded, show
from parallactic.cli.tasks import RUNNING, Backend, Workers
from parallactic.errors import BackendUnavailable, InvalidSpec
from parallactic.worker.ranks import launch

if TYPE_CHECKING:
    from rich.console import Group

    from parallactic.backend import Check

__all__ = ["doctor"]

_logger = logging.getLogger(__name__)


@guarded
def doctor(
    *,
    backend: Backend = None,
    workers: Workers = None,
    folder: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The folder that all workers must see.", rich_help_panel=RUNNING),
    ] = Path(),
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=1.0,
            help="How long workers may take to start, and for each check.",
            rich_help_panel=RUNNING,
        ),
    ] = 60.0,
    json: Json = False,
    quiet: bool,
) -> None:
    """Examine this machine and the workers of a backend: what is there, what is missing, what to do.

    The exit code is 1 if anything has failed.
    """
    if not folder.is_dir():
        raise InvalidSpec(f"there is no folder {folder}; give --folder one that all workers see.")
    name = _chosen(backend)
    started = launch()
    if started is not None and started.rank > 0:
        # One of several that a launcher of MPI has started: the first speaks for all.
        return
    checks: list[Check] = []
    for check in _checks(name, workers, folder.resolve(), timeout):
        _logger.info("%s: %s, %s", check.name, check.state, check.found)
        checks.append(check)
    counts = {state: sum(check.state == state for check in checks) for state in ("ok", "warning", "failure")}
    content = {
        "backend": name,
        "host": socket.gethostname(),
        "counts": counts,
        "checks": [asdict(check) for check in checks],
    }
    show(content if json else _page(name, checks, counts), as_json=json, quiet=quiet)
    if counts["failure"]:
        raise typer.Exit(FAILED)


def _chosen(backend: str | None) -> str:
    """Return the name of the backend; one that this release does not have is an error."""
    from parallactic import registry
    from parallactic.config import DEFAULT_BACKEND, read_configuration

    name = backend or read_configuration().backend or DEFAULT_BACKEND
    if name not in registry.backends():
        registry.load(name)
    return name


def _checks(name: str, workers: int | None, folder: Path, seconds: float) -> Iterator[Check]:
    from parallactic.backend import Check
    from parallactic.cli.doctor_host import check_host, check_python
    from parallactic.cli.doctor_tasks import measure

    yield from check_python()
    own = list(_engine(name, workers))
    yield from own
    broken = [check for check in own if check.fatal]
    measured = measure()
    seen = set()
    if broken:
        found = f"not started: {broken[0].name} has failed"
        yield Check("workers", "warning", found, "put that right, then come again.")
    else:
        for check in _with_workers(name, workers, folder, seconds, measured):
            seen.add(check.name)
            yield check
    if "memory" not in seen:
        # No worker has told: at least this host.
        yield from check_host(measured)


def _engine(name: str, workers: int | None) -> Iterator[Check]:
    """Yield what the backend's own class says, before anything is started."""
    from parallactic import registry
    from parallactic.backend import Check
    from parallactic.config import read_configuration, validate_settings

    try:
        kind = registry.backends()[name].load()
    except ImportError as error:
        yield Check(
            "backend",
            "failure",
            f"{name} cannot be loaded: {error}",
            f"{registry.install_hint(name)}.",
            fatal=True,
        )
        return
    found = kind.available()
    if found.ok:
        yield Check("backend", "ok", f"{name}: {found.detail}")
    else:
        yield Check("backend", "failure", f"{name}: {found.detail}", found.hint, fatal=True)
    values, origin = read_configuration().settings_for(name)
    if workers is not None:
        values["workers"] = workers
        origin.pop("workers", None)
    yield from kind.diagnose(validate_settings(name, kind.Settings, values, origin))


def _with_workers(
    name: str, workers: int | None, folder: Path, seconds: float, measured: dict[str, Any]
) -> Iterator[Check]:
    from parallactic.backend import Check
    from parallactic.cli.doctor_workers import examine
    from parallactic.executor import Executor

    try:
        executor = Executor(name, workers=workers, name="doctor")
    except BackendUnavailable as error:
        yield Check("workers", "failure", str(error), "the other lines may say why.")
        return
    try:
        yield from examine(executor, folder, seconds, {**measured, "name": socket.gethostname()})
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


_MARKS = {"ok": ("✔", "green"), "warning": ("!", "yellow"), "failure": ("✘", "red")}


def _page(name: str, checks: list[Check], counts: dict[str, int]) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Backend {name} on {socket.gethostname()}", title_justify="left", show_lines=False)
    table.add_column("", no_wrap=True)
    table.add_column("looked at", overflow="fold")
    table.add_column("found", overflow="fold", ratio=1)
    for check in checks:
        mark, style = _MARKS[check.state]
        table.add_row(
            Text(f"{mark} {check.state}", style=style), Text(check.name, style="bold"), Text(check.found)
        )
    # Below the table, where a command is not cut into lines.
    advice = [
        Text.assemble((f"{check.name}: ", f"bold {_MARKS[check.state][1]}"), check.advice)
        for check in checks
        if check.advice
    ]
    told = ", ".join(
        f"{number} {state}{'s' if state != 'ok' and number != 1 else ''}" for state, number in counts.items()
    )
    heading = [Text("\nWhat to do", style="bold")] if advice else []
    return Group(table, *heading, *advice, Text(f"\n{told}", style="dim"))
