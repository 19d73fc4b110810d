"""The agent: it runs a supervisor and its worker on its host, and relays all they say.

A crash of user code ends the worker, never the agent; so what carries the link, an MPI rank for one, lives
on.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from parallactic.wire.framing import Channel, Message
from parallactic.wire.hello import ROLE_SUPERVISOR, Hello
from parallactic.wire.listener import Listener
from parallactic.wire.messages import Kind
from parallactic.worker.launch import start_supervisor
from parallactic.worker.supervisor import tail
from parallactic_backends.relay.link import Arrival, Link, Order, Report, Way
from parallactic_backends.relay.watch import Watch

__all__ = ["Agent"]


class Agent:
    """Serve one client through one link, one worker at a time.

    Parameters
    ----------
    link
        This end of the connection to the client.
    watch
        Waits for what the supervisor and the worker say.
    """

    def __init__(self, link: Link, watch: Watch) -> None:
        self.bereft = False
        """Whether the client said that a part of the whole is lost."""

        self.epoch = 0
        """That of the worker which connected last."""

        self._link = link
        self._watch = watch
        self._folder: Path | None = None
        self._listener: Listener | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._log = ""
        self._lanes: dict[Way, Channel] = {}
        self._unsent: dict[Way, list[int]] = {}
        self._deadline: float | None = None

    @property
    def in_use(self) -> bool:
        """Whether a run has workers here, and somebody may be waiting."""
        return self._listener is not None

    def look_at_clock(self) -> None:
        """Kill what has not ended when its time was up."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            self._kill()

    # From the client

    def obey(self, arrival: Arrival) -> bool:
        """Do what the client asks; return False when it is time to go."""
        way, message = arrival
        if way is not Way.AGENT:
            self.relay_down(way, message)
        elif message.kind == Order.START:
            self._start(pickle.loads(message.control))
        elif message.kind == Order.END:
            seconds, welcomed = json.loads(message.control)
            self._end(seconds, worker_knows=welcomed)
        elif message.kind == Order.LEAVE:
            self.bereft = json.loads(message.control)
            return False
        return True

    def _start(self, orders: dict[str, Any]) -> None:
        self._link.shares_memory = orders["shares_memory"]
        if self._listener is None:
            self._folder = Path(tempfile.mkdtemp(prefix="parallactic-agent-"))
            key_file = self._folder / "key"
            if orders["key"]:
                key_file.touch(mode=0o600)
                key_file.write_bytes(orders["key"])
            self._listener = Listener(
                orders["key"], lambda sock, hello: self._watch.soon(lambda: self._welcome(sock, hello))
            )
            self._listener.start()
            folders = str(self._folder), str(Path(self._listener.address).parent)
            self._link.post(Way.AGENT, Report.FOLDERS, json.dumps(folders).encode())
        assert self._folder is not None
        log = Path(orders["log"])
        # The client's folder may not be on this host.
        self._log = str(log if log.parent.is_dir() else self._folder / log.name)
        self._supervisor = start_supervisor(
            self._listener.address,
            str(self._folder / "key") if orders["key"] else "",
            orders["worker"],
            orders["epoch"],
            self._log,
            dict(os.environ) | orders["environment"],
        )
        self._pidfd = os.pidfd_open(self._supervisor.pid)
        self._watch.readable(self._pidfd, self._supervisor_ended)

    def relay_down(self, way: Way, message: Message) -> None:
        """Hand a message to the supervisor or to the worker; what comes too late for it is dropped."""
        lane = self._lanes.get(way)
        if lane is None:
            _close(message.fds)
            return
        lane.queue(message.kind, message.control, message.buffers, message.fds)
        self._unsent.setdefault(way, []).extend(message.fds)
        self._flush(way, lane)

    def _flush(self, way: Way, lane: Channel) -> None:
        try:
            done = lane.flush()
        except OSError:
            done = True  # it is dead, and its supervisor or the end of that will say why
        if done:
            _close(self._unsent.pop(way, ()))
            self._watch.writable(lane, None)
        else:
            self._unsent.setdefault(way, [])
            self._watch.writable(lane, lambda: self._flush(way, lane))

    # From the supervisor and the worker

    def _welcome(self, sock: socket.socket, hello: Hello) -> None:
        if self._listener is None:
            return
        self._listener.taken(sock)
        way = Way.SUPERVISOR if hello.role == ROLE_SUPERVISOR else Way.WORKER
        lane = self._lanes[way] = Channel(sock)
        if way is Way.WORKER:
            self.epoch = hello.epoch
        self._watch.readable(lane, lambda: self._relay_up(way, lane))
        report = Report.SUPERVISOR_UP if way is Way.SUPERVISOR else Report.WORKER_UP
        self._link.post(Way.AGENT, report, json.dumps((hello.epoch, hello.pid)).encode())

    def _relay_up(self, way: Way, lane: Channel) -> bool:
        """Relay what one process says; return whether there is more than heartbeats."""
        try:
            messages = lane.receive()
        except EOFError:
            self.hang_up(way)
            return True
        for message in messages:
            if message.kind == Kind.EXIT:
                # After all that the worker sent before it died.
                self._drain(Way.WORKER)
            self.post_up(way, message)
        return any(message.kind != Kind.BEAT for message in messages)

    def post_up(self, way: Way, message: Message) -> None:
        """Relay a message to the client."""
        self._link.post(way, *message)

    def _drain(self, way: Way) -> None:
        lane = self._lanes.get(way)
        if lane is not None:
            for message in lane.drain():
                self.post_up(way, message)
            self.hang_up(way)

    def hang_up(self, way: Way) -> None:
        """Close the connection to the supervisor or to the worker."""
        lane = self._lanes.pop(way, None)
        if lane is not None:
            self._watch.forget(lane)
            lane.close()
        _close(self._unsent.pop(way, ()))

    def _supervisor_ended(self) -> bool:
        assert self._supervisor is not None
        self._close_pidfd()
        code = self._supervisor.wait()
        self._supervisor = None
        lane = self._lanes.get(Way.SUPERVISOR)
        if lane is not None:
            # Its last word may tell of the worker's end, which comes after what the worker said.
            last = lane.drain()
            self._drain(Way.WORKER)
            for message in last:
                self.post_up(Way.SUPERVISOR, message)
            self.hang_up(Way.SUPERVISOR)
        self._drain(Way.WORKER)
        if self._deadline is not None:
            self._finish()
        else:
            self._link.post(Way.AGENT, Report.GONE, json.dumps((code, tail(self._log))).encode())
        return True

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            self._watch.forget(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    # The end of a run

    def _end(self, seconds: float, *, worker_knows: bool) -> None:
        self._deadline = time.monotonic() + seconds
        if not worker_knows:
            # The client has not spoken to it, and will not: it must find nobody.
            self.hang_up(Way.WORKER)
            self._close_listener()
        if self._supervisor is None:
            self._finish()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _kill(self) -> None:
        if self._supervisor is not None:
            # Its child is tied to it and dies with it.
            self._supervisor.kill()
        self._deadline = float("inf")

    def _finish(self) -> None:
        self.end_run()
        self._link.post(Way.AGENT, Report.IDLE)

    def end_run(self) -> None:
        """End every process of the run at once, and remove its files."""
        self._deadline = None
        if self._supervisor is not None:
            self._supervisor.kill()
            self._supervisor.wait()
            self._supervisor = None
        self._close_pidfd()
        for way in list(self._lanes):
            self.hang_up(way)
        self._close_listener()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None


def _close(fds: Any) -> None:
    for fd in fds:
        os.close(fd)
