"""What a command to a server costs: our servers, casampi's, and mpi4py.futures, in one run.

    python benchmarks/mpi.py                      # about half a minute
    python benchmarks/mpi.py --casampi FOLDER     # also casampi, from its unpacked wheel: two minutes more
    python benchmarks/mpi.py --json results.json

Three servers each, on the MPI that mpi4py finds; casampi and mpi4py.futures need Open MPI. The contestants
have processes of their own and run one after the other in each round, since idle servers of some of them keep
a core busy. casampi's servers import CASA, which needs the extra [casa]; ours here do not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from contestants import open_mpi, write_site_config
from rich.console import Console
from rich.table import Table

SERVERS = 3
REQUESTS = 60
ARRAY_BYTES = 8_000_000
OURS, CASAMPI, FUTURES = ("multiprocessing", "mpi"), "casampi", "mpi4py.futures"

#: What is measured, its unit, and the most that ours may take.
ROWS = {
    "round trip of 1+1, blocking": ("ms", 2.0),
    f"{REQUESTS} requests on {SERVERS} servers, not blocking": ("ms", 100.0),
    "an argument of 8 MB, blocking": ("ms", 50.0),
}


def repeat(times: int, call: Callable[[], Any]) -> float:
    """Return the median of milliseconds that a call takes."""
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds) * 1e3


def command_client(client: Any, times: int) -> list[float]:
    """Measure an `MPICommandClient`, ours or casampi's."""
    values = np.arange(ARRAY_BYTES / 8)
    servers = list(range(1, SERVERS + 1))

    def one() -> None:
        (response,) = client.push_command_request("1+1", True)
        assert response["ret"] == 2

    def many() -> None:
        numbers = [
            client.push_command_request("1+1", False, servers[number % SERVERS])[0]
            for number in range(REQUESTS)
        ]
        responses = client.get_command_response(numbers, True, False)
        assert [response["ret"] for response in responses] == [2] * REQUESTS

    def large() -> None:
        (response,) = client.push_command_request("values.size", True, 1, {"values": values})
        assert response["ret"] == values.size

    for server in servers:
        client.push_command_request("1+1", True, server)
    few = max(1, times // 40)
    return [repeat(times, one), repeat(few, many), repeat(few, large)]


def futures(times: int) -> list[float]:
    """Measure mpi4py.futures, which has no servers to choose and no names to set."""
    from mpi4py.futures import MPIPoolExecutor  # type: ignore[import-not-found, unused-ignore]

    values = np.arange(ARRAY_BYTES / 8)
    with MPIPoolExecutor(max_workers=SERVERS) as executor:
        list(executor.map(eval, ["1+1"] * 30))

        def many() -> None:
            assert [each.result() for each in [executor.submit(eval, "1+1") for _ in range(REQUESTS)]] == [
                2
            ] * REQUESTS

        return [
            repeat(times, lambda: executor.submit(eval, "1+1").result()),
            repeat(times // 40, many),
            repeat(times // 40, lambda: executor.submit(len, values).result()),
        ]


def contest(kind: str) -> list[float]:
    """Be one contestant."""
    if kind == FUTURES:
        return futures(400)
    if kind == CASAMPI:
        import casatasks  # noqa: F401  (its servers begin to serve here)
        from casampi.MPICommandClient import MPICommandClient as Theirs  # type: ignore[import-not-found]

        client = Theirs()
        client.start_services()
        return command_client(client, 10)
    from parallactic.casa import MPICommandClient, enable

    enable(backend=kind, workers=SERVERS, tasks=False)
    return command_client(MPICommandClient(start_services=True), 400)


def run(kind: str, folder: Path, casampi: Path | None) -> list[float]:
    """Run one contestant in a process of its own."""
    words = [sys.executable, str(Path(__file__).absolute()), "--contestant", kind]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | write_site_config(folder)
    if kind not in OURS:
        environment |= open_mpi()
    if kind == CASAMPI:
        words = ["mpiexec", "-n", str(SERVERS + 1), *words]
        environment["PYTHONPATH"] = str(casampi)
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    told = [line for line in done.stdout.splitlines() if line.startswith("[")]
    if done.returncode or not told:
        sys.exit(f"{kind} failed:\n{done.stderr[-3000:]}")
    values: list[float] = json.loads(told[-1])
    return values


def main() -> None:
    """Compare them, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--casampi", type=lambda text: Path(text).absolute())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        sys.stdout.write(f"\n{json.dumps(contest(arguments.contestant))}\n")
        sys.stdout.flush()
        return
    kinds = [*OURS, FUTURES, *([CASAMPI] if arguments.casampi else [])]
    rounds: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="mpi-benchmark-") as name:
        for _ in range(arguments.rounds):
            for kind in kinds:
                rounds[kind].append(run(kind, Path(name), arguments.casampi))
    table = Table("", *kinds, "goal of ours")
    met = True
    for number, (row, (unit, goal)) in enumerate(ROWS.items()):
        values = {kind: statistics.median(each[number] for each in rounds[kind]) for kind in kinds}
        reached = all(values[kind] <= goal for kind in OURS)
        met = met and reached
        cells = (f"{value:.2f} {unit}" for value in values.values())
        table.add_row(row, *cells, f"<= {goal:g} {unit}: {'met' if reached else 'missed'}")
    Console(width=120).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rounds, indent=1))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
