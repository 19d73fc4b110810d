"""casampi's own tests, those that need none of CASA's data, against our stand-in for it."""

import ast
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from casa_matrix import with_processes

from parallactic.testing.engine import require

pytestmark = [pytest.mark.casa, pytest.mark.slow]

CLIENT, SETTINGS, SERVER = "test_0_MPICommandClient", "test_mpi_runtime_settings", "test_MPICommandServer"

#: Classes that need no data: 50 tests, 1, 3 and 5.
CLASSES = (CLIENT, "test_0_MPIInterface", SETTINGS, SERVER)

CODE = "import runpy; runpy.run_module('run_casampi', run_name='__main__', alter_sys=True)"


@pytest.fixture(scope="module")
def names(casampi) -> dict[str, list[str]]:
    """The tests of each class."""
    tree = ast.parse((casampi / "casampi" / "tests" / "test_casampi.py").read_text())
    return {
        item.name: [f"{item.name}.{part.name}" for part in item.body if "test_" in getattr(part, "name", "")]
        for item in tree.body
        if isinstance(item, ast.ClassDef) and item.name in CLASSES
    }


@pytest.mark.parametrize("backend", with_processes())
def test_all_pass(casa, casampi, names, tmp_path, run_in, backend):
    require(backend)
    # They sleep most of their time, and so run side by side. A server that one of the last class has blocked
    # stays so: each of them has servers of its own.
    together = names["test_0_MPIInterface"] + names[SETTINGS]
    sets = [names[CLIENT][0::2], names[CLIENT][1::2], together, *([name] for name in names[SERVER])]
    assert sum(map(len, sets)) == 59

    def run(number: int) -> dict:
        folder = tmp_path / str(number)
        folder.mkdir()
        ran = run_in(folder, CODE, backend, str(casampi), *sets[number])
        assert ran.returncode == 0, ran.stderr[-3000:]
        return json.loads((folder / "outcome.json").read_text())

    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(run, range(len(sets))))
    assert {name: told for part in done for name, told in part["not passed"].items()} == {}
    assert sum(part["ran"] for part in done) == 59
