"""The servers of this process: one executor, opened once, and the singletons that speak to it."""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parallactic.casa import server
from parallactic.errors import InvalidSpec
from parallactic.executor import Executor
from parallactic.run_folder import at_interpreter_exit
from parallactic.worker.namespace import find_worker

if TYPE_CHECKING:
    from parallactic.casa.client import MPICommandClient
    from parallactic.casa.monitor import MPIMonitorClient
    from parallactic.future import Future

__all__ = ["Session", "Settings", "current", "open_session", "present"]


@dataclass(frozen=True)
class Settings:
    """How the servers are run.

    Parameters
    ----------
    backend, workers
        As of `Executor`.
    tasks
        Import casatasks on every server. None: where it is installed.
    resend
        How often an untargeted request is sent again if its server dies.
    silence
        Seconds without a sign of a server's Python interpreter after which the server counts as timed out.
        None: a server that computes is never out of time, however long one call takes.
    fast_polling
        Let tclean ask its servers every 5 ms instead of once a second.
    settings
        Settings of the backend.
    """

    backend: str | None = None
    workers: int | None = None
    tasks: bool | None = None
    resend: int = 0
    silence: float | None = None
    fast_polling: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.resend < 0:
            raise InvalidSpec(f"resend={self.resend} must be 0 or more.")
        if self.silence is not None and self.silence < 2 * server.PULSE_SECONDS:
            raise InvalidSpec(
                f"silence={self.silence} s is too short: a sign comes every {server.PULSE_SECONDS:g} s."
            )
        if self.tasks and not _has_casatasks():
            raise InvalidSpec("tasks=True needs casatasks; pip install 'parallactic[casa]'.")


def _has_casatasks() -> bool:
    return importlib.util.find_spec("casatasks") is not None


class Session:
    """An executor whose workers 0 to N-1 are the servers 1 to N; this process is the client, rank 0."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        more = dict(settings.settings)
        if settings.silence is not None and more.setdefault("log", "client") != "client":
            raise InvalidSpec(
                f"silence= needs the servers' log records in this process, and log={more['log']!r} "
                "sends them elsewhere: leave one of the two out."
            )
        self.executor = Executor(backend=settings.backend, workers=settings.workers, **more)
        self.inline = self.executor.capabilities.inline
        if not self.executor.capabilities.targets or (self.inline and settings.silence is not None):
            self.executor.shutdown(kill=True)
            lacking = "lasting workers" if not self.inline else "workers in processes of their own"
            raise InvalidSpec(f"backend {self.executor.backend!r} has no {lacking}, which is needed here.")
        self.servers = list(range(1, self.executor.max_workers + 1))
        self.client: MPICommandClient | None = None
        self.monitor: MPIMonitorClient | None = None
        self.started = self.stopped = False
        self.signs: dict[int, float] = {}
        self._doubted: dict[int, float] = {}
        pulse = settings.silence is not None
        if pulse:
            logging.getLogger(server.PULSE).addFilter(self._note_sign)
        tasks = _has_casatasks() if settings.tasks is None else settings.tasks
        self.prepared: Future = self.executor.setup(server.prepare, tasks, pulse, inline=self.inline)
        # It came after the executor and so ends before it, which would wait for what runs.
        at_interpreter_exit(self)

    def _note_sign(self, record: logging.LogRecord) -> bool:
        self.signs[int(record.__dict__["worker"]) + 1] = time.monotonic()
        return False

    def is_silent(self, rank: int) -> bool:
        """Tell whether a server has given no sign for longer than it may.

        It is doubted first, for two signs: while this process was busy, signs may have waited to be read.
        """
        now = time.monotonic()
        limit, sign = self.settings.silence, self.signs.get(rank)
        if limit is None or sign is None or now - sign <= limit:
            self._doubted.pop(rank, None)
            return False
        return now - self._doubted.setdefault(rank, now) > 2 * server.PULSE_SECONDS

    def shutdown(self) -> None:
        """Stop the servers for good, also those that work. May be called again."""
        if self.stopped:
            return
        self.stopped = True
        logging.getLogger(server.PULSE).removeFilter(self._note_sign)
        self.executor.shutdown(kill=True)


_opened: list[Session] = []
_lock = threading.Lock()


def present() -> Session | None:
    """Return the session of this process; None if there is none, or inside a command: a server has none."""
    return _opened[0] if _opened and find_worker() is None else None


def open_session(settings: Settings) -> Session:
    """Start the servers, unless they run already with the same settings.

    Raises
    ------
    InvalidSpec
        If they run with other settings, or inside a command.
    """
    if find_worker() is not None:
        raise InvalidSpec(
            "a server cannot have servers: commands run one by one, where the client sends them."
        )
    with _lock:
        if _opened and not _opened[0].stopped:
            if _opened[0].settings != settings:
                raise InvalidSpec(
                    f"servers run already, with {_opened[0].settings}; stop them first by stop_services()."
                )
            return _opened[0]
        _opened[:] = [Session(settings)]
        return _opened[0]


def current() -> Session:
    """Return the session of this process; open one by the configuration if there has been none."""
    return present() or open_session(Settings())
