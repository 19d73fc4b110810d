"""The stand-in: its names, its end, and the command that uses it."""

import time

import pytest

from parallactic.testing.engine import require, selected_backends

NAMES = """
import importlib.util, sys
import parallactic.casa as ours

ours.enable(backend="serial", tasks=False)
ours.enable(backend="serial", tasks=False)
for package in ("casampi", "mpi4casa"):
    assert importlib.util.find_spec(package) is not None
    for name in ("MPICommandClient", "MPIEnvironment", "MPIInterface", "MPIMonitorClient"):
        module = importlib.import_module(f"{package}.{name}")
        assert getattr(module, name) is getattr(ours, name)
from casampi import MPIInterface
assert MPIInterface.MPIInterface is ours.MPIInterface
import casampi.private.start_mpi
from casampi.private.MPIMonitorClient import MPIMonitorClient
assert MPIMonitorClient is ours.MPIMonitorClient
from casampi.private.MPICommandServer import MPICommandServer
try:
    MPICommandServer()
except Exception as error:
    print(error)
"""

LEFT_BUSY = """
from parallactic.casa import MPICommandClient, enable

enable(backend="multiprocessing", workers=2, tasks=False)
client = MPICommandClient(start_services=True)
client.push_command_request("import time; time.sleep(100)", False, 1)
print("the end")
"""

SENDS = """
import sys
from mpi4casa.MPICommandClient import MPICommandClient

import beside

client = MPICommandClient(start_services=True)
(response,) = client.push_command_request("__import__('beside').NAME", True, 2)
print(sys.argv[1:], __name__, response["ret"], response["traceback"])
"""

COMMAND = "import sys; from parallactic.cli import main; sys.exit(main())"


def test_the_names_of_casampi_are_ours(run_in, tmp_path):
    ran = run_in(tmp_path, NAMES)
    assert ran.returncode == 0, ran.stderr
    assert "a server cannot be made" in ran.stdout


def test_the_end_of_python_does_not_wait_for_a_busy_server(run_in, tmp_path):
    begin = time.monotonic()
    ran = run_in(tmp_path, LEFT_BUSY)
    assert (ran.returncode, ran.stdout) == (0, "the end\n"), ran.stderr
    assert time.monotonic() - begin < 50


@pytest.mark.casa
@pytest.mark.parametrize("backend", selected_backends())
def test_the_command_passes_arguments_and_finds_modules(casa, run_in, tmp_path, backend):
    require(backend)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "beside.py").write_text("NAME = 'found'")
    (tmp_path / "scripts" / "sends.py").write_text(SENDS)
    words = ["casa", "--backend", backend, "--workers", "2", "scripts/sends.py", "--", "my.ms", "--fast"]
    ran = run_in(tmp_path, COMMAND, *words)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "['my.ms', '--fast'] __main__ found None"


def test_the_command_says_what_is_missing(run_in, tmp_path):
    ran = run_in(tmp_path, COMMAND, "casa", "nowhere.py")
    assert ran.returncode == 2
    assert ran.stderr.strip() == "error: there is no script nowhere.py."
