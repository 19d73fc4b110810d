"""What is wrong with a Dask cluster: its versions, its scheduler, its workers, and who may listen."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from parallactic.backend import Check
from parallactic.errors import ParallacticError
from parallactic_backends.dask.diagnose_hosts import look_at_hosts
from parallactic_backends.dask.encryption import REMEDY, is_encrypted, is_open

__all__ = ["diagnose"]

_PACKAGES = ("dask", "distributed", "dask-jobqueue", "bokeh")
_SECONDS = 5.0
_LEAST_FREE = 1e9
_GB = 1e9
_INSTALL = "pip install 'parallactic[dask]'"


def diagnose(settings: Any) -> Iterator[Check]:
    """Yield what there is of Dask: packages, scheduler, versions, workers, encryption, dashboard.

    Parameters
    ----------
    settings
        Which cluster.
    """
    installed = _installed()
    packages = _packages(installed)
    yield packages
    if packages.fatal:
        return
    from parallactic_backends.dask.clusters import address_of
    from parallactic_backends.dask.joining import join

    try:
        address, security = address_of(settings)
    except ParallacticError as error:
        yield _failed("scheduler", error)
        return
    if address is None:
        yield from _own_cluster(settings, installed)
        return
    begun = time.monotonic()
    try:
        client = join(address, "doctor", settings.connect_timeout, security)
    except ParallacticError as error:
        yield _failed("scheduler", error)
        return
    seconds = time.monotonic() - begun
    try:
        yield from _cluster(client, address, seconds)
    finally:
        client.close(timeout=_SECONDS)


def _installed() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def _packages(installed: Mapping[str, str]) -> Check:
    missing = [name for name in ("dask", "distributed") if not installed[name]]
    if missing:
        return Check("Dask", "failure", f"not installed: {', '.join(missing)}", f"{_INSTALL}.", fatal=True)
    found = ", ".join(f"{name} {number or 'not installed'}" for name, number in installed.items())
    if installed["dask"] != installed["distributed"]:
        advice = f"pip install 'dask=={installed['distributed']}': the two are made for each other."
        return Check("Dask", "failure", found, advice)
    if not installed["dask-jobqueue"]:
        return Check("Dask", "ok", found, f"{_INSTALL} if SLURM or PBS is to start Dask workers.")
    return Check("Dask", "ok", found)


def _failed(name: str, error: Exception) -> Check:
    found, _, advice = str(error).partition(". ")
    return Check(name, "failure", found.rstrip("."), advice, fatal=True)


# A cluster that the run starts itself


def _own_cluster(settings: Any, installed: Mapping[str, str]) -> Iterator[Check]:
    kind = settings.cluster or "local"
    yield Check("scheduler", "ok", f"none is named: a cluster of the kind {kind!r} is started")
    if kind in ("slurm", "pbs"):
        yield _batch_system(kind, installed)
    if kind == "ssh":
        yield from look_at_hosts(settings.hosts or [], settings)
    if find_spec("cryptography") is None:
        found = "certificates cannot be made: cryptography is not installed"
        yield Check("encryption", "failure", found, f"{_INSTALL}, or insecure=True.", fatal=True)
    else:
        yield Check("encryption", "ok", "with certificates made for each run, unless insecure=True")
    yield _local_directory(settings.local_directory)
    if not installed["bokeh"]:
        yield Check("dashboard", "warning", "bokeh is not installed: there is none", f"{_INSTALL}.")


def _batch_system(kind: str, installed: Mapping[str, str]) -> Check:
    if not installed["dask-jobqueue"]:
        return Check("batch system", "failure", "dask-jobqueue is not installed", f"{_INSTALL}.", fatal=True)
    from parallactic_backends.dask.jobs import JOB_CLUSTERS

    cluster = JOB_CLUSTERS[kind]
    found, _, advice = cluster.missing().partition(": ")
    if found:
        return Check("batch system", "failure", found, advice, fatal=True)
    return Check("batch system", "ok", f"{', '.join(cluster.commands)} of {cluster.system} are there")


def _local_directory(folder: Path | None) -> Check:
    """Look at the folder of this host for what Dask moves out of memory."""
    if folder is None:
        return Check("local directory", "ok", "the folder of the run")
    if not folder.is_dir():
        found = f"there is no folder {folder} on this host"
        return Check("local directory", "warning", found, "make it on every host where Dask workers run.")
    return _room("this host", str(folder), shutil.disk_usage(folder).free)


def _room(where: str, folder: str, free: int) -> Check:
    found = f"{folder} on {where} has {free / _GB:.1f} GB free"
    if free < _LEAST_FREE:
        advice = (
            "make room, or name another: dask worker --local-directory; results go there when memory is full."
        )
        return Check("local directory", "warning", found, advice)
    return Check("local directory", "ok", found)


# A cluster that runs already


def _cluster(client: Any, address: str, seconds: float) -> Iterator[Check]:
    from parallactic_backends.dask.versions import compare, versions_of

    workers = client.scheduler_info(n_workers=-1)["workers"]
    yield Check("scheduler", "ok", f"{address} answers in {seconds * 1e3:.0f} ms")
    yield _encryption(address)
    try:
        told = versions_of(client, _SECONDS)
    except (OSError, TimeoutError):
        yield Check(
            "Dask versions",
            "failure",
            f"the scheduler or one of its {len(workers)} workers did not tell them within {_SECONDS:g} s",
            "one of them may have stopped: look at the dashboard, and restart it.",
        )
        told = {}
    silent = [worker for worker in workers if told and f"worker {worker}" not in told]
    if told:
        yield _versions(compare(told), len(told))
    yield _workers(workers, silent)
    yield from _memory(workers)
    yield from _disks(client, [worker for worker in workers if worker not in silent], workers)
    yield _dashboard(client)


def _versions(differences: Sequence[Any], asked: int) -> Check:
    if not differences:
        return Check("Dask versions", "ok", f"the same in the scheduler and {asked - 1} Dask workers as here")
    breaking = any(difference.breaking for difference in differences)
    return Check(
        "Dask versions",
        "failure" if breaking else "warning",
        "; ".join(str(difference) for difference in differences),
        "use one environment for client, scheduler and workers: tasks and results are pickled between them.",
        fatal=breaking,
    )


def _workers(workers: Mapping[str, Any], silent: Sequence[str]) -> Check:
    hosts = sorted({worker["host"] for worker in workers.values()})
    threads = sum(worker["nthreads"] for worker in workers.values())
    if not workers:
        advice = "dask worker ADDRESS; a run waits until one joins, and grows with those that do."
        return Check("Dask workers", "warning", "none has joined the scheduler", advice)
    found = f"{len(workers)} with {threads} threads on {', '.join(hosts)}"
    resources = sorted(
        {f"{name}={amount:g}" for w in workers.values() for name, amount in w["resources"].items()}
    )
    if resources:
        found += f", some with {' '.join(resources)}"
    if silent:
        found += f"; no answer from {', '.join(silent)}"
        return Check("Dask workers", "failure", found, "they may have stopped or hang: restart them.")
    paused = [address for address, worker in workers.items() if worker.get("status") == "paused"]
    if paused:
        found += f"; paused by Dask: {', '.join(paused)}"
        advice = "they use more than 80 % of their memory limit, or another run has paused them for a moment."
        return Check("Dask workers", "warning", found, advice)
    return Check("Dask workers", "ok", found)


def _memory(workers: Mapping[str, Any]) -> Iterator[Check]:
    limits = [worker["memory_limit"] for worker in workers.values()]
    if not limits:
        return
    least, most = min(limits), max(limits)
    if not least:
        found = "no limit for some Dask workers: they never move results from memory to disk"
    else:
        found = f"limit of a Dask worker: {least / _GB:.1f} GB" + (
            f" to {most / _GB:.1f} GB" if most > least else ""
        )
    yield Check("Dask memory", "ok", f"{found}. It counts results that it holds, not the memory of tasks")


def _disks(client: Any, answering: Sequence[str], workers: Mapping[str, Any]) -> Iterator[Check]:
    """Look at the local directory of one Dask worker of each host; a busy one does not answer."""
    one_of_each = {workers[address]["host"]: address for address in reversed(answering)}
    asked = {
        host: client.submit(
            shutil.disk_usage, workers[address]["local_directory"], workers=[address], pure=False
        )
        for host, address in one_of_each.items()
    }
    end = time.monotonic() + _SECONDS
    busy, rooms = [], []
    for host, future in asked.items():
        folder = workers[one_of_each[host]]["local_directory"]
        try:
            usage = future.result(timeout=max(0.1, end - time.monotonic()))
        except TimeoutError:
            busy.append(host)
        except OSError as error:
            found = f"{folder} on {host}: {error.strerror}"
            yield Check("local directory", "failure", found, "start the Dask worker with --local-directory.")
        else:
            rooms.append(_room(host, folder, usage[2]))
        finally:
            future.release()
    bad = [room for room in rooms if room.state != "ok"]
    yield from bad or rooms[:1]
    if busy:
        found = f"Dask workers on {', '.join(busy)} ran no task within {_SECONDS:g} s"
        yield Check("local directory", "warning", found, "they are busy for others, or hang.")


def _encryption(address: str) -> Check:
    if is_open(address):
        found = "none: who reaches the scheduler's port can read data and run code as you"
        return Check("encryption", "warning", found, REMEDY)
    if is_encrypted(address):
        return Check("encryption", "ok", "TLS, with the certificates of Dask's configuration")
    return Check("encryption", "ok", "none, and none is needed: the scheduler listens on this host alone")


def _dashboard(client: Any) -> Check:
    if "dashboard" not in client.scheduler_info(n_workers=0).get("services", {}):
        return Check("dashboard", "ok", "the scheduler has none")
    link = client.dashboard_link
    parts = urlsplit(link)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), _SECONDS).close()
    except OSError as error:
        found = f"{link} cannot be reached from this host: {error.strerror or error}"
        advice = f"ssh -N -L 8787:localhost:{parts.port} {parts.hostname}, then http://localhost:8787/status."
        return Check("dashboard", "warning", found, advice)
    return Check("dashboard", "ok", link)
