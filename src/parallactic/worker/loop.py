"""The loop inside every worker process that is fed by a channel: receive, run, answer."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import pickle
import signal
import sys
import threading
from collections import deque
from typing import Any

from parallactic.wire.envelopes import Envelope
from parallactic.wire.framing import Channel, Message
from parallactic.wire.memory import SharedMemoryPlane, raise_open_file_limit
from parallactic.wire.messages import Inbox, Kind, send_outcome
from parallactic.worker.execute import FunctionCache, execute
from parallactic.worker.namespace import WorkerInfo, set_process_worker
from parallactic.worker.started import StartedPage

__all__ = ["Loop", "die_with_parent"]


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when process `parent` ends, however that ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class Loop:
    """Serve one channel until the client says stop or hangs up.

    User code runs on the main thread, one task at a time; the process has no other thread of ours, so that
    user code may fork.
    """

    def __init__(self, channel: Channel, started: StartedPage) -> None:
        self._channel = channel
        self._started = started
        self._lock = threading.Lock()
        self._inbox = Inbox()
        self._plane = SharedMemoryPlane()
        self._functions = FunctionCache()
        self._pending: deque[Envelope] = deque()

    def run(self) -> None:
        """Serve until the end."""
        info, rest = self._welcome()
        if not self._take(rest):
            return
        while self._receive():
            envelope = self._pending.popleft()
            self._started.write(envelope.task, envelope.attempt)
            outcome = execute(envelope, info, self._plane, self._functions)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            with self._lock:
                send_outcome(self._channel, outcome)
            self._started.clear()
            # The next wait may be long: what the task used is freed before it.
            del envelope, outcome

    def _welcome(self) -> tuple[WorkerInfo, list[Message]]:
        """Learn who this is; return that, and the messages that came with it."""
        messages: list[Message] = []
        while not messages:
            messages = self._channel.receive()
        first = messages[0]
        settings: dict[str, Any] = pickle.loads(first.control)
        raise_open_file_limit()
        sys.path[:] = settings["path"]
        with contextlib.suppress(FileNotFoundError):
            # The client's folder may have been removed since; tasks then see the error where they use it.
            os.chdir(settings["folder"])
        info = WorkerInfo(settings["worker"], settings["epoch"], settings["backend"], settings["cores"])
        set_process_worker(info)
        self._capture(settings["log_level"], info)
        with self._lock:
            self._channel.send(Kind.READY, b"")
        return info, messages[1:]

    def _capture(self, level: int, info: WorkerInfo) -> None:
        root = logging.getLogger()
        root.addHandler(_Forward(self._post, info))
        root.setLevel(level)
        sys.stdout = _Tee(sys.stdout, self._post, "stdout")
        sys.stderr = _Tee(sys.stderr, self._post, "stderr")

    def _post(self, kind: Kind, content: Any) -> None:
        with self._lock:
            self._channel.send(kind, pickle.dumps(content, 5))

    def _receive(self) -> bool:
        """Take what has arrived; wait if there is nothing to run. Return False when it is time to go."""
        try:
            if self._pending:
                # The next one may have been cancelled meanwhile.
                return self._take(self._channel.receive(wait=False)) and (
                    bool(self._pending) or self._receive()
                )
            while not self._pending:
                if not self._take(self._channel.receive()):
                    return False
        except EOFError:
            return False
        return True

    def _take(self, messages: list[Message]) -> bool:
        for message in messages:
            match message.kind:
                case Kind.TASK:
                    self._pending.append(self._inbox.task(message))
                case Kind.KEEP:
                    self._inbox.keep(message)
                case Kind.FORGET:
                    self._inbox.forget(message)
                case Kind.SKIP:
                    self._skip(*pickle.loads(message.control))
                case Kind.STOP:
                    return False
                case unknown:
                    raise ValueError(
                        f"message of unknown kind {unknown}; client and worker differ in version."
                    )
        return True

    def _skip(self, task: int, attempt: int) -> None:
        for envelope in self._pending:
            if (envelope.task, envelope.attempt) == (task, attempt):
                self._pending.remove(envelope)
                self._post(Kind.SKIPPED, (task, attempt))
                return


class _Forward(logging.Handler):
    """Send log records to the client, with worker, host and task."""

    def __init__(self, post: Any, info: WorkerInfo) -> None:
        super().__init__()
        self._post = post
        self._info = info

    def emit(self, record: logging.LogRecord) -> None:
        fields = dict(record.__dict__)
        fields["msg"], fields["args"] = record.getMessage(), None
        if record.exc_info:
            fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
            fields["exc_info"] = None
        fields |= {"worker": self._info.id, "host": self._info.host, "task": self._info.name}
        plain = {key: value for key, value in fields.items() if isinstance(value, str | int | float | None)}
        self._post(Kind.LOG, plain)


class _Tee(io.TextIOBase):
    """Write to the worker's log and show the same lines to the client."""

    def __init__(self, log: Any, post: Any, stream: str) -> None:
        self._log = log
        self._post = post
        self._stream = stream
        self._line = ""

    def write(self, text: str) -> int:
        self._log.write(text)
        self._line += text
        done, newline, self._line = self._line.rpartition("\n")
        if newline:
            self._post(Kind.OUTPUT, (self._stream, done + newline))
        return len(text)

    def flush(self) -> None:
        self._log.flush()
        if self._line:
            line, self._line = self._line, ""
            self._post(Kind.OUTPUT, (self._stream, line))

    def fileno(self) -> int:
        return int(self._log.fileno())

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self._log.encoding)
