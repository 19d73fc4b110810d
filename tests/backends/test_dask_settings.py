"""What can be set for each kind of Dask cluster, and what PBS would be sent."""

from __future__ import annotations

import os
import re
from pathlib import Path

import psutil
import pytest
from dask_clusters import PATIENCE, announce_and_wait, host_of, until, up

import parallactic as plx
from parallactic.config import read_configuration
from parallactic.errors import BackendUnavailable, InvalidSpec, WorkerLost
from parallactic.testing.engine import selected_backends
from parallactic_backends.dask.diagnose import diagnose
from parallactic_backends.dask.settings import DaskSettings

if "dask" not in selected_backends():
    pytest.skip("dask is not in the matrix of this run; see BACKENDS of make test", allow_module_level=True)

JOB = {"memory": "1GB", "walltime": "1h"}


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"cluster": "slurm", "memory": "1GB"}, ["walltime", "2h", "cluster='slurm'"]),
        ({"cluster": "pbs", "walltime": "1h"}, ["memory", "16GB", "cluster='pbs'"]),
        ({"cluster": "pbs", **JOB, "cores": 2, "processes": 4}, ["cores=2", "processes=4"]),
        ({"cluster": "pbs", **JOB, "processes": 2, "adaptive": (0, 4)}, ["adaptive", "processes"]),
        ({"cluster": "slurm", **JOB, "hosts": ["a"]}, ["hosts", "cluster='ssh'", "cluster='slurm'"]),
        ({"cluster": "ssh"}, ["hosts"]),
        ({"cluster": "ssh", "hosts": ["a"], "queue": "long"}, ["queue='long'", "cluster='slurm'"]),
        ({"walltime": "1h"}, ["walltime", "cluster='slurm'", "cluster='local'"]),
        ({"scheduler": "a:1", "queue": "long"}, ["queue='long'", "runs already"]),
        ({"scheduler": "a:1", "adaptive": (1, 2)}, ["adaptive", "commands that started"]),
        ({"workers": 2, "adaptive": (1, 2)}, ["workers=2", "adaptive"]),
        ({"adaptive": (3, 2)}, ["adaptive", "fewest"]),
        ({"cluster": "slurm", "walltime": "soon"}, ["walltime", "soon"]),
    ],
)
def test_what_does_not_belong_together_is_told(settings: dict[str, object], parts: list[str]) -> None:
    before = set(psutil.Process().children())
    with pytest.raises(InvalidSpec) as caught:
        plx.Executor("dask", **settings)
    for part in parts:
        assert part in str(caught.value)
    assert set(psutil.Process().children()) <= before


def test_variables_of_the_environment_hold_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between commas, or a line each."""
    monkeypatch.setenv("PARALLACTIC_DASK__HOSTS", "node1, node2")
    monkeypatch.setenv("PARALLACTIC_DASK__ADAPTIVE", "1,20")
    monkeypatch.setenv("PARALLACTIC_DASK__PROLOGUE", "module load python\nulimit -c 0")
    values = read_configuration(None).settings_for("dask")[0]
    settings = DaskSettings.model_validate(values)
    assert settings.hosts == ["node1", "node2"]
    assert settings.adaptive == (1, 20)
    assert settings.prologue == ["module load python", "ulimit -c 0"]


def test_a_batch_system_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match="qsub and qselect and qdel not found"):
        plx.Executor("dask", cluster="pbs", **JOB)
    checks = {check.name: check for check in diagnose(DaskSettings(cluster="pbs"))}
    assert checks["batch system"].state == "failure"
    assert "PBS jobs can be submitted" in checks["batch system"].advice


# PBS itself cannot be had here. These stand in for its commands: a job is a process group of this host.
QSUB = """#!/bin/sh
number=$$
cp "$1" "$PBS_DIR/$number.job"
setsid sh "$PBS_DIR/$number.job" > "$PBS_DIR/$number.out" 2>&1 < /dev/null &
echo $! > "$PBS_DIR/$number.pid"
echo "$number.server"
"""
QSELECT = """#!/bin/sh
[ "$1" = -N ] && [ "$3" = -u ] || exit 2
cd "$PBS_DIR" || exit 1
for file in *.pid; do
    number=${file%.pid}
    grep -q "^#PBS -N $2\\$" "$number.job" 2> /dev/null || continue
    kill -s 0 -- "-$(cat "$file")" 2> /dev/null && echo "$number.server"
done
exit 0
"""
QDEL = """#!/bin/sh
for number; do
    group=$(cat "$PBS_DIR/${number%.server}.pid")
    kill -- "-$group" 2> /dev/null || continue
    setsid sh -c "sleep 1; kill -s KILL -- -$group" > /dev/null 2>&1 < /dev/null &
done
"""


@pytest.fixture
def pbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("qsub", QSUB), ("qselect", QSELECT), ("qdel", QDEL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    folder = tmp_path / "pbs"
    folder.mkdir()
    monkeypatch.setenv("PBS_DIR", str(folder))
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return folder


def test_what_pbs_is_sent(pbs: Path, tmp_path: Path) -> None:
    """The script has all that was set; its jobs come up, are replaced, and are deleted at the end."""
    shared = tmp_path / "shared"
    shared.mkdir()
    with plx.Executor(
        "dask",
        cluster="pbs",
        workers=4,
        cores=2,
        memory="2GB",
        walltime="1:30:00",
        queue="short",
        account="vla",
        directives=["-j oe"],
        prologue=["export GREETING=hello"],
        interface="lo",
        local_directory=tmp_path / "scratch",
        shared_directory=shared,
        death_timeout=30,
    ) as ex:
        assert ex.target("all").submit(pow, 2, 5).result(PATIENCE) == [32] * 4
        scripts = sorted(pbs.glob("*.job"))
        assert len(scripts) == 2
        script = scripts[0].read_text()
        for line in ("-q short", "-A vla", "-l select=1:ncpus=2:mem=1908MB", "-l walltime=01:30:00", "-j oe"):
            assert f"#PBS {line}\n" in script
        assert re.search(r"^#PBS -N plx-[0-9a-f]{8}$", script, re.MULTILINE)
        assert "export GREETING=hello\n" in script
        words = script.splitlines()[-1]
        for word in ("--nthreads 2", "--no-nanny", "--interface lo", "--death-timeout 30", "--tls-key"):
            assert word in words
        assert f"#PBS -o {shared}" in script
        victim = ex.target(0).submit(host_of).result(PATIENCE)
        lost = ex.target(0).submit(announce_and_wait, str(tmp_path / "started"))
        until((tmp_path / "started").exists, "it runs")
        psutil.Process(victim).kill()
        assert isinstance(lost.exception(PATIENCE), WorkerLost)
        until(lambda: up(ex) == 4, "they are replaced")
        assert len(list(pbs.glob("*.job"))) == 3
    pids = [int(path.read_text()) for path in pbs.glob("*.pid")]
    until(lambda: not any(_lives(pid) for pid in pids), "all jobs are deleted", 10.0)
    assert not list(shared.iterdir())


def _lives(group: int) -> bool:
    """Tell whether a job has a process left."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except (ProcessLookupError, psutil.Error):
            continue  # gone meanwhile
    return False
