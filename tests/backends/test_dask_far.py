"""Dask clusters at a distance: workers that the client cannot reach, and encryption of what passes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from dask_by_hand import ByHand, until

import parallactic as plx
from parallactic.errors import BackendUnavailable
from parallactic.testing.engine import selected_backends
from surroundings import outer_address

if "dask" not in selected_backends():
    pytest.skip("dask is not in the matrix of this run; see BACKENDS of make test", allow_module_level=True)

import dask
from distributed import Client
from distributed.security import Security

from parallactic_backends.dask import DaskSettings
from parallactic_backends.dask.diagnose import diagnose

PATIENCE = 30.0
HERE = Path(__file__).parent
LARGE = 500_000


def address_of(cluster: ByHand) -> str:
    until(lambda: cluster.file.read_text().rstrip().endswith("}"), "the scheduler has written its file")
    address: str = json.loads(cluster.file.read_text())["address"]
    return address


def test_workers_that_the_client_cannot_reach(tmp_path: Path) -> None:
    """Only the scheduler is open to the client; it passes messages on, in order, and tells of deaths."""
    cluster = ByHand(tmp_path)
    try:
        for _ in range(2):
            cluster.worker()
        until(lambda: len(cluster.workers()) == 2, "both have registered")
        address = address_of(cluster)
        port = str(urlsplit(address).port)
        wall = [sys.executable, str(HERE / "dask_behind_wall.py"), port]
        if subprocess.run([*wall, "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("this container lets nobody have a network of his own (unshare --net)")
        for memory in ("shared", "bytes"):
            told = run([*wall, sys.executable, str(HERE / "dask_client_program.py"), address, memory])
            assert told["squares"] == [0, 1, 4, 9, 16]
            assert told["in order"]
            assert told["sum"] == told["on a target"] == float(np.sum(np.arange(LARGE) * 2.0))
            assert told["same"]
            assert told["death"] == "WorkerLost"
            assert told["seconds to know"] < 5.0
            assert told["after"] == 32
            assert told["workers"] == 2
            assert "the scheduler passes messages on" in told["log"]
    finally:
        cluster.close()


def run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told | {"log": done.stderr}


def count(values: np.ndarray, path: str) -> float:
    with Path(path).open("a") as file:
        file.write("ran\n")
    return float(values.sum())


def test_a_task_whose_argument_is_on_its_way_is_followed_and_can_be_withdrawn(tmp_path: Path) -> None:
    """Large arguments go to Dask's memory first; what follows the task waits for that too."""
    cluster = ByHand(tmp_path)
    try:
        cluster.worker()
        ran = tmp_path / "ran"
        with plx.Executor("dask", scheduler_file=cluster.file, shared_memory=False) as ex:
            ex.submit(pow, 2, 5).result(PATIENCE)
            for number in range(10):
                first = ex.submit(np.multiply, np.full(LARGE, float(number)), 2.0)
                second = ex.submit(np.add, first, 1.0)
                assert ex.submit(np.sum, [first, second]).result(PATIENCE) == LARGE * (4.0 * number + 1.0)
            for _ in range(10):
                withdrawn = ex.submit(count, np.ones(LARGE), str(ran))
                follower = ex.submit(pow, withdrawn, 2)
                assert withdrawn.cancel()
                assert follower.exception(PATIENCE) is not None
            assert ex.submit(pow, 2, 6).result(PATIENCE) == 64
            assert not ran.exists()
    finally:
        cluster.close()


# Encryption


