"""CASA's package has an MPI library of its own; which one this process has does not depend on luck."""

import pytest

from parallactic.testing.engine import require

SPAWN = """
from pathlib import Path

import parallactic as plx

with plx.Executor("mpi", workers=1) as ex:
    print(ex.submit(len, "abc").result(40))
maps = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
print(len({path for path in maps if "/libmpi.so" in path}), any("/casatools/" in path for path in maps))
"""


@pytest.fixture(autouse=True)
def _with_mpi(casa):
    require("mpi")


@pytest.mark.casa
@pytest.mark.parametrize(
    "before", ["import parallactic, casatasks", "import parallactic, mpi4py.MPI, casatools"]
)
def test_servers_are_spawned_beside_casa(run_in, tmp_path, before):
    ran = run_in(tmp_path, before + SPAWN)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["3", "1 True"], "another number of MPI libraries than one"


@pytest.mark.casa
def test_an_mpi_that_cannot_spawn_is_refused_in_words(run_in, tmp_path):
    ran = run_in(tmp_path, "import casatasks" + SPAWN)
    assert ran.returncode == 1
    *_, last = ran.stderr.splitlines()
    assert "casatools was imported first" in last
    assert last.endswith("import parallactic before casatools and casatasks.")
