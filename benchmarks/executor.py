"""What a task costs: Parallactic beside ProcessPoolExecutor and loky, in one run, on the same workers.

    python benchmarks/executor.py             # about two minutes
    python benchmarks/executor.py --quick     # about twenty seconds, for a first look
    python benchmarks/executor.py --json results.json

The contestants take turns within every measurement, so that whatever else the host does meets all of them.
The client's thread sleeps while tasks run: a busy one would compete with the executor's own threads for the
interpreter.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import loky
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

import parallactic as plx
from parallactic.testing import arrays

AnyExecutor = Any
PARALLACTIC, STANDARD, LOKY = "parallactic", "ProcessPool", "loky"
CONTESTANTS = (PARALLACTIC, STANDARD, LOKY)
ARRAY_BYTES = 80_000_000


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    calls: int
    tasks: int
    mapped: int
    million: int
    copies: int


FULL = Plan(rounds=5, calls=400, tasks=8_000, mapped=100_000, million=1_000_000, copies=5)
QUICK = Plan(rounds=3, calls=200, tasks=3_000, mapped=30_000, million=100_000, copies=3)


@dataclass
class Measurement:
    """One row of the table: the value of each contestant, all rounds, and the goal if there is one."""

    name: str
    unit: str
    better: str
    values: dict[str, list[float]] = field(default_factory=dict)
    goal: str = ""
    met: bool | None = None
    note: str = ""

    def median(self, contestant: str) -> float | None:
        """Return the median over the rounds."""
        values = self.values.get(contestant)
        return statistics.median(values) if values else None


def open_contestants(stack: ExitStack, workers: int) -> dict[str, AnyExecutor]:
    """Start every contestant and wait until its workers are there."""
    spawn = multiprocessing.get_context("spawn")
    contestants: dict[str, AnyExecutor] = {
        PARALLACTIC: stack.enter_context(plx.Executor("multiprocessing", workers=workers)),
        STANDARD: stack.enter_context(concurrent.futures.ProcessPoolExecutor(workers, mp_context=spawn)),
        LOKY: stack.enter_context(loky.ProcessPoolExecutor(workers)),
    }
    for executor in contestants.values():
        # Two naps at once need two workers.
        concurrent.futures.wait([executor.submit(time.sleep, 0.5) for _ in range(workers)])
        concurrent.futures.wait([executor.submit(arrays.total, np.ones(3)) for _ in range(8 * workers)])
    return contestants


def take_turns(
    contestants: dict[str, AnyExecutor], rounds: int, measure: Callable[[AnyExecutor], float]
) -> dict[str, list[float]]:
    """Measure every contestant once in each round, another one first each time."""
    values: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            values[name].append(measure(contestants[name]))
    return values


def latency(contestants: dict[str, AnyExecutor], plan: Plan) -> Measurement:
    """Time one no-op from submit to result, again and again; the median."""

    def measure(executor: AnyExecutor) -> float:
        seconds = []
        for _ in range(plan.calls):
            begin = time.perf_counter()
            executor.submit(abs, -1).result()
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds) * 1e3

    row = Measurement("no-op, submit to result", "ms", "lower", take_turns(contestants, plan.rounds, measure))
    own, standard = row.median(PARALLACTIC), row.median(STANDARD)
    assert own is not None
    assert standard is not None
    row.goal, row.met = f"<= 0.2 ms and <= {STANDARD}", own <= 0.2 and own <= standard
    return row


def throughput(contestants: dict[str, AnyExecutor], plan: Plan) -> Measurement:
    """Count no-ops completed per second, from the first submit to the last result."""

    def measure(executor: AnyExecutor) -> float:
        begin = time.perf_counter()
        futures = [executor.submit(abs, -1) for _ in range(plan.tasks)]
        concurrent.futures.wait(futures)
        return plan.tasks / (time.perf_counter() - begin)

    row = Measurement("no-ops by submit", "tasks/s", "higher", take_turns(contestants, plan.rounds, measure))
    own = row.median(PARALLACTIC)
    assert own is not None
    row.goal, row.met = ">= 10,000 tasks/s", own >= 10_000
    return row


def lane(contestants: dict[str, AnyExecutor], plan: Plan) -> Measurement:
    """The same on one lane, in strict order; the others have none."""
    own = {PARALLACTIC: contestants[PARALLACTIC].target(0)}

    def measure(target: Any) -> float:
        begin = time.perf_counter()
        futures = [target.submit(abs, -1) for _ in range(plan.tasks)]
        concurrent.futures.wait(futures)
        return plan.tasks / (time.perf_counter() - begin)

    return Measurement("no-ops on one lane", "tasks/s", "higher", take_turns(own, plan.rounds, measure))


def chunked_map(contestants: dict[str, AnyExecutor], plan: Plan) -> Measurement:
    """Count items per second of a map in chunks: automatic for us, 250 items for the others."""

    def measure(executor: AnyExecutor) -> float:
        chunks = {} if isinstance(executor, plx.Executor) else {"chunksize": 250}
        begin = time.perf_counter()
        count = sum(1 for _ in executor.map(abs, range(plan.mapped), **chunks))
        assert count == plan.mapped
        return count / (time.perf_counter() - begin)

    values = take_turns(contestants, plan.rounds, measure)
    return Measurement("no-ops by map in chunks", "items/s", "higher", values)


def large_argument(contestants: dict[str, AnyExecutor], plan: Plan) -> Measurement:
    """Time a task with an 80 MB array as argument; every call copies it anew."""
    array = np.ones(ARRAY_BYTES // 8)

    def measure(executor: AnyExecutor) -> float:
        begin = time.perf_counter()
        executor.submit(arrays.first, array).result()
        return (time.perf_counter() - begin) * 1e3

    return Measurement("80 MB argument", "ms", "lower", take_turns(contestants, plan.copies, measure))


def large_result(contestants: dict[str, AnyExecutor], plan: Plan) -> Measurement:
    """Time a task that returns an 80 MB array, until the client can read it."""

    def measure(executor: AnyExecutor) -> float:
        begin = time.perf_counter()
        value = executor.submit(arrays.full, ARRAY_BYTES // 8, 1.0).result()
        assert value[-1] == 1.0
        return (time.perf_counter() - begin) * 1e3

    return Measurement("80 MB result", "ms", "lower", take_turns(contestants, plan.copies, measure))


def by_reference(contestants: dict[str, AnyExecutor], plan: Plan) -> list[Measurement]:
    """Time the first copy of an 80 MB array by `put`, then each of 8 tasks that use it.

    The others have no references: they send the array eight times.
    """
    array = np.ones(ARRAY_BYTES // 8)
    first = Measurement("80 MB by put, first copy", "ms", "lower", {PARALLACTIC: []})
    each = Measurement("80 MB by put, per use of 8", "ms", "lower")

    def measure(executor: AnyExecutor) -> float:
        argument: Any = array
        if isinstance(executor, plx.Executor):
            begin = time.perf_counter()
            argument = executor.put(array)
            first.values[PARALLACTIC].append((time.perf_counter() - begin) * 1e3)
        begin = time.perf_counter()
        concurrent.futures.wait([executor.submit(arrays.first, argument) for _ in range(8)])
        return (time.perf_counter() - begin) / 8 * 1e3

    each.values = take_turns(contestants, plan.copies, measure)
    own = each.median(PARALLACTIC)
    assert own is not None
    each.goal, each.met = "<= 20 ms after the first copy", own <= 20
    return [first, each]


def memory_growth(contestants: dict[str, AnyExecutor], plan: Plan) -> Measurement:
    """Map no-ops over a million items, and see by how much the client's memory grows after the first tenth.

    For us ``buffersize=2000``; the others take all items at once, in chunks of 250.
    """
    process = psutil.Process()

    def results(executor: AnyExecutor) -> Iterator[int]:
        if isinstance(executor, plx.Executor):
            yield from executor.map(abs, range(plan.million), buffersize=2000)
        else:
            yield from executor.map(abs, range(plan.million), chunksize=250)

    def measure(executor: AnyExecutor) -> float:
        before = most = process.memory_info().rss
        for number, _ in enumerate(results(executor)):
            if number == plan.million // 10 and isinstance(executor, plx.Executor):
                before = process.memory_info().rss
            if number % 10_000 == 0:
                most = max(most, process.memory_info().rss)
        return max(0.0, (most - before) / 1e6)

    row = Measurement(
        f"memory growth, map of {plan.million:,}", "MB", "lower", take_turns(contestants, 1, measure)
    )
    own = row.median(PARALLACTIC)
    assert own is not None
    row.goal, row.met = "constant (< 5 MB)", own < 5
    return row


def run(plan: Plan, workers: int, console: Console) -> list[Measurement]:
    """Carry out all measurements."""
    rows: list[Measurement] = []
    with ExitStack() as stack:
        with console.status("starting workers"):
            contestants = open_contestants(stack, workers)
        for measure in (latency, throughput, lane, chunked_map, large_argument, large_result):
            with console.status(measure.__name__.replace("_", " ")):
                rows.append(measure(contestants, plan))
        with console.status("by reference"):
            rows += by_reference(contestants, plan)
        with console.status("memory growth"):
            rows.append(memory_growth(contestants, plan))
    return rows


def table(rows: list[Measurement], title: str) -> Table:
    """Put the measurements side by side."""
    shown = Table(title=title)
    shown.add_column("measurement")
    for contestant in CONTESTANTS:
        shown.add_column(contestant, justify="right")
    shown.add_column("unit")
    shown.add_column("goal")
    for row in rows:
        cells = [_cell(row, contestant) for contestant in CONTESTANTS]
        verdict = "" if row.met is None else f"{row.goal}: " + ("[green]met" if row.met else "[red]missed")
        shown.add_row(row.name, *cells, row.unit, verdict)
    return shown


def _cell(row: Measurement, contestant: str) -> str:
    value = row.median(contestant)
    if value is None:
        return "-"
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    values = [other for other in map(row.median, CONTESTANTS) if other is not None]
    best = min(values) if row.better == "lower" else max(values)
    return f"[bold]{text}[/bold]" if value == best and len(values) > 1 else text


def describe_host(workers: int) -> dict[str, Any]:
    """Return what a reader must know to judge the numbers."""
    return {
        "workers": workers,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "parallactic": plx.__version__,
        "loky": loky.__version__,
        "machine": platform.machine(),
        "load before": round(os.getloadavg()[0], 2),
    }


def main() -> int:
    """Parse the command line, measure, print; return 0 if every goal is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2, help="worker processes of each contestant")
    parser.add_argument("--quick", action="store_true", help="a first look, less exact")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's value to a file")
    arguments = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=120)
    host = describe_host(arguments.workers)
    rows = run(QUICK if arguments.quick else FULL, arguments.workers, console)
    title = (
        f"{host['workers']} workers on {host['cores']} cores, Python {host['python']}; medians over rounds"
    )
    console.print(table(rows, title))
    if host["load before"] > 0.5:
        console.print(f"The host was busy (load {host['load before']}): read ratios, not absolutes.")
    if arguments.json:
        report = {"host": host, "measurements": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