class Outside(ByHand):
    """A cluster that listens where other hosts reach it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._words = words
        super().__init__(folder)

    def _start(self, command: str, *words: str) -> subprocess.Popen[bytes]:
        moved = [outer_address() if word == "127.0.0.1" else word for word in words]
        return super()._start(command, *moved, *self._words)


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, str]:
    """Files as an administrator makes them."""
    security = Security.temporary()
    files = {"ca": security.tls_ca_file, "key": security.tls_worker_key, "cert": security.tls_worker_cert}
    for name, content in files.items():
        (tmp_path / f"{name}.pem").write_text(content)
    return {name: str(tmp_path / f"{name}.pem") for name in files}


@pytest.fixture
def encrypted(tmp_path: Path, certificates: dict[str, str]) -> Iterator[ByHand]:
    words = [word for name, path in certificates.items() for word in (f"--tls-{name}", path)]
    words[words.index("--tls-ca")] = "--tls-ca-file"
    cluster = Outside(tmp_path, "--protocol", "tls", *words)
    yield cluster
    cluster.close()


def configured(certificates: dict[str, str]) -> dask.config.set:
    names = {"ca-file": "ca", "client.cert": "cert", "client.key": "key"}
    return dask.config.set({f"distributed.comm.tls.{name}": certificates[of] for name, of in names.items()})


def test_an_encrypted_cluster_is_joined_with_the_certificates_of_dasks_configuration(
    encrypted: ByHand, certificates: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    encrypted.worker()
    address = address_of(encrypted)
    assert address.startswith("tls://")
    with configured(certificates), plx.Executor("dask", scheduler=address) as ex:
        assert ex.submit(pow, 2, 5).result(PATIENCE) == 32
        assert ex.target(0).submit(np.sum, np.ones(LARGE)).result(PATIENCE) == LARGE
    assert "not encrypted" not in caplog.text


def test_an_encrypted_cluster_is_joined_with_the_certificates_of_a_client(
    encrypted: ByHand, certificates: dict[str, str]
) -> None:
    encrypted.worker()
    address = address_of(encrypted)
    security = Security(
        tls_ca_file=certificates["ca"],
        tls_client_cert=certificates["cert"],
        tls_client_key=certificates["key"],
        require_encryption=True,
    )
    with Client(address, security=security, set_as_default=False) as client:
        with plx.Executor("dask", client=client) as ex:
            assert ex.submit(pow, 2, 5).result(PATIENCE) == 32
        assert client.submit(pow, 2, 6).result(PATIENCE) == 64, "it is left as it was"
        found = {check.name: check for check in diagnose(DaskSettings(client=client))}
    assert found["encryption"].state == "ok"
    assert found["encryption"].found.startswith("TLS")
    assert found["Dask workers"].state == "ok"


def test_an_encrypted_cluster_without_its_certificates_says_what_is_missing(
    encrypted: ByHand, certificates: dict[str, str], tmp_path: Path
) -> None:
    address = address_of(encrypted)
    with pytest.raises(BackendUnavailable, match="names no certificates"):
        plx.Executor("dask", scheduler=address)
    with pytest.raises(BackendUnavailable, match="its address begins with tls://"):
        plx.Executor("dask", scheduler=address.replace("tls", "tcp"), connect_timeout=2)
    strange = Security.temporary()
    for name, content in {"cert": strange.tls_client_cert, "key": strange.tls_client_key}.items():
        (tmp_path / f"strange-{name}.pem").write_text(content)
        certificates |= {name: str(tmp_path / f"strange-{name}.pem")}
    with configured(certificates), pytest.raises(BackendUnavailable, match=r"tls://|trust"):
        plx.Executor("dask", scheduler=address, connect_timeout=2)


def test_an_open_cluster_is_told_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who joins a scheduler that other hosts reach learns that; insecure=True says that it is known."""
    if outer_address().startswith("127."):
        pytest.skip("this host has no address but its loopback")
    cluster = Outside(tmp_path)
    try:
        cluster.worker()
        with plx.Executor("dask", scheduler_file=cluster.file) as ex:
            assert ex.submit(pow, 2, 5).result(PATIENCE) == 32
        assert "are not encrypted: who reaches its port can read data and run code as you" in caplog.text
        caplog.clear()
        with plx.Executor("dask", scheduler_file=cluster.file, insecure=True) as ex:
            assert ex.submit(pow, 2, 5).result(PATIENCE) == 32
        assert "not encrypted" not in caplog.text
    finally:
        cluster.close()
