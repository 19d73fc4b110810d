"""The doctor on Dask: real schedulers and workers, and each of the faults that people have with them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_doctor import Report, by_name, doctor

from parallactic.testing.engine import selected_backends
from parallactic.testing.waiting import until

pytest.importorskip("distributed", reason="the extra [dask] is not installed")
if "dask" not in selected_backends():
    pytest.skip("dask is not in the matrix of this run; see BACKENDS of make test", allow_module_level=True)

from parallactic_backends.dask import DaskSettings
from parallactic_backends.dask import diagnose as module
from parallactic_backends.dask.diagnose import diagnose
from parallactic_backends.dask.encryption import is_open
from parallactic_backends.dask.versions import compare, versions_of

PATIENCE = 30.0
DASK = [sys.executable, "-m", "dask"]


class Cluster:
    """A scheduler and workers in processes of their own."""

    def __init__(self, folder: Path, *words: str, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.host = host
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start("scheduler", "--port", "0", *(words or ("--no-dashboard",)))
        until(self.file.exists, PATIENCE, "the scheduler has written its file")

    def start(self, command: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{command}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*DASK, command, "--host", self.host, "--scheduler-file", str(self.file), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        self.processes.append(process)
        return process

    def worker(self, *words: str) -> subprocess.Popen[bytes]:
        number = len(self.processes)
        process = self.start("worker", "--no-nanny", "--no-dashboard", "--nthreads", "1", *words)
        log = self.folder / f"worker-{number}.log"
        until(lambda: "Registered to" in log.read_text(), PATIENCE, "the Dask worker has registered")
        return process

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


def look(**settings: object) -> Report:
    """Diagnose in this process, without workers of ours."""
    return by_name(list(diagnose(DaskSettings(**settings))))


def test_a_machine_in_order(tmp_path: Path) -> None:
    code, found = doctor(tmp_path, "--backend", "dask", "--workers", "1")
    assert code == 0
    assert {name: check["state"] for name, check in found.items() if check["state"] != "ok"} == {}
    assert "distributed 20" in found["Dask"]["found"]
    assert "'local'" in found["scheduler"]["found"]
    assert "certificates made for each run" in found["encryption"]["found"]
    assert found["workers"]["found"].startswith("1 worker on ")
    assert found["folder"]["state"] == "ok"


def test_a_cluster_in_order(cluster: Cluster, tmp_path: Path) -> None:
    cluster.worker("--resources", "GPU=1", "--memory-limit", "2GB", "--local-directory", str(tmp_path))
    code, found = doctor(tmp_path, "--backend", "dask", PARALLACTIC_DASK__SCHEDULER_FILE=str(cluster.file))
    assert code == 0
    assert {name: check["state"] for name, check in found.items() if check["state"] != "ok"} == {}
    assert "tcp://127.0.0.1:" in found["scheduler"]["found"]
    assert found["Dask versions"]["found"] == "the same in the scheduler and 1 Dask workers as here"
    assert "1 with 1 threads on 127.0.0.1, some with GPU=1" in found["Dask workers"]["found"]
    assert "2.0 GB" in found["Dask memory"]["found"]
    assert str(tmp_path) in found["local directory"]["found"]
    assert "this host alone" in found["encryption"]["found"]
    assert found["dashboard"]["found"].startswith("http://127.0.0.1:")


def test_a_scheduler_that_does_not_answer(tmp_path: Path) -> None:
    variables = {"PARALLACTIC_DASK__SCHEDULER": "127.0.0.1:1", "PARALLACTIC_DASK__CONNECT_TIMEOUT": "2"}
    code, found = doctor(tmp_path, "--backend", "dask", **variables)
    assert code == 1
    assert found["scheduler"]["state"] == "failure"
    assert "tcp://127.0.0.1:1 did not answer within 2 s" in found["scheduler"]["found"]
    assert "dask scheduler" in found["scheduler"]["advice"]
    assert found["workers"]["found"] == "not started: scheduler has failed"


def test_somebody_else_answers() -> None:
    """A program that is no scheduler takes the connection, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = look(scheduler=f"127.0.0.1:{server.getsockname()[1]}", connect_timeout=1)
    assert found["scheduler"]["state"] == "failure"
    assert "did not answer within 1 s" in found["scheduler"]["found"]


