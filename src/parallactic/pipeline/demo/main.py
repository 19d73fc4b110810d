"""The demonstration from the command line: two recipes, one report, one verdict."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.pipeline.datasets import fetch_evla
from parallactic.pipeline.demo.evla import evla_section
from parallactic.pipeline.demo.simulated import simulated_section
from parallactic.pipeline.outcome import RunResult
from parallactic.pipeline.report import Section, Table, write_report
from parallactic.pipeline.runner import run

__all__ = ["main"]

_MARKER = ".parallactic-demo"
_HALVES = ("evla", "simulated")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration.

    Parameters
    ----------
    arguments
        The command line. None: that of this process.

    Returns
    -------
    int
        0 if every bar is met, 1 if one is missed or a step failed, 2 if what was asked for cannot be.
    """
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=False)
    try:
        return _demo(console, options)
    except InvalidSpec as error:
        console.print(Text(str(error), style="red"))
        return 2
    except ParallacticError as error:
        console.print(Text(str(error), style="red"))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m parallactic.pipeline.demo",
        description="Calibrate and image a real and a simulated observation, and hold them against bars.",
    )
    parser.add_argument(
        "--output", default="demo-output", help="folder of all products; made anew (default: %(default)s)"
    )
    parser.add_argument("--backend", default="multiprocessing", help="where to run (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=None, help="how many workers (default: one for each core)"
    )
    parser.add_argument("--only", choices=_HALVES, default=None, help="one half alone")
    parser.add_argument("--recipes", default=None, help="folder of the recipes (default: examples/demo)")
    return parser


def _demo(console: Console, options: argparse.Namespace) -> int:
    begin = time.perf_counter()
    recipes = _recipes(options.recipes)
    output = _fresh(Path(options.output).absolute())
    halves: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[RunResult], Section]]] = {
        "evla": (partial(_evla, console), evla_section),
        "simulated": (dict, simulated_section),
    }
    sections = []
    for name, (inputs, measure) in halves.items():
        if options.only in (None, name):
            console.print(Text(f"{name}: running {recipes / name}.toml", style="bold"))
            section = _half(console, recipes / f"{name}.toml", inputs, measure, output / name, options)
            console.print(section)
            sections.append(section)
    seconds = time.perf_counter() - begin
    text = f"Made in {seconds:.0f} s on {options.backend} by the recipes in examples/demo."
    page = write_report(output, "Parallactic: the demonstration", text, sections)
    ok = all(section.ok for section in sections)
    verdict = "Every bar is met." if ok else "A bar is MISSED, see above."
    console.print(Text(f"{verdict} {seconds:.0f} s.", style="bold green" if ok else "bold red"))
    console.print(Text(f"Report: {page}\nNumbers: {output / 'report.json'}", overflow="fold"))
    return 0 if ok else 1


def _half(
    console: Console,
    recipe: Path,
    inputs: Callable[[], dict[str, Any]],
    measure: Callable[[RunResult], Section],
    folder: Path,
    options: argparse.Namespace,
) -> Section:
    try:
        result = run(recipe, set=inputs(), output=folder, backend=options.backend, workers=options.workers)
        console.print(result)
        section = measure(result)
    except InvalidSpec:
        raise
    except ParallacticError as error:
        return Section(title=recipe.stem, text="This half did not come to its end.", error=str(error))
    steps = [(step.name, step.task, f"{step.seconds:.2f}", str(step.units)) for step in result.steps]
    section.tables.append(
        Table(f"Steps, on {result.executor}", ("step", "task", "seconds", "units of work"), steps)
    )
    return section


def _evla(console: Console) -> dict[str, Any]:
    with console.status("Fetching the EVLA set: 64 MB, the first time alone."):
        return {"vis": str(fetch_evla())}


def _recipes(folder: str | None) -> Path:
    """Return the folder of the recipes: the one asked for, or that of the checkout this module lies in."""
    path = Path(folder) if folder else Path(__file__).resolve().parents[4] / "examples" / "demo"
    for name in _HALVES:
        if not (path / f"{name}.toml").is_file():
            raise InvalidSpec(
                f"there is no recipe {path / name}.toml; run the demonstration from a checkout of the "
                "sources, or name the folder of its recipes with --recipes."
            )
    return path


def _fresh(output: Path) -> Path:
    """Make the output folder anew; a folder that is not an earlier demonstration's is left alone."""
    if output.exists():
        if not (output / _MARKER).is_file():
            raise InvalidSpec(
                f"{output} exists and is not the output of an earlier demonstration; "
                "name another folder with --output."
            )
        shutil.rmtree(output)
    try:
        output.mkdir(parents=True)
        (output / _MARKER).write_text("This folder is made anew by every run of the demonstration.\n")
    except OSError as error:
        raise InvalidSpec(f"--output={output} cannot be written: {error.strerror or error}.") from error
    return output
