"""Dask workers on hosts that are reached by ssh: a real sshd, on a port and with keys of this test's own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dask_clusters import PATIENCE, announce_and_wait, host_of, killed_client, until, up

import parallactic as plx
from parallactic.backend import Check
from parallactic.errors import BackendUnavailable, WorkerLost
from parallactic.testing.engine import selected_backends

if "dask" not in selected_backends():
    pytest.skip("dask is not in the matrix of this run; see BACKENDS of make test", allow_module_level=True)

from parallactic_backends.dask import DaskSettings
from parallactic_backends.dask.diagnose import diagnose

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Settings of a cluster of two hosts, both of them this one."""
    sshd = shutil.which("sshd", path=PATH)
    if sshd is None:
        missing = "sshd not found; on Debian, as root: apt-get install --no-install-recommends openssh-server"
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail(missing)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "client"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(command, check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "config").write_text(CONFIGURATION.format(port=port, folder=folder))
    key = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {key}[localhost]:{port} {key}")
    privileged = Path("/run/sshd")
    made = os.geteuid() == 0 and not privileged.exists()
    if made:
        privileged.mkdir(mode=0o755)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "config"], stdout=log, stderr=log)
    try:
        until(lambda: _answers(port) or process.poll() is not None, "sshd listens")
        assert process.poll() is None, (folder / "log").read_text()
        options = {
            "port": port,
            "username": getpass.getuser(),
            "client_keys": [str(folder / "client")],
            "known_hosts": str(folder / "known"),
            "config": None,
        }
        yield {"cluster": "ssh", "hosts": ["127.0.0.1", "localhost"], "ssh_options": options}
    finally:
        process.terminate()
        process.wait()
        if made:
            privileged.rmdir()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def with_scratch(hosts: dict[str, object], folder: Path) -> dict[str, object]:
    return hosts | {"local_directory": str(folder / "scratch")}


def test_workers_on_every_host_and_nothing_is_left(hosts: dict[str, object], tmp_path: Path) -> None:
    with plx.Executor("dask", **with_scratch(hosts, tmp_path)) as ex:
        assert ex.max_workers == 2
        numbers = ex.target("all").submit(host_of).result(PATIENCE)
        assert len(set(numbers)) == 2
        processes = [psutil.Process(number) for number in numbers]
        assert all("BEGIN" not in " ".join(process.cmdline()) for process in processes), "no secret there"
        assert sum(ex.map(pow, range(40), [2] * 40)) == sum(n * n for n in range(40))
        used = {spec["options"]["host"] for spec in ex.engine._cluster.worker_spec.values()}
        assert used == {"127.0.0.1", "localhost"}
    until(lambda: not any(psutil.pid_exists(number) for number in numbers), "they have ended", 10.0)


def test_a_dask_worker_that_dies_is_replaced(hosts: dict[str, object], tmp_path: Path) -> None:
    with plx.Executor("dask", workers=2, **with_scratch(hosts, tmp_path)) as ex:
        victim = ex.target(0).submit(host_of).result(PATIENCE)
        started = tmp_path / "started"
        lost = ex.target(0).submit(announce_and_wait, str(started))
        until(started.exists, "it runs")
        psutil.Process(victim).kill()
        assert isinstance(lost.exception(PATIENCE), WorkerLost)
        until(lambda: up(ex) == 2, "there is another")
        assert ex.target(0).submit(host_of).result(PATIENCE) != victim


def test_resize_starts_and_ends_them(hosts: dict[str, object], tmp_path: Path) -> None:
    with plx.Executor("dask", workers=1, **with_scratch(hosts, tmp_path)) as ex:
        ex.resize(3)
        numbers = ex.target("all").submit(host_of).result(PATIENCE)
        ex.resize(1)
        until(lambda: [psutil.pid_exists(number) for number in numbers] == [True, False, False], "two left")
        assert ex.submit(pow, 2, 5).result(PATIENCE) == 32


def test_a_killed_client_leaves_no_process(hosts: dict[str, object], tmp_path: Path) -> None:
    """They end with the connection."""
    settings = with_scratch(hosts, tmp_path)
    before = _dask_processes()
    killed_client(settings)
    until(lambda: _dask_processes() <= before, "they have ended", 10.0)


def _dask_processes() -> set[int]:
    found = set()
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if "parallactic_backends.dask.remote" in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.add(process.pid)
    return found


def test_what_does_not_work_is_told(hosts: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"no-such-host\.invalid cannot be reached by ssh"):
        plx.Executor("dask", **(hosts | {"hosts": ["no-such-host.invalid"]}))
    with pytest.raises(BackendUnavailable, match="no Dask worker could be started on"):
        plx.Executor("dask", **(hosts | {"hosts": ["127.0.0.1"], "python": "/no/such/python"}))


def test_the_doctor_looks_at_the_hosts(hosts: dict[str, object]) -> None:
    def look(**more: object) -> dict[str, Check]:
        return {check.name: check for check in diagnose(DaskSettings(**{**hosts, **more}))}

    found = look()["ssh"]
    assert (found.state, found.found) == ("ok", "127.0.0.1, localhost answer, with the same versions as here")
    found = look(hosts=["127.0.0.1", "nowhere.invalid"])["ssh"]
    assert (found.state, found.fatal) == ("failure", False)
    assert found.found.startswith("nowhere.invalid: ")
    assert found.advice.startswith("ssh nowhere.invalid true must work without a password")
    found = look(python="/nowhere/python")["ssh"]
    assert (found.state, found.fatal) == ("failure", True)
    assert "/nowhere/python" in found.found
    found = look(prologue=["export PYTHONPATH=/nowhere", "echo of a module that says something"])["ssh"]
    assert found.state == "ok", "what a prologue prints is no answer"
