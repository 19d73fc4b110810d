"""Whether workers of other hosts can connect to this one, and at which of its addresses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from typing import TYPE_CHECKING

from parallactic.backend import Check
from parallactic.cli.doctor_tasks import addresses_of, call_back

if TYPE_CHECKING:
    from parallactic.cli.doctor_workers import Crew

__all__ = ["check_ports"]

_WAIT = 3.0
"""Seconds for one connection: a firewall that drops packets gives no other sign."""


def check_ports(crew: Crew, here: str) -> Iterator[Check]:
    """Yield at which addresses of this host a worker of each host reaches it."""
    if crew.executor.capabilities.inline:
        yield Check("ports", "ok", "not needed: tasks run in this process")
        return
    interfaces = {address: name for name, address in addresses_of()}
    with ExitStack() as stack:
        listening = []
        for address in interfaces:
            server = stack.enter_context(socket.create_server((address, 0)))
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            threading.Thread(target=_answer, args=(server,), daemon=True).start()
            listening.append((address, int(server.getsockname()[1])))
        reached: dict[str, dict[str, str]] = {
            member["host"]: crew.on(member["worker"], call_back, listening, _WAIT)
            for member in crew.one_of_each_host()
        }
    told, deaf = [], []
    for host, outcomes in reached.items():
        good = [f"{address} ({interfaces[address]})" for address, problem in outcomes.items() if not problem]
        if good:
            told.append(f"workers on {host} reach {here} at {', '.join(good)}")
        else:
            problems = ", ".join(f"{address}: {problem}" for address, problem in outcomes.items())
            deaf.append(f"workers on {host} reach no port of {here} ({problems})")
    if deaf:
        yield Check(
            "ports",
            "warning",
            "; ".join(deaf + told),
            "open TCP ports between the hosts, or name the right interface to the engine "
            "(Open MPI: OMPI_MCA_btl_tcp_if_include and PRTE_MCA_prte_if_include).",
        )
    else:
        yield Check("ports", "ok", "; ".join(told))


def _answer(server: socket.socket) -> None:
    """Prove to whoever connects that this process answers, until the server is closed."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(_WAIT)
            try:
                connection.sendall(sha256(connection.recv(32, socket.MSG_WAITALL)).digest())
            except OSError:
                # The one who connected has gone: it will say what it saw.
                continue
