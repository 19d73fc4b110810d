"""The loop inside every worker process that is fed by a channel: receive, run, answer."""

from __future__ import annotations

import contextlib
import ctypes
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
from parallactic.worker.output import Output
from parallactic.worker.records import LogRules, capture_records
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
            # What it left unfinished is still its own.
            info.name = envelope.name
            self._output.task_ended()
            info.name = ""
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
        info.run = settings["run"]
        set_process_worker(info)
        self._capture(settings["log"], info)
        with self._lock:
            self._channel.send(Kind.READY, b"")
        return info, messages[1:]

    def _capture(self, rules: LogRules, info: WorkerInfo) -> None:
        forward = capture_records(info, rules, lambda fields: self._post(Kind.LOG, fields))
        if rules.output:
            self._output = Output(forward.print, native=True)
        else:
            self._output = Output(lambda stream, text: self._post(Kind.OUTPUT, (stream, text)))

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
