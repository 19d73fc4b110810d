"""Workers in jobs of a real SLURM: how they are had, how they end, and what is left."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import parallactic as plx
from parallactic.errors import BackendUnavailable, InvalidSpec, SubmitError, WorkerLost
from parallactic.testing import tasks
from parallactic.testing.waiting import pid_in, until
from slurm_lab import SlurmLab

pytestmark = pytest.mark.usefixtures("nothing_left")

PATIENCE = 30.0
SOON = 10.0
"""Seconds within which the end of a job must be told, whatever ended it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def ex(slurm_lab: SlurmLab, folder: Path) -> Iterator[plx.Executor]:
    """Two workers."""
    with plx.Executor("slurm", workers=2, time="30min", folder=folder, poll=0.5) as executor:
        executor.target("all").submit(abs, 1).result(PATIENCE)
        yield executor
    assert slurm_lab.jobs() == {}
    assert list(folder.iterdir()) == []


def job_of(ex: plx.Executor, worker: int) -> str:
    """Return the number of the job that a worker runs in.

    Not SLURM_JOB_ID: one job of an array has the number of the whole array there.
    """

    def number() -> str:
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]

    job: str = ex.target(worker).submit(number).result(PATIENCE)
    return job


def test_a_pool_is_ready_soon_and_then_quick(slurm_lab: SlurmLab, folder: Path) -> None:
    begin = time.monotonic()
    with plx.Executor("slurm", workers=4, time="30min", folder=folder) as ex:
        ex.target("all").submit(abs, 1).result(PATIENCE)
        ready = time.monotonic() - begin
        assert len({job_of(ex, worker) for worker in range(4)}) == 4
        times = []
        for _ in range(200):
            begin = time.monotonic()
            ex.submit(abs, 1).result(PATIENCE)
            times.append(time.monotonic() - begin)
    # Both bounds are for a machine that does little else.
    assert ready < 5.0 * max(1.0, psutil.getloadavg()[0] / 2)
    assert sorted(times)[100] < 2e-3 * max(1.0, psutil.getloadavg()[0] / 2)


def test_a_job_that_is_cancelled_ends_its_task(ex: plx.Executor, slurm_lab: SlurmLab, tmp_path: Path) -> None:
    """The others go on, and another job takes its place."""
    other = ex.target(1).submit(time.sleep, 3.0)
    ex.target(0).run("x = 1").result(PATIENCE)
    job = job_of(ex, 0)
    busy = ex.target(0).submit(tasks.spin, str(tmp_path / "started"))
    pid_in(tmp_path / "started", PATIENCE)
    begin = time.monotonic()
    slurm_lab.run("scancel", job)
    error = busy.exception(PATIENCE)
    assert time.monotonic() - begin < SOON
    assert isinstance(error, WorkerLost)
    assert error.cause == "signal"
    assert "was cancelled" in str(error)
    other.result(PATIENCE)
    assert job_of(ex, 0) != job


def test_a_pilot_that_is_killed(ex: plx.Executor, tmp_path: Path) -> None:
    job = job_of(ex, 0)
    busy = ex.target(0).submit(tasks.spin, str(tmp_path / "started"))
    worker = psutil.Process(pid_in(tmp_path / "started", PATIENCE))
    pilot = worker.parent().parent()  # type: ignore[union-attr]
    begin = time.monotonic()
    pilot.kill()  # type: ignore[union-attr]
    error = busy.exception(PATIENCE)
    assert time.monotonic() - begin < SOON
    assert isinstance(error, WorkerLost)
    assert job_of(ex, 0) != job
    until(lambda: not worker.is_running(), PATIENCE, "the worker is gone with its pilot")


def test_a_process_that_dies_leaves_the_job_alone(ex: plx.Executor) -> None:
    """Only the worker is replaced."""
    job = job_of(ex, 0)
    error = ex.target(0).submit(tasks.kill_self)
    assert isinstance(error.exception(PATIENCE), WorkerLost)
    assert job_of(ex, 0) == job


def test_the_time_limit(ex: plx.Executor, slurm_lab: SlurmLab, tmp_path: Path) -> None:
    job = job_of(ex, 0)
    busy = ex.target(0).submit(tasks.spin, str(tmp_path / "started"))
    pid_in(tmp_path / "started", PATIENCE)
    slurm_lab.run("scontrol", "update", f"JobId={job}", "EndTime=now+1seconds")
    error = busy.exception(60.0)
    assert isinstance(error, WorkerLost)
    assert error.cause == "walltime"
    assert "time limit" in str(error)
    assert job_of(ex, 0) != job


