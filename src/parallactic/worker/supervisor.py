"""The small parent of every worker process: heartbeat, exit cause, force-kill, log tail.

It never holds the interpreter lock of the process that works, so a task that keeps the lock in C for an hour
does not look dead. It dies with the client, and its child dies with it. Imports here stay few: a supervisor
is small, and a replacement is a fork away.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

from parallactic.threads import hear_signals
from parallactic.wire import auth
from parallactic.wire.hello import ROLE_LOOP, ROLE_SUPERVISOR, call_client
from parallactic.worker.started import StartedPage

__all__ = ["BEAT_SECONDS", "MEMORY_LIMIT", "Supervisor", "tail"]

BEAT_SECONDS = 0.25
MEMORY_LIMIT = "PARALLACTIC_WORKER_MEMORY"
"""Variable with the bytes of its own that a worker may have; a worker that has more is ended."""

_BEAT, _EXIT, _KILL, _SPAWN, _QUIT, _SPARED = range(20, 26)  # wire.messages.Kind, without pickle
_TAIL_BYTES = 4096


def tail(path: str, size: int = _TAIL_BYTES) -> str:
    """Return the last lines of a file, an empty string if there is none."""
    try:
        with Path(path).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


class Supervisor:
    """Fork the worker, watch it, and tell the client about it."""

    def __init__(self, address: str, key_file: str, worker: int, epoch: int, log: str) -> None:
        self._address = address
        self._key = auth.read_key(key_file)
        self._worker = worker
        self._epoch = epoch
        self._log = log
        self._channel = call_client(address, self._key, ROLE_SUPERVISOR, worker, epoch)
        self._child = 0
        self._pidfd = -1
        self._kills = 0
        self._deadline = float("inf")
        self._limit = int(os.environ.get(MEMORY_LIMIT, "0"))
        self._over_limit = False
        self._started = StartedPage()

    def run(self) -> int:
        """Serve until the client says so or is gone; return the exit code."""
        hear_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._spawn()
        next_beat = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= next_beat and self._pidfd >= 0:
                self._tell(_BEAT, {"epoch": self._epoch, "state": self._child_state()})
                next_beat = now + BEAT_SECONDS
                if self._limit and self._child_memory() > self._limit:
                    self._over_limit = True
                    self._kill()
            if now >= self._deadline:
                self._kill()
            poll = select.poll()
            poll.register(self._channel, select.POLLIN)
            if self._pidfd >= 0:
                poll.register(self._pidfd, select.POLLIN)
            wait = max(0.0, min(next_beat, self._deadline) - time.monotonic())
            ready = {fd for fd, _ in poll.poll(wait * 1000)}
            if self._pidfd in ready:
                self._reap()
                if self._deadline < float("inf"):
                    return 0
            if self._channel.fileno() in ready and not self._obey():
                return 0

    def _obey(self) -> bool:
        try:
            messages = self._channel.receive()
        except EOFError:
            self._kill()
            return False
        for message in messages:
            if message.kind == _KILL:
                self._kill_if_running(*json.loads(message.control))
            elif message.kind == _SPAWN:
                self._epoch = json.loads(message.control)
                self._spawn()
            elif message.kind == _QUIT:
                if self._pidfd < 0:
                    return False
                self._deadline = time.monotonic() + float(json.loads(message.control))
        return True

    def _spawn(self) -> None:
        self._kills = _oom_kills()
        self._over_limit = False
        supervisor = os.getpid()
        self._started.clear()
        self._child = os.fork()
        if self._child == 0:
            os._exit(self._work(supervisor))
        self._pidfd = os.pidfd_open(self._child)

    def _work(self, supervisor: int) -> int:
        os.setpgid(0, 0)
        self._channel.close()
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        try:
            from parallactic.worker.loop import Loop, die_with_parent

            die_with_parent(supervisor)
            channel = call_client(self._address, self._key, ROLE_LOOP, self._worker, self._epoch)
            Loop(channel, self._started).run()
        except BaseException:  # noqa: BLE001  (the end of a process: what happened goes to its log)
            import traceback

            os.write(2, traceback.format_exc().encode())
            return 70
        sys.stdout.flush()
        return 0

    def _kill_if_running(self, task: int, attempt: int) -> None:
        """Kill the worker, unless it has ended the attempt for which it is to be killed.

        It is stopped while that is looked up, so that it cannot begin the next one in between.
        """
        if self._pidfd < 0:
            return
        os.kill(self._child, signal.SIGSTOP)
        while self._child_state() == "running" and not self._child_ended():
            time.sleep(0.0005)
        if self._started.read() == (task, attempt):
            self._kill()
            return
        os.kill(self._child, signal.SIGCONT)
        self._tell(_SPARED, {"epoch": self._epoch})

    def _child_ended(self) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def _kill(self) -> None:
        for target in (self._child, -self._child):
            try:
                os.kill(target, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def _reap(self) -> None:
        os.close(self._pidfd)
        self._pidfd = -1
        _, status = os.waitpid(self._child, 0)
        self._kill_group()
        code = os.waitstatus_to_exitcode(status)
        content: dict[str, object] = {
            "epoch": self._epoch,
            "code": code,
            "oom": _oom_kills() > self._kills,
            "limit": self._limit if self._over_limit else 0,
            "started": self._started.read(),
            "tail": tail(self._log),
        }
        self._tell(_EXIT, content)

    def _kill_group(self) -> None:
        """End what the worker's tasks started and left behind."""
        try:
            os.killpg(self._child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return

    def _child_state(self) -> str:
        try:
            with Path(f"/proc/{self._child}/stat").open() as file:
                return "stopped" if file.read().rpartition(")")[2].split()[0] in "Tt" else "running"
        except OSError:
            return "running"

    def _child_memory(self) -> int:
        """Return the bytes that the worker has to itself; shared memory belongs to nobody in particular."""
        try:
            with Path(f"/proc/{self._child}/statm").open() as file:
                _, resident, shared, *_ = map(int, file.read().split())
        except OSError:
            return 0
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE")

    def _tell(self, kind: int, content: dict[str, object]) -> None:
        try:
            self._channel.send(kind, json.dumps(content).encode())
        except OSError:
            self._kill()
            os._exit(0)


def _oom_kills() -> int:
    """Count how often the kernel has killed a process of this cgroup, or of this host, for want of memory."""
    for path in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        try:
            with Path(path).open() as file:
                for line in file:
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        except OSError:
            continue
    return 0