def test_a_file_without_an_address(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("{}")
    found = look(scheduler_file=tmp_path / "empty.json")
    assert found["scheduler"]["state"] == "failure"
    assert "--scheduler-file" in found["scheduler"]["advice"]


def test_no_worker_has_joined(cluster: Cluster) -> None:
    found = look(scheduler_file=cluster.file)
    assert found["Dask workers"]["state"] == "warning"
    assert "dask worker ADDRESS" in found["Dask workers"]["advice"]


def test_a_worker_that_stands_still(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 2.0)
    process = cluster.worker()
    os.kill(process.pid, signal.SIGSTOP)
    found = look(scheduler_file=cluster.file)
    assert found["Dask versions"]["state"] == "failure"
    assert "did not tell them within 2 s" in found["Dask versions"]["found"]
    assert found["local directory"]["state"] == "warning"
    assert "ran no task" in found["local directory"]["found"]


def test_versions_that_differ(cluster: Cluster) -> None:
    """What a scheduler and a worker of other versions would tell."""
    cluster.worker()
    from distributed import Client

    with Client(scheduler_file=str(cluster.file), set_as_default=False) as client:
        told = versions_of(client, PATIENCE)
    assert len(told) == 2
    assert compare(told) == []
    (worker,) = told.keys() - {"scheduler"}
    told[worker]["packages"] |= {"distributed": "2020.1.0", "parallactic": None, "numpy": "0.9"}
    told["scheduler"]["packages"] |= {"python": "3.9.1.final.0", "numpy": None}
    differences = {difference.package: difference for difference in compare(told)}
    assert differences.keys() == {"python", "distributed", "parallactic", "numpy"}
    assert str(differences["parallactic"]).startswith(f"parallactic is not installed in the {worker}; here")
    assert str(differences["python"]).startswith("python is 3.9 in the scheduler; here it is 3.")
    assert [name for name in differences if differences[name].breaking] == [
        "parallactic",
        "python",
        "distributed",
    ]
    check = module._versions(list(differences.values()), 2)
    assert (check.state, check.fatal) == ("failure", True)
    assert module._versions([differences["numpy"]], 2).state == "warning"


def test_who_may_listen() -> None:
    assert is_open("tcp://192.168.2.10:8786")
    assert is_open("ws://node7:8786")
    for address in ("tls://192.168.2.10:8786", "tcp://127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:1"):
        assert not is_open(address)
    check = module._encryption("tcp://192.168.2.10:8786")
    assert check.state == "warning"
    assert "--tls-cert" in check.advice


def test_a_dashboard_and_one_that_cannot_be_reached(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, "--dashboard-address", "127.0.0.1:0")
    try:
        found = look(scheduler_file=cluster.file)
        assert found["dashboard"]["state"] == "ok"
        assert found["dashboard"]["found"].startswith("http://127.0.0.1:")
        with socket.create_server(("127.0.0.1", 0)) as server:
            closed = server.getsockname()[1]
        import dask

        with dask.config.set({"distributed.dashboard.link": f"http://127.0.0.1:{closed}/status"}):
            found = look(scheduler_file=cluster.file)
        assert found["dashboard"]["state"] == "warning"
        assert f"ssh -N -L 8787:localhost:{closed} 127.0.0.1" in found["dashboard"]["advice"]
    finally:
        cluster.close()


def test_a_local_directory_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(local_directory=tmp_path / "nowhere")
    assert found["local directory"]["state"] == "warning"
    assert "nowhere" in found["local directory"]["found"]
    monkeypatch.setattr(module, "_LEAST_FREE", 1e18)
    found = look(local_directory=tmp_path)
    assert found["local directory"]["state"] == "warning"
    assert "--local-directory" in found["local directory"]["advice"]


def test_packages_that_do_not_fit() -> None:
    there = {"dask": "2026.8.0", "distributed": "2026.8.0", "dask-jobqueue": "0.9.0", "bokeh": "3.7"}
    assert module._packages(there).state == "ok"
    assert module._packages(there | {"dask-jobqueue": ""}).advice.startswith(
        "pip install 'parallactic[dask]'"
    )
    other = module._packages(there | {"dask": "2025.1.0"})
    assert (other.state, other.advice.split(":")[0]) == ("failure", "pip install 'dask==2026.8.0'")
    missing = module._packages(there | {"distributed": ""})
    assert (missing.state, missing.fatal) == ("failure", True)