def test_before_the_limit_a_worker_moves_to_another_job(slurm_lab: SlurmLab, folder: Path) -> None:
    """Nothing is lost: what it runs is ended, and set-up is replayed in the next job."""

    def remember() -> None:
        plx.namespace()["x"] = 5

    # SLURM counts limits in minutes.
    with plx.Executor("slurm", workers=2, time="30min", folder=folder, poll=0.5, drain="3min") as ex:
        ex.setup(remember)
        job = job_of(ex, 0)
        long = ex.target(0).submit(time.sleep, 3.0)
        slurm_lab.run("scontrol", "update", f"JobId={job}", "EndTime=now+50seconds")
        long.result(PATIENCE)
        until(lambda: job_of(ex, 0) != job, PATIENCE, "the worker is in another job")
        assert ex.target(0).pull("x").result(PATIENCE) == 5
    assert slurm_lab.jobs() == {}


def test_a_job_that_is_requeued(slurm_lab: SlurmLab, folder: Path, tmp_path: Path) -> None:
    with plx.Executor("slurm", workers=1, time="30min", folder=folder, poll=0.5, requeue=True) as ex:
        job = job_of(ex, 0)
        busy = ex.target(0).submit(tasks.spin, str(tmp_path / "started"))
        pid_in(tmp_path / "started", PATIENCE)
        begin = time.monotonic()
        slurm_lab.run("scontrol", "requeue", job)
        error = busy.exception(PATIENCE)
        assert time.monotonic() - begin < SOON
        assert isinstance(error, WorkerLost)
        assert error.cause == "preempted"
        assert job_of(ex, 0) == job
    assert slurm_lab.jobs() == {}


def test_a_drained_node_ends_nothing(ex: plx.Executor, slurm_lab: SlurmLab) -> None:
    jobs = [job_of(ex, worker) for worker in range(2)]
    for node in slurm_lab.nodes:
        slurm_lab.drain(node)
    try:
        assert ex.submit(abs, -3).result(PATIENCE) == 3
        assert [job_of(ex, worker) for worker in range(2)] == jobs
    finally:
        for node in slurm_lab.nodes:
            slurm_lab.resume(node)


