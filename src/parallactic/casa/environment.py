"""What a process is among the others: client, server, or alone."""

from __future__ import annotations

import math
import os
import socket

from parallactic.casa import server
from parallactic.casa.session import Session, present
from parallactic.worker.namespace import find_worker

__all__ = ["MPIEnvironment"]


def _running() -> Session | None:
    session = present()
    return None if session is None or session.stopped else session


class _Asked(type):
    """Attributes of the class that are looked up when they are asked for: servers come and go."""

    hostname: str

    @property
    def is_mpi_enabled(cls) -> bool:
        """Whether there are servers that this process can send commands to.

        False on a server: what a command calls runs there, undivided.
        """
        return _running() is not None

    @property
    def is_mpi_client(cls) -> bool:
        """Whether this process is the client, or has no servers."""
        return find_worker() is None

    @property
    def mpi_world_size(cls) -> int:
        """Number of servers, and the client."""
        session = _running()
        return 1 if session is None else 1 + len(session.servers)

    @property
    def mpi_processor_rank(cls) -> int:
        """0 on the client; 1 for worker 0, and so on."""
        info = find_worker()
        return 0 if info is None else info.id + 1

    @property
    def mpi_pid(cls) -> int:
        """Number of this process."""
        return os.getpid()

    @property
    def mpi_execution_role(cls) -> str:
        """MPIClient or MPIServer."""
        return "MPIClient" if cls.is_mpi_client else "MPIServer"

    @property
    def processor_origin(cls) -> str:
        """Host and role, as they stand in the origin of log messages."""
        host = cls.hostname.partition(".")[0]
        rank = "" if cls.is_mpi_client else f"-{cls.mpi_processor_rank}"
        return f"@{host}:{cls.mpi_execution_role}{rank}" if cls.is_mpi_enabled or rank else ""

    @property
    def mpi_info_msg(cls) -> str:
        """One sentence: host, rank, role, and where the servers run."""
        session = _running()
        if session is None:
            return f"No servers at host {cls.hostname}: call parallactic.casa.enable() for some."
        return (
            f"Parallel processing is enabled at host {cls.hostname} with rank {cls.mpi_processor_rank} as "
            f"{cls.mpi_execution_role}, with {len(session.servers)} servers on backend "
            f"{session.executor.backend!r}"
        )

    @property
    def mpi_error_msg(cls) -> str:
        """Why there are no servers; empty if there are."""
        return "" if cls.is_mpi_enabled else cls.mpi_info_msg

    @property
    def mpi_monitor_status_service_timeout(cls) -> float:
        """Seconds of silence after which a server counts as timed out; infinite unless it was asked for."""
        session = _running()
        silence = None if session is None else session.settings.silence
        return math.inf if silence is None else silence


class MPIEnvironment(metaclass=_Asked):
    """What a process is among the others; everything is an attribute or a static method of the class.

    ``is_mpi_enabled, is_mpi_client, mpi_world_size, mpi_processor_rank, mpi_pid, mpi_execution_role,
    processor_origin, mpi_info_msg, mpi_error_msg, mpi_monitor_status_service_timeout``, and those below.
    """

    hostname = socket.gethostname()
    mpi_client_rank = 0
    command_handling_log_level = "NORMAL"
    mpi_monitor_status_service_heartbeat = server.PULSE_SECONDS
    mpi_monitor_status_service_timeout_enabled = True

    @staticmethod
    def mpi_server_rank_list() -> list[int]:
        """Return the ranks of the servers: 1 to N."""
        session = _running()
        return [] if session is None else list(session.servers)

    @classmethod
    def is_mpi_disabled_or_client(cls) -> bool:
        """Tell whether this process is the client, or the only one."""
        return cls.is_mpi_client
