"""Dask workers that are jobs of a real SLURM: they come, run, are lost, replaced, and leave nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from dask_clusters import (
    PATIENCE,
    announce_and_wait,
    job_of,
    killed_client,
    remember,
    remembered,
    states,
    until,
    up,
)

import parallactic as plx
from parallactic.errors import BackendUnavailable, StateLost, WorkerLost
from parallactic.testing.engine import selected_backends
from slurm_lab import SlurmLab

if "dask" not in selected_backends():
    pytest.skip("dask is not in the matrix of this run; see BACKENDS of make test", allow_module_level=True)

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def jobs(slurm_lab: SlurmLab, tmp_path: Path) -> dict[str, object]:
    """Settings of a cluster of small jobs."""
    until(lambda: not slurm_lab.jobs(), "the jobs of the test before have gone")
    return {
        "cluster": "slurm",
        "memory": "500MB",
        "walltime": "10min",
        "shared_directory": str(tmp_path),
        "local_directory": str(tmp_path / "scratch"),
    }


def no_jobs(lab: SlurmLab) -> bool:
    return not [state for state in lab.jobs().values() if state != "COMPLETING"]


def test_each_worker_is_a_job_and_none_is_left(
    slurm_lab: SlurmLab, jobs: dict[str, object], tmp_path: Path
) -> None:
    """With TLS by certificates of this run, which are removed with it."""
    with plx.Executor("dask", workers=2, **jobs) as ex:
        numbers = ex.target("all").submit(job_of).result(PATIENCE)
        assert set(numbers) == set(slurm_lab.jobs())
        assert len(set(numbers)) == 2
        assert ex.engine.client.scheduler.address.startswith("tls://")
        served = ex.status().dashboard.replace("/status", "/health")  # its pages come a second later
        assert urlopen(served, timeout=PATIENCE).status == 200
        assert sum(ex.map(pow, range(40), [2] * 40)) == sum(n * n for n in range(40))
        shown = slurm_lab.run("scontrol", "show", "job", numbers[0])
        assert "TimeLimit=00:10:00" in shown
        script = ex.engine._cluster.job_script()
        assert not any(secret in script for secret in ("BEGIN", "PRIVATE"))
    assert no_jobs(slurm_lab)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["scratch"])


def test_a_job_with_several_cores_has_several_workers(slurm_lab: SlurmLab, jobs: dict[str, object]) -> None:
    """Of as many threads each as asked; as many jobs as it takes, and logs in the run's folder."""
    with plx.Executor("dask", workers=3, cores=4, threads=2, **jobs) as ex:
        numbers = ex.target("all").submit(job_of).result(PATIENCE)
        assert len(set(numbers)) == 2
        assert set(numbers) == set(slurm_lab.jobs())
        assert "NumCPUs=4" in slurm_lab.run("scontrol", "show", "job", numbers[0])


def test_several_dask_workers_in_a_job(slurm_lab: SlurmLab, jobs: dict[str, object], tmp_path: Path) -> None:
    """With `processes`; and with a run folder the logs stay there."""
    del jobs["shared_directory"]
    with plx.Executor("dask", workers=2, processes=2, run_dir=tmp_path / "run", **jobs) as ex:
        assert len(set(ex.target("all").submit(job_of).result(PATIENCE))) == 1
        assert len(slurm_lab.jobs()) == 1
    logs = list((tmp_path / "run" / "dask" / "logs").iterdir())
    assert len(logs) == 2
    assert no_jobs(slurm_lab)


def test_a_cancelled_job_ends_its_task_and_is_replaced(
    slurm_lab: SlurmLab, jobs: dict[str, object], tmp_path: Path
) -> None:
    """dask-jobqueue alone would leave one job fewer. The task does not run again."""
    with plx.Executor("dask", workers=2, **jobs) as ex:
        ex.setup(remember, "setup").result(PATIENCE)
        job = ex.target(0).submit(job_of).result(PATIENCE)
        started = tmp_path / "started"
        target = ex.target(0)
        lost = target.submit(announce_and_wait, str(started))
        until(started.exists, "it runs")
        before = time.monotonic()
        slurm_lab.run("scancel", job)
        error = lost.exception(PATIENCE)
        assert time.monotonic() - before < 5.0
        assert isinstance(error, WorkerLost)
        assert error.cause == "signal"
        assert f"SLURM job {job} was cancelled" in str(error)
        until(lambda: up(ex) == 2, "there is another")
        assert ex.target(0).submit(remembered).result(PATIENCE) == "setup"
        assert ex.target(0).submit(job_of).result(PATIENCE) != job
        assert len([state for state in slurm_lab.jobs().values() if state == "RUNNING"]) == 2
        assert len(started.read_text().splitlines()) == 1


def test_a_job_that_ends_before_its_worker_came_is_replaced(
    slurm_lab: SlurmLab, jobs: dict[str, object]
) -> None:
    """Nothing tells of it: SLURM is asked now and then."""
    for node in slurm_lab.nodes:
        slurm_lab.drain(node)
    try:
        with plx.Executor("dask", workers=1, **jobs) as ex:
            (job,) = slurm_lab.jobs()
            waits = ex.submit(pow, 2, 5)
            slurm_lab.run("scancel", job)
            until(lambda: set(slurm_lab.jobs()) - {job}, "there is another job")
            for node in slurm_lab.nodes:
                slurm_lab.resume(node)
            assert waits.result(PATIENCE) == 32
    finally:
        for node, state in slurm_lab.node_states().items():
            if "drain" in state:
                slurm_lab.resume(node)


