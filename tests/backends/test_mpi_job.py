"""A script under mpiexec: rank 0 runs it and is the client, the other ranks are its servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from parallactic.measurementset import MeasurementSet
from parallactic.testing.engine import require
from parallactic.worker.ranks import without_launcher
from surroundings import mpich_environment

pytest.importorskip("mpi4py", reason="the extra [mpi] is not installed")

MPIEXEC = f"{sysconfig.get_path('scripts')}/mpiexec"
LIMIT = 60.0

ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMP_NUM_THREADS": "1",
}

APPEND = """
import os
def note(name):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, b"x")
    os.close(fd)
"""


@pytest.fixture(autouse=True)
def _mpi() -> None:
    require("mpi")


def run(folder: Path, *words: str, **own: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, where nobody has chosen a backend before."""
    environment = {k: v for k, v in without_launcher(os.environ).items() if not k.startswith("PARALLACTIC_")}
    return subprocess.run(
        words,
        cwd=folder,
        env=environment | ENVIRONMENT | own,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def job(folder: Path, *words: str, **own: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program as three ranks."""
    return run(folder, MPIEXEC, "--with-ft", "ulfm", "-n", "3", sys.executable, *words, **own)


def write(folder: Path, code: str, name: str = "script.py") -> str:
    (folder / name).write_text(APPEND + code)
    return name


WHOLE = """
note("above")
import json, signal
from pathlib import Path
import parallactic as plx
note("below")
from parallactic.testing import tasks
from parallactic.testing.waiting import pid_in

with plx.Executor() as ex:
    first = [ex.target(number).submit(tasks.where).result(30)[0] for number in range(2)]
with plx.Executor(workers=2) as ex:
    started = Path("started")
    lost = ex.target(0).submit(tasks.write_and_wait, str(started), "never")
    other = ex.target(1).submit(tasks.write_and_wait, "other", "release", 42)
    pid_in(Path("other"), 30)
    os.kill(pid_in(started, 30), signal.SIGKILL)
    kind = type(lost.exception(30)).__name__
    Path("release").touch()
    answers = kind, other.result(30), ex.target(0).submit(tasks.where).result(30)[:2]
try:
    plx.Executor(workers=3)
except plx.BackendUnavailable as error:
    print(json.dumps([first, answers, str(error)]))
"""


def test_the_environment_chooses_the_backend(tmp_path: Path) -> None:
    """Lines above the import run on every rank, those below once; a worker that is killed costs no rank."""
    done = job(tmp_path, write(tmp_path, WHOLE), PARALLACTIC_BACKEND="mpi")
    assert done.returncode == 0, done.stderr
    assert ((tmp_path / "above").read_text(), (tmp_path / "below").read_text()) == ("xxx", "x")
    first, answers, sentence = json.loads(done.stdout)
    assert first == [0, 1]
    assert answers == ["WorkerLost", 42, [0, 1]]
    assert "workers=3 are more than the 2 servers of this MPI job" in sentence
    assert "mpiexec -n 4" in sentence


def test_a_rank_of_the_job_that_is_killed(tmp_path: Path) -> None:
    """Its task is lost, another rank is spawned in its place, and mpiexec ends as the script does."""
    code = """
import signal, sys
from pathlib import Path
import psutil
import parallactic as plx
from parallactic.testing import tasks
from parallactic.testing.waiting import all_up, pid_in
with plx.Executor() as ex:
    all_up(ex, 30)
    lost = ex.target(0).submit(tasks.write_and_wait, "started", "never")
    rank = psutil.Process(pid_in(Path("started"), 30)).parent().parent()
    rank.kill()
    kind = type(lost.exception(30)).__name__
    print(kind, ex.target(1).submit(tasks.identity, 42).result(30), flush=True)
    print(*ex.target(0).submit(tasks.where).result(30)[:2], flush=True)
"""
    done = job(tmp_path, write(tmp_path, code), PARALLACTIC_BACKEND="mpi")
    assert (done.returncode, done.stdout) == (0, "WorkerLost 42\n0 1\n"), done.stderr


def test_a_configuration_file_chooses_the_backend(tmp_path: Path) -> None:
    """A script that opens no executor ends in good order too."""
    (tmp_path / "parallactic.toml").write_text('backend = "mpi"\n')
    done = job(tmp_path, write(tmp_path, 'note("above")\nimport parallactic\nprint("once")\n'))
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    assert (tmp_path / "above").read_text() == "xxx"


ASK = """
import sys
note("runs")
import parallactic as plx
from parallactic.testing import tasks
with plx.Executor() as ex:
    found = sorted(ex.target("all").submit(tasks.where).result(30))
print([where[0] for where in found], sys.argv, __name__, flush=True)
"""


def test_a_script_that_is_not_touched(tmp_path: Path) -> None:
    """No line of it runs on a server; arguments, file and exit code are its own."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "beside.py").write_text("answer = 42\n")
    name = write(tmp_path, ASK + "import beside\nprint(__file__, beside.answer)\nsys.exit(7)\n", "sub/it.py")
    done = job(tmp_path, "-m", "parallactic.mpi", name, "-x", "two words")
    assert done.stdout == f"[0, 1] ['{name}', '-x', 'two words'] __main__\n{name} 42\n", done.stderr
    assert done.returncode == 7, "mpiexec tells the exit code of the script"
    assert (tmp_path / "runs").read_text() == "x"


def test_a_module_that_fails(tmp_path: Path) -> None:
    """One traceback, and an exit code that says so."""
    write(tmp_path, ASK + 'raise ZeroDivisionError("on purpose")\n', "own_module.py")
    done = job(tmp_path, "-m", "parallactic.mpi", "-m", "own_module", "word")
    assert done.stdout == f"[0, 1] ['{tmp_path / 'own_module.py'}', 'word'] __main__\n", done.stderr
    assert done.returncode != 0
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.count("ZeroDivisionError: on purpose") == 1
    assert (tmp_path / "runs").read_text() == "x"


def test_a_command(tmp_path: Path) -> None:
    done = job(tmp_path, "-m", "parallactic.mpi", "-c", APPEND + ASK, "word")
    assert (done.returncode, done.stdout) == (0, "[0, 1] ['-c', 'word'] __main__\n"), done.stderr
    assert (tmp_path / "runs").read_text() == "x"


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    done = job(tmp_path, "-m", "parallactic.mpi", "absent.py")
    assert done.returncode == 1
    assert done.stderr.count("parallactic: there is no file 'absent.py'.") == 1
    assert "Traceback" not in done.stderr


def test_a_recipe_runs_once_and_speaks_once(tmp_path: Path, known: MeasurementSet) -> None:
    """Also where only its own option chooses the backend, which each rank reads for itself."""
    step = f'task = "flag"\nvis = "{known.path}"\nmode = "summary"\n'
    (tmp_path / "recipe.toml").write_text(f"[[step]]\n{step}")
    words = ["-m", "parallactic", "run", "recipe.toml", "--backend", "mpi", "--json"]
    done = job(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert '"flag"' in json.dumps(json.loads(done.stdout)), "one document of JSON"
    assert done.stderr.count("Traceback") == 0


@pytest.mark.parametrize("words", [("script.py",), ("-m", "parallactic.mpi", "script.py")])
def test_a_rank_of_another_mpi_is_told_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    """On each of the processes, each of which MPI takes for the only one."""
    write(tmp_path, "import parallactic\nprint('on')\n")
    for rank in ("0", "1"):
        done = run(tmp_path, sys.executable, *words, PMI_RANK=rank, PMI_SIZE="2", PARALLACTIC_BACKEND="mpi")
        assert (done.returncode, done.stdout) == (1, "")
        assert re.search(rf"^parallactic: .*as rank {rank} of 2 .*sees 1: launcher and", done.stderr, re.M)
        assert f"Use the mpiexec of Open MPI, {MPIEXEC}." in done.stderr
        assert "Traceback" not in done.stderr


def test_the_launcher_of_another_mpi(tmp_path: Path) -> None:
    """A real one: no process hangs, none runs the script."""
    other = mpich_environment(tmp_path / "mpich") / "bin" / "mpiexec"
    write(tmp_path, "import parallactic\nprint('on')\n")
    done = run(tmp_path, str(other), "-n", "2", sys.executable, "script.py", PARALLACTIC_BACKEND="mpi")
    assert done.returncode != 0
    assert "on\n" not in done.stdout
    assert "launcher and library are of different MPIs" in done.stderr
