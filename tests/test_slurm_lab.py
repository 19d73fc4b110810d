"""The laboratory that tests of SLURM use: what it offers, and that nothing is left of it."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import slurm_lab as laboratory
from slurm_lab import SlurmLab, processes_of

PATIENCE = 20.0


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not in {PATIENCE:g} s: {what}"
        time.sleep(0.02)


def submit(lab: SlurmLab, command: str, *words: str) -> str:
    """Submit a batch job whose output nobody reads; return its number."""
    return lab.run("sbatch", "--parsable", "--output=/dev/null", *words, f"--wrap={command}").strip()


@pytest.fixture
def own_temporary() -> Iterator[Path]:
    """A folder for temporary files with a short name, as sockets need it; this test makes and removes it."""
    folder = Path(tempfile.mkdtemp(prefix="lab-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_jobs_run_on_all_nodes(slurm_lab: SlurmLab) -> None:
    """As real ones do: by the environment alone, on as many nodes and CPUs as were asked for."""
    names = subprocess.run(
        ["srun", "--nodes=4", "--ntasks=8", "sh", "-c", "echo $SLURMD_NODENAME"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert set(names.stdout.split()) == {"n1", "n2", "n3", "n4"}
    assert len(names.stdout.split()) == 8


def test_a_job_is_cancelled_with_its_processes(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    job = submit(slurm_lab, f"echo $$ > {pid}.part; mv {pid}.part {pid}; sleep 600")
    until(pid.exists, "the job runs")
    process = psutil.Process(int(pid.read_text()))
    slurm_lab.run("scancel", job)
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "its process ended")
    until(lambda: slurm_lab.jobs(ended=True)[job] == "CANCELLED", "SLURM knows")
    assert job not in slurm_lab.jobs()


def test_a_drained_node_takes_no_job(slurm_lab: SlurmLab) -> None:
    for node in slurm_lab.nodes[1:]:
        slurm_lab.drain(node)
    assert slurm_lab.node_states()["n4"] == "drained"
    job = submit(slurm_lab, "sleep 600", "--nodes=2")
    time.sleep(0.5)
    assert slurm_lab.jobs()[job] == "PENDING"
    for node in slurm_lab.nodes[1:]:
        slurm_lab.resume(node)
    until(lambda: slurm_lab.jobs()[job] == "RUNNING", "it runs when they are back")
    slurm_lab.run("scancel", job)


def test_the_controller_goes_and_comes_back(slurm_lab: SlurmLab) -> None:
    job = submit(slurm_lab, "sleep 600")
    until(lambda: slurm_lab.jobs()[job] == "RUNNING", "it runs")
    slurm_lab.stop_controller()
    with pytest.raises((RuntimeError, subprocess.TimeoutExpired)):
        slurm_lab.run("squeue", seconds=2.0)
    slurm_lab.start_controller()
    assert slurm_lab.jobs()[job] == "RUNNING", "what ran goes on"
    slurm_lab.run("scancel", job)


def test_a_job_beyond_the_memory_is_refused(slurm_lab: SlurmLab) -> None:
    with pytest.raises(RuntimeError, match="not available"):
        submit(slurm_lab, "true", "--mem=100G")


def test_nothing_is_left(slurm_lab: SlurmLab, nothing_left: None, tmp_path: Path) -> None:
    """No process, file or job; also of a job that ignores SIGTERM, and of one that waits."""
    lab = SlurmLab(nodes=2)
    lab.start()
    pid = tmp_path / "pid"
    submit(lab, f"trap '' TERM; echo $$ > {pid}.part; mv {pid}.part {pid}; while :; do sleep 1; done")
    submit(lab, "sleep 600", "--begin=now+1hour")
    until(pid.exists, "a job runs")
    lab.stop()
    assert not processes_of(lab.folder)
    assert not lab.folder.exists()


def test_the_daemons_go_with_a_killed_client(slurm_lab: SlurmLab, own_temporary: Path) -> None:
    command = [sys.executable, laboratory.__file__, "--nodes=2", "--", "sh", "-c", "echo $SLURM_CONF; cat"]
    environment = os.environ | {"TMPDIR": str(own_temporary)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        folder = Path(client.stdout.readline().strip()).parent
        client.send_signal(signal.SIGKILL)
        assert own_temporary in folder.parents
    until(lambda: not processes_of(folder), "the daemons have gone with it")


def test_it_runs_for_ordinary_users(slurm_lab: SlurmLab, own_temporary: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("this is an ordinary user already: the other tests are the proof")
    user = pwd.getpwnam("nobody")
    os.chown(own_temporary, user.pw_uid, user.pw_gid)
    copy = shutil.copy(laboratory.__file__, own_temporary / "slurm_lab.py")
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
    if subprocess.run([*become, sys.executable, "-c", "import psutil"], check=False).returncode != 0:
        pytest.skip(f"an ordinary user cannot use {sys.executable}")
    done = subprocess.run(
        [*become, sys.executable, copy, "--nodes=2", "--", "srun", "id", "-un"],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(own_temporary), "LOGNAME": "nobody"},
        cwd=own_temporary,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["nobody"], done.stderr
