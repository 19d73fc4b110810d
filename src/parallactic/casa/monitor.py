"""What the servers do, and whether they answer."""

from __future__ import annotations

import time
from typing import Any

from parallactic.casa.environment import MPIEnvironment
from parallactic.casa.log import post
from parallactic.casa.session import Session, current
from parallactic.status import WorkerStatus

__all__ = ["MPIMonitorClient"]


class MPIMonitorClient:
    """The states of the servers, as the client sees them now. There is one of it.

    A server has timed out if it is stopped, or gone and not yet replaced; with ``silence`` also if its
    interpreter has given no sign for so long.
    """

    _session: Session

    def __new__(cls, start_services: bool = True) -> MPIMonitorClient:  # noqa: ARG004  (they are on)
        """Return the one monitor of this process; its services are always on."""
        session = current()
        if session.monitor is None:
            session.monitor = super().__new__(cls)
            session.monitor._session = session
        return session.monitor

    def start_services(self) -> None:
        """Do nothing: the servers are watched from their beginning to their end."""

    stop_services = start_services

    def get_server_status(self, server: int | None = None) -> dict[Any, Any] | None:
        """Return the state of one server, or of all by rank.

        Returns
        -------
        dict
            ``rank, processor`` (the host), ``pid, busy, command, command_start_time, pong_pending, ping_time,
            pong_time, timeout``. None if there is no such server.
        """
        status = {worker.id + 1: self._state(worker) for worker in self._workers()}
        if server is None:
            return status
        if server not in status:
            post(f"Server n# {server} is out of range", "WARN", "MPIMonitorClient::get_server_status")
        return status.get(server)

    def get_server_status_keyword(self, server: int, keyword: str) -> Any:
        """Return one item of a server's state; None if there is no such server or item."""
        status = self.get_server_status(server)
        if status is not None and keyword not in status:
            post(
                f"Status keyword {keyword} not defined", "WARN", "MPIMonitorClient::get_server_status_keyword"
            )
        return None if status is None else status.get(keyword)

    def get_server_rank_available(self, verbose: bool = False) -> list[int]:
        """Return the ranks of the servers that wait for work."""
        return [
            worker.id + 1
            for worker in self._workers()
            if worker.state == "idle" and not worker.queued and not self._timed_out(worker)
        ]

    def get_server_rank_online(self, verbose: bool = False) -> list[int]:
        """Return the ranks of the servers that answer."""
        return [worker.id + 1 for worker in self._workers() if not self._timed_out(worker)]

    def get_server_timeout(self) -> list[int]:
        """Return the ranks of the servers that have timed out."""
        return [worker.id + 1 for worker in self._workers() if self._timed_out(worker)]

    def start_debugging_mode(self) -> None:
        """Let no server time out, for instance while it stands in a debugger."""
        MPIEnvironment.mpi_monitor_status_service_timeout_enabled = False

    def stop_debugging_mode(self) -> None:
        """Let servers time out again, counted from now."""
        now = time.monotonic()
        self._session.signs.update(dict.fromkeys(self._session.signs, now))
        MPIEnvironment.mpi_monitor_status_service_timeout_enabled = True

    def _workers(self) -> tuple[WorkerStatus, ...]:
        return self._session.executor.status().workers

    def _timed_out(self, worker: WorkerStatus) -> bool:
        if not MPIEnvironment.mpi_monitor_status_service_timeout_enabled:
            return False
        if worker.state in ("unresponsive", "lost"):
            return True
        return self._session.is_silent(worker.id + 1)

    def _state(self, worker: WorkerStatus) -> dict[str, Any]:
        rank = worker.id + 1
        client = self._session.client
        running = None if client is None else client.running_on(rank)
        sign = self._session.signs.get(rank)
        return {
            "rank": rank,
            "processor": worker.host,
            "pid": worker.pid,
            "busy": worker.state == "busy",
            "command": None if running is None else running[0],
            "command_start_time": None if running is None else running[1],
            "pong_pending": worker.state in ("unresponsive", "lost"),
            "ping_time": None,
            "pong_time": None if sign is None else time.time() - (time.monotonic() - sign),
            "timeout": self._timed_out(worker),
        }