def test_a_controller_that_is_away_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers go on meanwhile; what ends afterwards is told as ever."""
    # Of its own: the controller that is started here must end before the test does.
    with SlurmLab(nodes=2) as lab:
        for name, value in lab.environment.items():
            monkeypatch.setenv(name, value)
        with plx.Executor("slurm", workers=2, time="30min", folder=folder, poll=0.5) as ex:
            job = job_of(ex, 0)
            busy = ex.target(1).submit(time.sleep, 2.0)
            lab.stop_controller()
            assert ex.target(0).submit(abs, -3).result(PATIENCE) == 3
            busy.result(PATIENCE)
            lab.start_controller()
            lost = ex.target(0).submit(time.sleep, 60.0)
            lab.run("scancel", job)
            assert isinstance(lost.exception(PATIENCE), WorkerLost)
            assert job_of(ex, 0) != job
        assert lab.jobs() == {}


def test_nothing_is_left_of_a_client_that_is_killed(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, parallactic as plx\n"
        "from parallactic.testing import tasks\n"
        f"ex = plx.Executor('slurm', workers=2, time='30min', folder={str(tmp_path / 'shared')!r})\n"
        "ex.target(0).submit(tasks.nap_in_c, 50.0, sys.argv[1]).result()\n"
    )
    own = tmp_path / "tmp"  # what a client that is killed leaves there is nobody else's to remove
    own.mkdir()
    words = [sys.executable, str(script), str(tmp_path / "started")]
    client = subprocess.Popen(words, env=os.environ | {"TMPDIR": str(own)})
    try:
        worker = psutil.Process(pid_in(tmp_path / "started", PATIENCE))
    finally:
        client.kill()
        client.wait()
    until(lambda: not slurm_lab.jobs(), SOON, "every job has ended")
    until(lambda: not _lives(worker), SOON, "the worker has ended")


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"time": None}, "needs a time limit"),
        ({"mem": "1GB", "mem_per_cpu": "1GB"}, "exclude each other"),
        ({"interface": "none0"}, "none0"),
        ({"partiton": "debug"}, "did you mean 'partition'"),
    ],
)
def test_settings_that_cannot_be(slurm_lab: SlurmLab, folder: Path, settings: dict, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        plx.Executor("slurm", **{"workers": 1, "time": "10min", "folder": folder} | settings)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"partition": "nowhere"}, "nowhere"),
        ({"cpus_per_task": 10_000}, "PartitionConfig"),
        ({"mem": "900TB"}, "sbatch refused"),
        ({"extra": "--no-such-option=3"}, "no-such-option"),
    ],
)
def test_requests_that_slurm_refuses(slurm_lab: SlurmLab, folder: Path, settings: dict, words: str) -> None:
    """Its own words are told, and every task ends."""
    with (
        pytest.raises((BackendUnavailable, SubmitError), match=words),
        plx.Executor("slurm", **{"workers": 1, "time": "10min", "folder": folder} | settings) as ex,
    ):
        ex.submit(abs, 1).result(PATIENCE)
    assert slurm_lab.jobs() == {}


def test_a_folder_that_cannot_be_written(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendUnavailable, match="shared"):
        plx.Executor("slurm", workers=1, time="10min", folder=tmp_path / "file" / "shared")


def test_a_prologue_that_fails_is_quoted(slurm_lab: SlurmLab, folder: Path) -> None:
    """Jobs that end before their worker is there are not submitted for ever."""
    with (
        pytest.raises(BackendUnavailable, match="no module named casa"),
        plx.Executor(
            "slurm",
            workers=1,
            time="10min",
            folder=folder,
            poll=0.3,
            prologue="echo no module named casa >&2; exit 3",
        ) as ex,
    ):
        ex.submit(abs, 1).result(60.0)


def test_another_version_on_the_nodes_ends_the_run(
    slurm_lab: SlurmLab, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plx, "__version__", "0.0.1")
    with (
        pytest.raises(BackendUnavailable, match=r"here 0\.0\.1"),
        plx.Executor("slurm", workers=1, time="10min", folder=folder) as ex,
    ):
        ex.submit(abs, 1).result(PATIENCE)
    assert slurm_lab.jobs() == {}


def test_without_commands_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BackendUnavailable, match=r"sbatch.* not found.*login node"):
        plx.Executor("slurm", workers=1, time="10min")


def test_every_setting_reaches_the_job(slurm_lab: SlurmLab, folder: Path) -> None:
    """As SLURM says, and as the worker sees it."""
    settings = {
        "cpus_per_task": 2,
        "mem": "1GiB",
        "job_name": "imaging",
        "partition": "debug",
        "exclude": "n1,n2",
        "requeue": True,
        "exclusive": True,
        "mail_type": "FAIL",
        "mail_user": "astronomer@example.org",
        "extra": "--nice=7\n--comment=parallel",
        "prologue": "export FROM_PROLOGUE=yes",
        "prefix": "env FROM_PREFIX=yes",
        "ulimit": {"n": 512},
        "environment": {"FROM_SETTINGS": "yes"},
    }
    with plx.Executor("slurm", workers=1, time="1:30:00", folder=folder, **settings) as ex:
        job = job_of(ex, 0)
        names = ("FROM_PROLOGUE", "FROM_PREFIX", "FROM_SETTINGS", "OMP_NUM_THREADS", "SLURMD_NODENAME")
        seen = ex.gather([ex.submit(os.getenv, name) for name in names])
        limit = ex.submit(resource.getrlimit, resource.RLIMIT_NOFILE).result(PATIENCE)
        told = dict(
            word.split("=", 1)
            for word in slurm_lab.run("scontrol", "--oneliner", "show", "job", job).split()
            if "=" in word
        )
    assert seen[:4] == ["yes", "yes", "yes", "2"]
    assert seen[4] in ("n3", "n4")
    assert limit[1] == 512
    wanted = {
        "JobName": "imaging",
        "CPUs/Task": "2",
        "MinMemoryNode": "1G",
        "TimeLimit": "01:30:00",
        "Requeue": "1",
        "OverSubscribe": "NO",
        "Nice": "7",
        "Comment": "parallel",
        "MailUser": "astronomer@example.org",
        "ExcNodeList": "n[1-2]",
    }
    assert {name: told.get(name) for name in wanted} == wanted