def test_jobs_that_never_come_up_end_the_run(slurm_lab: SlurmLab, jobs: dict[str, object]) -> None:
    """With what they wrote last."""
    with plx.Executor("dask", workers=1, prologue=["echo no such module: casa >&2", "exit 3"], **jobs) as ex:
        error = ex.submit(pow, 2, 5).exception(PATIENCE)
        assert isinstance(error, BackendUnavailable)
        assert "3 times in a row" in str(error)
        assert "no such module: casa" in str(error)
    assert no_jobs(slurm_lab)


def test_what_slurm_refuses_is_told_in_its_words(slurm_lab: SlurmLab, jobs: dict[str, object]) -> None:
    with pytest.raises(BackendUnavailable, match=r"(?s)SLURM did not take a job.*not available"):
        plx.Executor("dask", workers=1, **(jobs | {"memory": "1TB"}))
    with pytest.raises(BackendUnavailable, match="invalid partition"):
        plx.Executor("dask", workers=1, queue="moon", **jobs)
    assert no_jobs(slurm_lab)


@pytest.mark.slow
def test_walltime_ends_the_task(slurm_lab: SlurmLab, jobs: dict[str, object], tmp_path: Path) -> None:
    """SLURM counts in minutes; the task is not run again, and the worker is replaced."""
    with plx.Executor("dask", workers=1, **(jobs | {"walltime": "1min"})) as ex:
        error = ex.submit(announce_and_wait, str(tmp_path / "started")).exception(150.0)
        assert isinstance(error, WorkerLost)
        assert error.cause == "walltime"
        assert "walltime" in str(error)
        assert ex.submit(pow, 2, 5).result(PATIENCE) == 32
    assert len((tmp_path / "started").read_text().splitlines()) == 1


def test_a_killed_client_leaves_no_job(slurm_lab: SlurmLab, jobs: dict[str, object]) -> None:
    """Neither those that run nor those that wait; none of them outlives its scheduler for a minute."""
    killed_client(jobs)
    until(lambda: no_jobs(slurm_lab), "all jobs are cancelled", 10.0)
    shared = Path(str(jobs["shared_directory"]))
    until(lambda: not list(shared.glob(".parallactic-*")), "their certificates are removed", 10.0)


def test_resize_changes_the_number_of_jobs(slurm_lab: SlurmLab, jobs: dict[str, object]) -> None:
    """Large results that only a leaving Dask worker holds are moved before it goes."""
    with plx.Executor("dask", workers=1, **jobs) as ex:
        ex.setup(remember, "setup").result(PATIENCE)
        ex.resize(3)
        assert ex.target(2).submit(remembered).result(PATIENCE) == "setup"
        until(lambda: up(ex) == 3, "three workers")
        assert len(set(ex.target("all").submit(job_of).result(PATIENCE))) == 3
        kept = [ex.submit(bytes, 2_000_000) for _ in range(6)]
        ex.gather([ex.submit(len, part) for part in kept], timeout=PATIENCE)
        former = ex.target(2)
        ex.resize(1)
        assert isinstance(former.submit(remembered).exception(PATIENCE), StateLost)
        until(lambda: states(ex) == ["idle"], "two have left")
        until(lambda: len([s for s in slurm_lab.jobs().values() if s == "RUNNING"]) == 1, "their jobs too")
        assert sum(map(len, ex.gather(kept, timeout=PATIENCE))) == 12_000_000


def test_adaptive_follows_the_load(slurm_lab: SlurmLab, jobs: dict[str, object]) -> None:
    """From none to two and back; what is addressed stays."""
    with plx.Executor("dask", adaptive=(0, 2), **jobs) as ex:
        assert no_jobs(slurm_lab)
        early = ex.target("all")
        assert ex.max_workers == 2
        work = [ex.submit(time.sleep, 0.5) for _ in range(40)]
        until(lambda: len(slurm_lab.jobs()) == 2, "two jobs for twenty seconds of work")
        ex.gather(work, timeout=PATIENCE)
        until(lambda: no_jobs(slurm_lab), "none when there is nothing to do")
        assert early.submit(pow, 2, 5).result(PATIENCE) == [32, 32], "no state was lost: there was none"
        assert ex.target(1).submit(remember, 7).result(PATIENCE) is None
        time.sleep(6.0)
        assert ex.target(1).submit(remembered).result(PATIENCE) == 7, "its namespace is kept"


def test_a_hundred_tasks(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    """The example, as a person runs it on a login node."""
    script = EXAMPLES / "dask" / "hundred_tasks.py"
    done = subprocess.run(
        [sys.executable, script, "slurm", "4", "0.05"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "100 tasks of 0.05 s on 4 workers" in done.stdout
    assert no_jobs(slurm_lab)
    assert not list(tmp_path.iterdir())
