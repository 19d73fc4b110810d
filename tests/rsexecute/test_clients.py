"""Dask clients by RASCIL's rules, and the hosts of a job."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import graph_functions as g
import pytest

from parallactic import BackendUnavailable, InvalidSpec
from parallactic.rsexecute import get_dask_client, get_nodes
from parallactic.rsexecute.clients import close_client, is_dask_client

distributed = pytest.importorskip("distributed", reason="the [dask] extra")


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RASCIL_DASK_SCHEDULER", "ARL_DASK_SCHEDULER", "RASCIL_HOSTFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of a scheduler that runs by itself, with one worker."""
    folder = tmp_path_factory.mktemp("scheduler")
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    common = ["--no-dashboard", "--scheduler-file", str(file)]
    head_command = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *common]
    worker_command = [*dask, "worker", "--no-nanny", "--nthreads", "1", *common]
    with (folder / "log").open("w") as log:
        head = subprocess.Popen(head_command, stdout=log, stderr=log, cwd=folder)
        worker = subprocess.Popen(worker_command, stdout=log, stderr=log, cwd=folder)
        try:
            deadline = time.monotonic() + 60
            while not file.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            yield file
        finally:
            for process in (worker, head):
                process.terminate()
                process.wait(30)


def address(file: Path) -> str:
    import json

    return str(json.loads(file.read_text())["address"])


def test_the_scheduler_of_the_environment(scheduler: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RASCIL_DASK_SCHEDULER", address(scheduler).removeprefix("tcp://"))
    client = get_dask_client(timeout=30)
    try:
        assert is_dask_client(client)
        assert client.scheduler.address == address(scheduler)
        assert client.submit(pow, 2, 5).result(60) == 32
    finally:
        close_client(client)
    assert client.status == "closed"


def test_the_scheduler_of_a_file(scheduler: Path):
    client = get_dask_client(with_file=True, scheduler_file=scheduler)
    assert client.scheduler.address == address(scheduler)
    close_client(client)


def test_a_cluster_on_this_host(tmp_path: Path):
    client = get_dask_client(
        n_workers=1, processes=False, local_dir=tmp_path, dashboard_address=":0", memory_limit="1GB"
    )
    (worker,) = client.scheduler_info()["workers"].values()
    assert worker["nthreads"] == 1
    assert worker["memory_limit"] == 10**9
    cluster = client.cluster
    close_client(client)
    assert client.status == "closed"
    assert cluster.status.name == "closed"


def test_a_cluster_of_the_client(tmp_path: Path):
    client = get_dask_client(
        n_workers=1, processes=False, local_dir=tmp_path, dashboard_address=":0", create_cluster=False
    )
    assert client.submit(g.inc, 1).result(60) == 2
    close_client(client)
    assert client.status == "closed"


def test_a_client_of_somebody_else_stays_open(scheduler: Path):
    with distributed.Client(address(scheduler)) as client:
        close_client(client)
        assert client.status == "running"


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        silent = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RASCIL_DASK_SCHEDULER", silent)
        begin = time.monotonic()
        with pytest.raises(
            BackendUnavailable, match=f"RASCIL_DASK_SCHEDULER={silent} does not answer within 1 s"
        ):
            get_dask_client(timeout=1)
        assert time.monotonic() - begin < 10


def test_a_scheduler_file_that_does_not_exist(tmp_path: Path):
    with pytest.raises(BackendUnavailable, match=r"'gone.json' does not exist"):
        get_dask_client(with_file=True, scheduler_file="gone.json", timeout=1)


def test_the_name_that_nothing_reads_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ARL_DASK_SCHEDULER", "head:8786")
    with pytest.warns(UserWarning, match="export RASCIL_DASK_SCHEDULER instead"):
        client = get_dask_client(n_workers=1, processes=False, dashboard_address=":0")
    close_client(client)


def test_what_is_no_client():
    assert not is_dask_client(object())
    assert not is_dask_client("head:8786")


def test_a_script_that_dask_imports_again_is_told_what_to_do(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "from parallactic.rsexecute import get_dask_client\n"
        "get_dask_client(n_workers=1, dashboard_address=':0', timeout=20)\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1
    assert "must be made under `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]


# -- Hosts --------------------------------------------------------------------------------------------------


def test_the_hosts_of_a_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert get_nodes() is None
    file = tmp_path / "hosts"
    file.write_text("localhost\n\n127.0.0.1\n")
    monkeypatch.setenv("RASCIL_HOSTFILE", str(file))
    assert get_nodes() == ["127.0.0.1", "127.0.0.1"]


def test_a_host_that_nobody_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    file = tmp_path / "hosts"
    monkeypatch.setenv("RASCIL_HOSTFILE", str(file))
    with pytest.raises(InvalidSpec, match=r"RASCIL_HOSTFILE='.*hosts' cannot be read"):
        get_nodes()
    file.write_text("nowhere.invalid\n")
    with pytest.raises(InvalidSpec, match=r"the host 'nowhere.invalid' of RASCIL_HOSTFILE"):
        get_nodes()
