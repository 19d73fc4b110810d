"""A pilot: a job that connects back to the client, and runs a worker for it until it says goodbye."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from parallactic.errors import BackendUnavailable
from parallactic.wire import auth
from parallactic.wire.hello import ROLE_AGENT, introduce
from parallactic_backends.relay.agent import Agent
from parallactic_backends.relay.hello import Hello, Probe
from parallactic_backends.relay.link import LinkLost, Report, Way
from parallactic_backends.relay.stream import StreamLink, keep_alive
from parallactic_backends.relay.watch import WakingWatch

__all__ = ["Meeting", "be_pilot"]

_CONNECT_SECONDS = 20.0
_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Meeting:
    """Where a pilot finds the client.

    Parameters
    ----------
    addresses
        Hosts and ports, the likeliest first.
    key_file
        Where the run's key is, on a disk that the pilot's host has too; empty for an insecure run.
    """

    addresses: tuple[tuple[str, int], ...]
    key_file: str


def be_pilot(meeting: Meeting, worker: int, epoch: int) -> None:
    """Serve one worker of the client, as the main work of a job.

    Parameters
    ----------
    meeting
        Where the client is.
    worker
        The worker's number.
    epoch
        That of its first process here.

    Raises
    ------
    BackendUnavailable
        If the client cannot be reached.
    """
    # The library that began this job handles these for functions that save their state. A worker has none:
    # it ends when the scheduler says so.
    signal.signal(signal.SIGTERM, _end)
    for number in (signal.SIGUSR2, signal.SIGCONT):
        signal.signal(number, signal.SIG_IGN)
    sock = _reach(meeting.addresses)
    keep_alive(sock)
    channel = introduce(sock, auth.read_key(meeting.key_file), ROLE_AGENT, worker, epoch)
    sock.setblocking(False)
    link, probe = StreamLink(channel), Probe()
    link.post(Way.AGENT, Report.HELLO, Hello.own(probe).encode())
    try:
        _serve(link)
    except LinkLost as error:
        sys.exit(f"the client is gone: {error}")
    finally:
        probe.close()
        link.close()


def _end(*_: object) -> None:
    sys.exit("SLURM ends this job.")


def _reach(addresses: Sequence[tuple[str, int]]) -> socket.socket:
    problems = []
    for address in addresses:
        try:
            return socket.create_connection(address, timeout=_CONNECT_SECONDS / len(addresses))
        except OSError as error:
            problems.append(f"{address[0]} port {address[1]}: {error}")
    raise BackendUnavailable(
        f"this host, {socket.gethostname()}, cannot reach the client at {'; '.join(problems)}. "
        "Name a network that compute nodes reach by the setting interface."
    )


def _serve(link: StreamLink) -> None:
    watch = WakingWatch()
    agent = Agent(link, watch)
    leaving = False

    def listen() -> bool:
        nonlocal leaving
        for arrival in link.receive():
            leaving = leaving or not agent.obey(arrival)
        return True

    watch.readable(link.channel, listen)
    try:
        while not leaving:
            watch.writable(link.channel, None if link.send() else lambda: None)
            watch.look(_LOOK_SECONDS)
            agent.look_at_clock()
    finally:
        agent.end_run()
        watch.close()
    link.post(Way.AGENT, Report.LEFT)
    link.channel.sock.settimeout(_LOOK_SECONDS)
    link.send()
