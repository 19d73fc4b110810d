"""The examples run as they stand; the batch script with stand-ins for SLURM, and Dask's real processes."""

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from parallactic.testing.engine import require, selected_backends

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
JOB = EXAMPLES / "dask" / "job.slurm"


def environment(**more: str) -> dict[str, str]:
    """Return that of an activated environment in which nothing was chosen yet."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PARALLACTIC_", "SLURM_", "DASK_")) and not name.endswith("_DASK_SCHEDULER")
    }
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    return clean | {"PATH": path, "OMP_NUM_THREADS": "1"} | more


def python(folder: Path, *words: object, **more: str) -> str:
    """Run a script in a folder and return what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- Imaging ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images_here(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the example finds when functions are called at once."""
    return fluxes(python(tmp_path_factory.mktemp("here"), EXAMPLES / "rsexecute" / "imaging.py", "here"))


def fluxes(text: str) -> list[str]:
    return [line for line in text.splitlines() if "Jy" in line]


@pytest.mark.parametrize("backend", selected_backends())
def test_imaging_finds_the_same_everywhere(backend: str, images_here: list[str], tmp_path: Path):
    require(backend)
    text = python(
        tmp_path, EXAMPLES / "rsexecute" / "imaging.py", PARALLACTIC_BACKEND=backend, PARALLACTIC_WORKERS="2"
    )
    assert len(images_here) == 13
    assert fluxes(text) == images_here
    assert f"functions on {backend}" in text
    written = {"imaging.log", "imaging_task_stream.html"}
    # Dask draws a report of its own.
    written |= {"imaging_profile.html"} if backend == "dask" else set()
    assert {path.name for path in tmp_path.iterdir()} == written
    assert (tmp_path / "imaging.log").read_text().count("solved for 16 gains") == 4


# -- A pool -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [name for name in selected_backends() if name != "mpi"])
def test_a_hundred_tasks(backend: str, tmp_path: Path):
    """On 4 workers, tasks of 10 ms. 20 ranks of MPI are too many for the cores of a small host."""
    require(backend)
    script = EXAMPLES / "dask" / "hundred_tasks.py"
    text = python(tmp_path, script, "here", 4, 0.01, PARALLACTIC_BACKEND=backend)
    assert re.search(r"100 tasks of 0.01 s on [1-4] workers", text)


# -- The batch script ---------------------------------------------------------------------------------------

SCONTROL = """#!/bin/bash
[ "$1 $2" = "show hostnames" ] || exit 2
printf 'nodea\\nnodea\\nnodeb\\n'
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do case $1 in --nodelist=*) host=${1#*=} ;; esac; shift; done
echo "$host" >> "$STARTED"
[ "$host" != "$BROKEN" ] || exit 1
exec "$@"
"""
# As with the real one, what runs there has an environment of its own and does not end with the ssh here.
SSH = """#!/bin/bash
while [[ $1 == -* ]]; do shift 2; done
echo "$1" >> "$STARTED"
shift
cd /
setsid env -i HOME="$HOME" bash -c "$*" &
wait $!
"""
WORK = """
import os, sys, time
from parallactic.rsexecute import get_dask_client

client = get_dask_client(timeout=30)
for worker in client.scheduler_info(-1)["workers"].values():
    print(worker["name"], worker["memory_limit"], worker["local_directory"])
print("answer", client.submit(pow, 2, 5).result(60), client.scheduler.address)
client.close()
sys.stdout.flush()
time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the batch script as SLURM would, on two hosts that are both this one."""
    pytest.importorskip("distributed", reason="the [dask] extra")
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, text in (("scontrol", SCONTROL), ("srun", SRUN), ("ssh", SSH)):
        (stand_ins / name).write_text(text)
        (stand_ins / name).chmod(0o755)
    (tmp_path / "work.py").write_text(WORK)

    def start(*words: str, **more: str) -> subprocess.Popen[str]:
        env = environment(
            SLURM_JOB_ID="77",
            SLURM_JOB_NODELIST="node[a-b]",
            SLURM_SUBMIT_DIR=str(tmp_path),
            SCRATCH=str(tmp_path / "scratch"),
            STARTED=str(tmp_path / "started"),
            INTERFACE="lo",
            WORKERS="1",
            MEMORY="1GB",
            BROKEN="",
        )
        env["PATH"] = f"{stand_ins}:{env['PATH']}"
        return subprocess.Popen(
            ["bash", JOB, *words],
            env=env | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def daskers(folder: Path) -> list[psutil.Process]:
    """Return the processes of Dask's that work for a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if "dask" in words and str(folder) in words and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def nothing_runs(folder: Path) -> bool:
    deadline = time.monotonic() + 10
    while daskers(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not daskers(folder)


def test_the_batch_script_is_bash():
    assert subprocess.run(["bash", "-n", JOB], check=False).returncode == 0


@pytest.mark.parametrize("launcher", ["srun", "ssh"])
def test_the_batch_script_starts_dask_on_every_host_and_ends_with_the_script(
    launcher: str, job: Callable[..., subprocess.Popen[str]], tmp_path: Path
):
    process = job("work.py", "7", LAUNCHER=launcher)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 7, text
    assert re.search(r"^answer 32 tls://127\.0\.0\.1:\d+$", text, re.MULTILINE), text
    for host in ("nodea", "nodeb"):
        assert re.search(rf"^{host} 1000000000 {tmp_path}/scratch/77-{host}/", text, re.MULTILINE), text
    assert "ssh -L 8787:127.0.0.1:" in text
    started = (tmp_path / "started").read_text().split()
    assert started[0] == "nodea", "the scheduler comes first"
    assert sorted(started[1:3]) == ["nodea", "nodeb"], "then the workers, in no order"
    assert nothing_runs(tmp_path), daskers(tmp_path)
    assert not list((tmp_path / "scratch").iterdir())
    left = {path.name for path in (tmp_path / "logs" / "dask-77").iterdir()}
    assert not {"key.pem", "cert.pem", "scheduler.json"} & left
    assert (tmp_path / "logs" / "dask-77").stat().st_mode & 0o077 == 0


@pytest.mark.skipif("dask" not in selected_backends(), reason="the backend dask is not in the matrix")
def test_the_batch_script_runs_the_imaging_graph(
    job: Callable[..., subprocess.Popen[str]], images_here: list[str], tmp_path: Path
):
    process = job(str(EXAMPLES / "rsexecute" / "imaging.py"))
    text, _ = process.communicate(timeout=180)
    assert process.returncode == 0, text
    assert fluxes(text) == images_here
    assert "functions on dask" in text
    assert nothing_runs(tmp_path), daskers(tmp_path)


def test_a_batch_script_that_is_cancelled_leaves_nothing(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
):
    process = job("work.py", "0", "100")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("answer"):
            break
    (child,) = [each for each in psutil.Process(process.pid).children() if "work.py" in each.cmdline()]
    # scancel sends it to all processes of the job.
    child.terminate()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert nothing_runs(tmp_path), daskers(tmp_path)


def test_a_host_whose_workers_do_not_come_is_told(job: Callable[..., subprocess.Popen[str]], tmp_path: Path):
    process = job("work.py", "0", BROKEN="nodeb", PATIENCE="20")
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 1, text
    assert "2 workers did not come; those that came are on: nodea" in text
    assert "answer" not in text
    assert nothing_runs(tmp_path), daskers(tmp_path)


def test_a_batch_script_outside_of_a_job_says_so(job: Callable[..., subprocess.Popen[str]]):
    process = job("work.py", SLURM_JOB_ID="")
    text, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "start this file with sbatch" in text
