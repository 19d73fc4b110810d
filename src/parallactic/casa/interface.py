"""The servers as a cluster: what tclean uses."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from parallactic.casa.client import MPICommandClient
from parallactic.casa.log import post
from parallactic.casa.session import Session, current
from parallactic.errors import ParallacticError

__all__ = ["MPIInterface", "poll_fast"]

_HELPER = "casatasks.private.imagerhelpers.parallel_imager_helper"

_COLUMNS = ("JOB ID", "SERVER", "HOSTNAME", "QUEUE STATUS", "COMMAND", "ELAPSED TIME (s)", "EXECUTION STATUS")


class _Cluster:
    """Commands to some servers or to all."""

    def __init__(self) -> None:
        self._client = MPICommandClient()

    def start_cluster(self, cl_file: Any = None) -> None:
        """Start the servers. May be called again. `cl_file` was a file of hosts: the backend knows them."""
        self._client.set_log_mode(MPIInterface._log_mode)
        self._client.start_services()

    def stop_cluster(self) -> None:
        """Stop the servers, for good."""
        self._client.stop_services()

    def get_engines(self) -> list[int]:
        """Return the ranks of the servers."""
        return list(current().servers)

    def get_nodes(self) -> list[str]:
        """Return the hosts on which servers run."""
        return sorted({state["processor"] for state in (self._client.get_server_status() or {}).values()})

    def pgc(self, commands: str | Mapping[int, str], block: bool = True) -> list[Any] | None:
        """Run a command on all servers, or for each rank its own.

        Returns
        -------
        list
            The responses; those that are there already, if `block` is False and `commands` is a dict.
        """
        if isinstance(commands, str):
            return self._client.push_command_request(commands, block, self.get_engines())
        numbers = [self.odo(command, rank) for rank, command in commands.items()]
        if None in numbers:
            raise ParallacticError(
                f"not every command of {dict(commands)!r} reached a server; the log says why."
            )
        return self._client.get_command_response(numbers, block)  # type: ignore[arg-type]

    def odo(self, job: str, nodes: int | list[int] | None) -> list[int] | None:
        """Send a command without waiting; return the numbers of the requests."""
        return self._client.push_command_request(job, False, nodes)

    def execute(self, job: str, nodes: int | list[int] | None) -> list[Any] | None:
        """Run a command and return the responses."""
        return self._client.push_command_request(job, True, nodes)

    def push(self, variables: Mapping[str, Any], targets: Any = None) -> list[Any] | None:
        """Set variables on servers, where they stay."""
        return self._client.push_command_request("push", True, self._ranks(targets), dict(variables))

    def pull(self, varname: str = "", targets: Any = None) -> dict[int, Any]:
        """Return the values of a variable by rank; None where there is none."""
        responses = self.execute(varname, self._ranks(targets))
        return {response["server"]: response["ret"] for response in responses or ()}

    def _ranks(self, targets: Any) -> list[int]:
        if targets is None or targets == "all":
            return self.get_engines()
        return list(targets) if isinstance(targets, Iterable) else [targets]

    def check_job(self, jobId: Sequence[int], verbose: bool = True) -> bool:
        """Tell whether requests have been done.

        Raises
        ------
        ParallacticError
            If one of them failed, with every traceback.
        """
        numbers = list(jobId)
        responses = self._client.get_command_response(numbers, False, verbose)
        failures = [
            f"Exception executing command in server {response['server']}: {response['traceback']}"
            for response in responses
            if not response["successful"]
        ]
        if failures:
            post("\n".join(failures), "SEVERE", "MPIInterfaceCore::check_job")
            raise ParallacticError("\n".join(failures))
        return len(responses) == len(numbers)

    def get_server_status(self) -> dict[Any, Any] | None:
        """Return the states of the servers by rank."""
        return self._client.get_server_status()

    def get_command_request_list(self) -> dict[int, dict[str, Any]]:
        """Return every request by number."""
        return self._client.get_command_request_list()

    def get_command_response_list(self) -> dict[int, dict[str, Any]]:
        """Return every response by number of the request."""
        return self._client.get_command_response_list()


class MPIInterface:
    """The servers as a cluster. There is one of it; `getCluster` makes and starts it."""

    _log_mode = "unified"
    _opened: tuple[Session, MPIInterface] | None = None
    _cluster: _Cluster

    def __new__(cls) -> MPIInterface:
        """Return the one cluster of this process."""
        session = current()
        if cls._opened is None or cls._opened[0] is not session:
            interface = super().__new__(cls)
            interface._cluster = _Cluster()
            cls._opened = session, interface
        return cls._opened[1]

    @staticmethod
    def set_log_mode(logmode: str) -> None:
        """Choose where servers log, as `MPICommandClient.set_log_mode` does."""
        MPIInterface._log_mode = logmode

    @staticmethod
    def getCluster() -> MPIInterface:  # noqa: N802  (CASA's name)
        """Return the cluster, started."""
        interface = MPIInterface()
        interface.start_cluster()
        if current().settings.fast_polling:
            poll_fast()
        return interface

    def isClusterRunning(self) -> bool:  # noqa: N802  (CASA's name)
        """Tell whether the servers take commands."""
        return self._cluster._client.get_lifecyle_state() == 1

    def start_cluster(self) -> None:
        """Start the servers. May be called again."""
        self._cluster.start_cluster()

    def init_cluster(self, clusterfile: Any = None, project: Any = None) -> None:
        """Start the servers, as `start_cluster` does. The arguments were a file of hosts and a name."""
        self.start_cluster()

    def stop_cluster(self) -> None:
        """Stop the servers, for good."""
        self._cluster.stop_cluster()

    def do_and_record(
        self,
        cmd: str,
        id: Any = None,
        group: str = "",
        subMS: str = "",
    ) -> list[int] | None:
        """Send a command without waiting; return the numbers of the requests.

        `group` and `subMS` were labels of CASA 5's table of jobs.
        """
        return self._cluster.odo(cmd, id)

    def get_engine_store(self, id: int) -> str:
        """Return the working folder of a server."""
        responses = self._cluster.execute("__import__('os').getcwd()", id)
        if not responses or not responses[0]["successful"]:
            raise ParallacticError(f"server {id!r} does not say where it works; the log says why.")
        return str(responses[0]["ret"])

    def get_status(self) -> list[list[str]]:
        """Return every request as a row of text, what runs first, below a row of headings; and show them."""
        requests = self._cluster.get_command_request_list()
        responses = self._cluster.get_command_response_list()
        states = self._cluster.get_server_status() or {}
        order = ("request sent", "holding queue", "timeout", "response received")
        rows = [list(_COLUMNS)]
        for request in sorted(requests.values(), key=lambda item: order.index(item["status"])):
            state = states.get(request["server"], {})
            response = responses.get(request["id"])
            rows.append(
                [
                    str(request["id"]),
                    str(request["server"]),
                    str(state.get("processor", "")),
                    request["status"],
                    request["command"],
                    _elapsed(request, response, state),
                    _ended(request["status"], response),
                ]
            )
        self.print_table(rows)
        return rows

    @staticmethod
    def print_table(table: Sequence[Sequence[str]]) -> None:
        """Show rows of text in columns."""
        widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
        for row in table:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            sys.stdout.write(f"| {' | '.join(cells)} |\n")

    def set_log_level(self, log_level: str) -> None:
        """Set the priority of the messages about commands."""
        self._cluster._client.set_log_level(log_level)


def _elapsed(request: Mapping[str, Any], response: Mapping[str, Any] | None, state: Mapping[str, Any]) -> str:
    if response is not None and response["command_stop_time"] is not None:
        return f"{response['command_stop_time'] - response['command_start_time']:.2f}"
    since = state.get("command_start_time")
    if request["status"] == "request sent" and since is not None:
        return f"{time.time() - since:.2f}"
    return "N/A"


def _ended(status: str, response: Mapping[str, Any] | None) -> str:
    if response is None:
        return "pending"
    if status == "timeout":
        return "timeout"
    if not response["successful"]:
        return "exception raised"
    return f"completed - {response['ret']}" if isinstance(response["ret"], bool) else "completed"


class _FastClock(ModuleType):
    """The module `time`, whose `sleep` is short."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def sleep(seconds: float) -> None:
        """Sleep, but not longer than 5 ms."""
        time.sleep(min(seconds, 0.005))


def poll_fast() -> None:
    """Let tclean's helper, which waits a second between looks at its servers, look every 5 ms."""
    helper: Any = sys.modules.get(_HELPER)
    if helper is not None:
        helper.time = _FastClock("time")
