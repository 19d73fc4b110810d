"""casampi's own tests, those that need none of CASA's data, against our stand-in for it.

They sleep most of their time: a file of tests for each backend lets them run side by side.
"""

import ast
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from parallactic.testing.engine import require

CLIENT, SETTINGS, SERVER = "test_0_MPICommandClient", "test_mpi_runtime_settings", "test_MPICommandServer"

#: Classes that need no data: 50 tests, 1, 3 and 5.
CLASSES = (CLIENT, "test_0_MPIInterface", SETTINGS, SERVER)

CODE = "import runpy; runpy.run_module('run_casampi', run_name='__main__', alter_sys=True)"


def _names(casampi: Path) -> dict[str, list[str]]:
    """Return the tests of each class."""
    tree = ast.parse((casampi / "casampi" / "tests" / "test_casampi.py").read_text())
    return {
        item.name: [f"{item.name}.{part.name}" for part in item.body if "test_" in getattr(part, "name", "")]
        for item in tree.body
        if isinstance(item, ast.ClassDef) and item.name in CLASSES
    }


def all_pass(backend: str, casampi: Path, folder: Path, run_in: Callable) -> None:
    """Run all of them on a backend."""
    require(backend)
    names = _names(casampi)
    # A server that one of the last class has blocked stays so: each of them has servers of its own.
    together = names["test_0_MPIInterface"] + names[SETTINGS]
    sets = [*([name] for name in names[SERVER]), names[CLIENT][0::2], names[CLIENT][1::2], together]
    assert sum(map(len, sets)) == 59
    # Only these use what CASA brings to the servers, and its import takes longer than many a test.
    using = {*together, f"{SERVER}.test_server_not_responsive_debugging_mode"}
    tasks = ["none" if using.isdisjoint(tests) else "tasks" for tests in sets]

    def run(number: int) -> dict:
        own = folder / str(number)
        own.mkdir()
        ran = run_in(own, CODE, backend, tasks[number], str(casampi), *sets[number])
        assert ran.returncode == 0, ran.stderr[-3000:]
        return json.loads((own / "outcome.json").read_text())

    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(run, range(len(sets))))
    assert {name: told for part in done for name, told in part["not passed"].items()} == {}
    assert sum(part["ran"] for part in done) == 59
