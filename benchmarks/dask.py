"""What Parallactic costs on Dask, and what it gains: our backend beside a raw Client, in one run.

    python benchmarks/dask.py                       # about a minute
    python benchmarks/dask.py --rounds 5 --json results.json

Both have a local cluster of two workers with one thread each, in processes of their own, which is there while
the other is measured but has nothing to do. Rounds alternate between the two, and medians are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

# This file has the name of the package that it measures, and must not be found in its place.
sys.path[:] = [folder for folder in sys.path if Path(folder) != Path(__file__).parent]

import numpy as np
import psutil
from distributed import Client
from distributed import wait as dask_wait
from distributed.deploy.subprocess import SubprocessCluster
from rich.console import Console
from rich.table import Table

import parallactic as plx

WORKERS = 2
TASKS = 1000
LEAVES = 64
LEAF_VALUES = 1_000_000
LARGE_VALUES = 10_000_000

#: What is measured, its unit, and the most that ours may be of raw Dask's; for rates, the least.
ROWS = {
    "one small task, there and back": ("ms", 1.0),
    f"{TASKS} small tasks": ("tasks/s", 0.9),
    f"{TASKS} small tasks addressed to one worker": ("tasks/s", 1.0),
    "an argument of 80 MB": ("ms", 1.0),
    "80 MB put once, used by 8 tasks": ("ms", 1.0),
    f"a tree of {LEAVES} arrays of 8 MB": ("ms", 1.1),
    "the client's memory grows by, during the tree": ("MB", 1.0),
}


def small(number: int) -> int:
    """Do next to nothing."""
    return number + 1


def leaf(number: int) -> Any:
    """Make an array of 8 MB."""
    return np.full(LEAF_VALUES, float(number))


def add(left: Any, right: Any) -> Any:
    """Add two arrays."""
    return left + right


def total(values: Any) -> float:
    """Read an array."""
    return float(values.sum())


def milliseconds(call: Callable[[], Any], times: int = 1) -> float:
    """Return the median time of a call."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1e3


class Ours:
    """An Executor on the backend dask."""

    def __init__(self) -> None:
        self.executor = plx.Executor("dask", workers=WORKERS)
        self.executor.target("all").submit(small, 0).result()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.executor.submit(function, *args)

    def wait(self, futures: Sequence[Any]) -> None:
        wait_for(futures)

    def put(self, value: Any) -> Any:
        return self.executor.put(value)

    def pinned(self) -> Callable[..., Any]:
        return self.executor.target(0).submit


class Raw:
    """A Client of Dask's."""

    def __init__(self) -> None:
        self.cluster = SubprocessCluster(
            n_workers=WORKERS, threads_per_worker=1, worker_class="distributed.Worker", dashboard_address=None
        )
        self.client = Client(self.cluster)
        self.client.wait_for_workers(WORKERS)
        self.address = sorted(self.client.scheduler_info()["workers"])[0]

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.client.submit(function, *args, pure=False)

    def wait(self, futures: Sequence[Any]) -> None:
        dask_wait(futures)

    def put(self, value: Any) -> Any:
        return self.client.scatter(value, hash=False)

    def pinned(self) -> Callable[..., Any]:
        return lambda function, *args: self.client.submit(
            function, *args, pure=False, workers=[self.address], allow_other_workers=False
        )


def measure(one: Ours | Raw) -> list[float]:
    """Measure one contestant once."""
    values = np.ones(LARGE_VALUES)

    def many(submit: Callable[..., Any]) -> float:
        begin = time.perf_counter()
        one.wait([submit(small, number) for number in range(TASKS)])
        return TASKS / (time.perf_counter() - begin)

    def put() -> None:
        held = one.put(values)
        assert [future.result() for future in [one.submit(total, held) for _ in range(8)]] == [
            values.size
        ] * 8

    def tree() -> None:
        level = [one.submit(leaf, number) for number in range(LEAVES)]
        while len(level) > 1:
            level = [one.submit(add, *level[index : index + 2]) for index in range(0, len(level), 2)]
        assert one.submit(total, level[0]).result() == LEAF_VALUES * LEAVES * (LEAVES - 1) / 2

    results = [
        milliseconds(lambda: one.submit(small, 1).result(), 40),
        many(one.submit),
        many(one.pinned()),
        milliseconds(lambda: one.submit(total, values).result(), 3),
        milliseconds(put),
    ]
    before = psutil.Process().memory_info().rss
    results.append(milliseconds(tree))
    results.append(max(0.0, psutil.Process().memory_info().rss - before) / 1e6)
    return results


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ours, raw = Ours(), Raw()
    rounds: dict[str, list[list[float]]] = {"ours": [], "raw": []}
    for number in range(options.rounds + 1):
        for name, contestant in (("ours", ours), ("raw", raw)):
            results = measure(contestant)
            if number:  # the first warms up
                rounds[name].append(results)
    median = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in rounds.items()
    }
    table = Table(
        title=f"{WORKERS} workers, medians of {options.rounds} rounds, load {psutil.getloadavg()[0]:.1f}"
    )
    for column in ("", "unit", "parallactic", "raw Client", "ours / raw", "bound"):
        table.add_column(column, justify="left" if column in ("", "unit") else "right")
    for (row, (unit, bound)), mine, theirs in zip(ROWS.items(), median["ours"], median["raw"], strict=True):
        sign = ">=" if unit == "tasks/s" else "<="
        share = f"{mine / theirs:.2f}" if theirs else "-"
        table.add_row(row, unit, f"{mine:.4g}", f"{theirs:.4g}", share, f"{sign} {bound}")
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": list(ROWS), "rounds": rounds}, indent=1))
    ours.executor.shutdown()
    raw.client.close()
    raw.cluster.close()


if __name__ == "__main__":
    main()
