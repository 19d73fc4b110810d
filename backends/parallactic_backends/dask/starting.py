"""Clusters that a run starts for itself: processes of this host, batch jobs, hosts reached by ssh."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from parallactic.backend import RunContext, usable_cores
from parallactic.errors import BackendUnavailable, InvalidSpec
from parallactic_backends.dask.connection import Connection
from parallactic_backends.dask.nursery import Nursery
from parallactic_backends.dask.settings import DaskSettings

__all__ = ["start_jobs", "start_local", "start_ssh"]

_THIS_HOST = "127.0.0.1"


def start_local(settings: DaskSettings, context: RunContext) -> Connection:
    """Start Dask workers on this host, one for each worker of ours."""
    folder, nursery = _nursery(context)
    # The nursery imports Dask meanwhile, too.
    from parallactic_backends.dask.local import LocalCluster

    scratch = str(settings.local_directory or folder)
    cluster = _cluster(
        nursery,
        LocalCluster,
        nursery,
        scheduler=_scheduler(settings, context, host=_THIS_HOST),
        worker={
            "host": _THIS_HOST,
            "protocol": _protocol(context),
            "nthreads": 1,
            "memory_limit": 0,
            "resources": settings.resources,
            "local_directory": scratch,
            "dashboard": False,
        },
        security=_security(context),
        scratch=scratch,
    )
    usual = max(1, usable_cores() // settings.threads)
    return _begin(cluster, 1, usual, settings, context, one_host=settings.shared_memory)


def start_ssh(settings: DaskSettings, context: RunContext) -> Connection:
    """Start Dask workers on the hosts that the settings name, one for each worker of ours."""
    if not settings.hosts:
        raise InvalidSpec("cluster='ssh' needs hosts, such as hosts=['node1', 'node2'].")
    _require("asyncssh")
    folder, nursery = _nursery(context)
    from parallactic_backends.dask.local import SchedulerProcess, secret_of
    from parallactic_backends.dask.ssh import SshCluster, SshWorker

    security = _security(context)
    nursery.prepare({"security": secret_of(security), "config": {"temporary-directory": str(folder)}})
    options = {
        "protocol": _protocol(context),
        "nthreads": 1,
        "memory_limit": 0,
        "resources": settings.resources,
        "dashboard": False,
    }
    if settings.interface:
        options["interface"] = settings.interface
    if settings.local_directory:
        options["local_directory"] = str(settings.local_directory)
    worker = {
        "connect": settings.ssh_options,
        "options": options,
        "security": secret_of(security),
        "python": settings.python,
        "prologue": settings.prologue,
    }
    scheduler = {"nursery": nursery, "options": _scheduler(settings, context)}
    cluster = _cluster(
        nursery,
        SshCluster,
        scheduler={"cls": SchedulerProcess, "options": scheduler},
        worker={"cls": SshWorker, "options": worker},
        security=security,
        silence_logs=False,
    )
    cluster.hosts = settings.hosts
    return _begin(cluster, 1, len(settings.hosts), settings, context)


def start_jobs(kind: str, settings: DaskSettings, context: RunContext) -> Connection:
    """Submit batch jobs that are Dask workers."""
    for name, example in (("walltime", "2h"), ("memory", "16GB")):
        if getattr(settings, name) is None:
            raise InvalidSpec(
                f"cluster={kind!r} needs {name}={example!r} or what is right here: the {name} of each job. "
                "What a batch system gives by itself is seldom right."
            )
    processes = settings.processes or 1
    cores = settings.cores or settings.threads * processes
    if cores < settings.threads * processes:
        raise InvalidSpec(
            f"cores={cores} of a job are too few for processes={processes} with threads={settings.threads}."
        )
    if settings.adaptive and processes > 1:
        raise InvalidSpec("adaptive needs jobs of one Dask worker each; leave processes out, cores stay.")
    _require("dask_jobqueue")
    from parallactic_backends.dask.jobs import JOB_CLUSTERS, job_offers, job_options, new_job_name

    kind_of_cluster = JOB_CLUSTERS[kind]
    if missing := kind_of_cluster.missing():
        raise BackendUnavailable(missing)
    shared, clean = _shared_folder(settings, context)
    try:
        folder, nursery = _nursery(context)
        from parallactic_backends.dask.local import SchedulerProcess, secret_of

        security = _security(context)
        nursery.prepare({"security": secret_of(security), "config": {"temporary-directory": str(folder)}})
        scheduler = _scheduler(settings, context)
        job_name = new_job_name()
        cluster = _cluster(
            nursery,
            kind_of_cluster,
            scheduler_cls=lambda **_: SchedulerProcess(nursery=nursery, options=scheduler),
            security=security if context.key else None,
            shared_temp_directory=str(shared),
            silence_logs=False,
            job_name=job_name,
            **job_options(settings, cores, processes, shared / "logs", scheduler.get("host", "")),
        )
        cluster.job_name_of_run, cluster.logs = job_name, shared / "logs"
        cluster.guard(shared if shared != context.run_dir / "dask" else None)
        places = processes * max(1, cores // processes // settings.threads)
        begun = _begin(cluster, places, places, settings, context, clean=clean)
        begun.resources = job_offers(settings, cores, processes)
        return begun
    except BaseException:
        clean()
        raise


def _nursery(context: RunContext) -> tuple[Path, Nursery]:
    """Return a private folder, and what starts processes of this host that write their logs there."""
    folder = context.run_dir / "dask"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder, Nursery(folder)


def _security(context: RunContext) -> Any:
    from distributed.security import Security

    return Security.temporary() if context.key else Security()


def _cluster(nursery: Nursery, kind: Any, *args: Any, **options: Any) -> Any:
    """Make a cluster; what Dask wraps says better why that cannot be done."""
    cluster = kind.__new__(kind)
    # Before the constructor: that starts the scheduler, and closes the cluster if it cannot.
    cluster.nursery = nursery
    try:
        cluster.__init__(*args, **options)
    except BaseException as error:
        if not nursery.closed:
            nursery.close()
        if isinstance(error, RuntimeError) and isinstance(error.__cause__, BackendUnavailable):
            raise error.__cause__ from None
        raise
    return cluster


def _begin(
    cluster: Any,
    places: int,
    usual: int,
    settings: DaskSettings,
    context: RunContext,
    *,
    one_host: bool = False,
    clean: Callable[[], None] | None = None,
) -> Connection:
    """Start as many units as are needed at first, and connect."""
    from parallactic_backends.dask.joining import new_client

    cluster.prepare(places)
    first = workers = settings.workers or usual
    if settings.adaptive:
        first, workers = settings.adaptive
    try:
        cluster.sync(cluster.begin, cluster.units(first))
        address = cluster.scheduler_address
        client = new_client(address, context.name, settings.connect_timeout, cluster.security)
    except BaseException:
        cluster.close()
        raise
    return Connection(
        client,
        cluster,
        one_host=one_host,
        workers=workers,
        resources=settings.resources,
        dashboard="" if isinstance(settings.dashboard, str) else _THIS_HOST,
        clean=clean,
    )


def _scheduler(settings: DaskSettings, context: RunContext, host: str = "") -> dict[str, Any]:
    """Return the options of a scheduler on this host, which listens on one of its networks alone."""
    from distributed.utils import get_ip

    place = {"interface": settings.interface} if settings.interface else {"host": host or get_ip()}
    return {
        **place,
        "protocol": _protocol(context),
        "dashboard": bool(settings.dashboard),
        "dashboard_address": settings.dashboard if isinstance(settings.dashboard, str) else f"{_THIS_HOST}:0",
    }


def _protocol(context: RunContext) -> str:
    return "tls" if context.key else "tcp"


def _require(module: str) -> None:
    if find_spec(module) is None:
        raise BackendUnavailable(f"{module} not found. pip install 'parallactic[dask]'")


def _shared_folder(settings: DaskSettings, context: RunContext) -> tuple[Path, Callable[[], None]]:
    """Return a private folder that all hosts see, and what removes it if it is a temporary one."""
    temporary = context.run_dir.parent == Path(tempfile.gettempdir())
    if settings.shared_directory is None and not temporary:
        folder = context.run_dir / "dask"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder, lambda: None
    above = settings.shared_directory or Path.cwd()
    try:
        folder = Path(tempfile.mkdtemp(prefix=".parallactic-", dir=above))
    except OSError as error:
        raise InvalidSpec(
            f"certificates and logs of batch jobs cannot be written to {above}: {error.strerror}. Name a "
            "folder on a disk that all hosts mount: shared_directory=..."
        ) from error
    return folder.absolute(), lambda: shutil.rmtree(folder, ignore_errors=True)
