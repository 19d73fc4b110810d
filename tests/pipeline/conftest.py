"""Tasks that are cheap and visible, for recipes to run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Literal, Unpack

import pytest
from line_units import copy_line

from inline import Inline
from parallactic.errors import InvalidSpec
from parallactic.tasks.base import (
    TASKS,
    ExecutorLike,
    SelectionParameters,
    TaskResult,
    run_units,
    task,
    using,
)
from parallactic.tasks.quantity import Duration


@pytest.fixture
def inline() -> Executor:
    """An executor that runs at submit."""
    return Inline()


@task
def shout(vis: str, outputvis: str, *, executor: ExecutorLike = None) -> TaskResult:
    """Write a folder whose file has the lines of another in capitals."""
    lines = Path(vis, "lines").read_text().split()
    with using(executor) as ex:
        loud = run_units(ex, copy_line, lines, label="shout")
    target = Path(outputvis)
    if target.exists():
        raise InvalidSpec(f"outputvis={outputvis!r} exists already.")
    target.mkdir(parents=True)
    (target / "lines").write_text("\n".join(loud))
    return TaskResult(counts={"lines": len(loud)}, products=[outputvis])


def _check_mode(**parameters: Any) -> None:
    if parameters["mode"] == "slow" and not parameters["wait"]:
        raise InvalidSpec("mode='slow' needs wait.")


@task(check=_check_mode)
def mark(
    vis: str,
    mode: Literal["quick", "slow"] = "quick",
    *,
    wait: Duration = 0.0,
    times: int = 1,
    note: str | None = None,
    executor: ExecutorLike = None,
    **selection: Unpack[SelectionParameters],
) -> TaskResult:
    """Append to the file in place."""
    time.sleep(0.001 * times)
    with Path(vis, "lines").open("a") as file:
        file.write(f"\n{mode}-{note}-{times}" * times)
    return TaskResult(counts={"marks": times}, products=[vis], warnings=["marked"] if note else [])


# Known only while a test of this folder runs.
TASKS.remove("shout")
TASKS.remove("mark")


@pytest.fixture(autouse=True)
def _tasks() -> Iterator[None]:
    for function in (shout, mark):
        TASKS.add(function.__name__, function)  # type: ignore[arg-type]
    yield
    for function in (shout, mark):
        TASKS.remove(function.__name__)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``obs`` in it, and no settings of Parallactic around."""
    monkeypatch.chdir(tmp_path)
    for name in ("BACKEND", "WORKERS", "CONFIG"):
        monkeypatch.delenv(f"PARALLACTIC_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    obs = tmp_path / "obs"
    obs.mkdir()
    (obs / "lines").write_text("one two three")
    return tmp_path


RECIPE = """
[recipe]
name = "loud"
output = "out-{label}"

[inputs]
vis = "obs"
label = "a"
loud = "{output}/loud"
count = 2

[[step]]
task = "shout"
vis = "{vis}"
outputvis = "{loud}"

[[step]]
name = "mark_all"
task = "mark"
vis = "{loud}"
times = "{count}"
note = "n{{{label}}}"
[step.resources]
memory = "8GB"
cores = 2

[[step]]
name = "extra"
task = "mark"
skip = true
vis = "{loud}"
"""


@pytest.fixture
def recipe(data: Path) -> Path:
    """A recipe of three steps, the last one skipped."""
    path = data / "loud.toml"
    path.write_text(RECIPE)
    return path
