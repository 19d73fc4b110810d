"""The client: send commands to the servers, get their responses."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from parallactic.casa import server
from parallactic.casa.environment import MPIEnvironment
from parallactic.casa.log import LEVELS, post
from parallactic.casa.monitor import MPIMonitorClient
from parallactic.casa.session import Session, current
from parallactic.casa.settings import ServerSettings, Targets
from parallactic.errors import InvalidSpec
from parallactic.future import Future

__all__ = ["MPICommandClient"]

Ids = int | Sequence["Ids"]

_LOOK_SECONDS = 0.2
"""How often a blocking call looks whether a server has timed out; responses wake it at once."""


class MPICommandClient(ServerSettings):
    """Sends commands to servers. There is one of it, however often it is made.

    Without `parallactic.casa.enable` it starts servers by the configuration, as an `Executor` without
    arguments does. Client and servers live until `stop_services`, which is final, or until Python ends.
    """

    _session: Session

    def __new__(cls, start_services: bool = False) -> MPICommandClient:
        """Return the one client of this process."""
        session = current()
        if session.client is None:
            client = super().__new__(cls)
            client._begin(session)
            session.client = client
        if start_services:
            session.client.start_services()
        return session.client

    def _begin(self, session: Session) -> None:
        self._session = session
        self._log_mode: server.LogMode = "unified"
        self._lock = threading.RLock()
        self._requests: dict[int, dict[str, Any]] = {}
        self._responses: dict[int, dict[str, Any]] = {}
        self._futures: dict[int, Future] = {}

    # Life cycle

    def get_lifecyle_state(self) -> int:
        """Return 0 before `start_services`, 1 while commands are taken, 2 after `stop_services`.

        The name is spelt as it always was.
        """
        return 2 if self._session.stopped else int(self._session.started)

    def start_services(self) -> None:
        """Wait until every server is ready, and open their logs. May be called again.

        Raises
        ------
        ParallacticError
            If a server cannot start; the tasks of CASA may raise anything else when they are imported.
        """
        origin = "MPICommandClient::start_services"
        if self._session.stopped:
            post("The servers were stopped; parallactic.casa.enable() starts new ones", "WARN", origin)
            return
        if self._session.started:
            post("Services already started", "DEBUG", origin)
            return
        self._session.prepared.result()
        self._open_logs()
        self._session.started = True
        post(MPIEnvironment.mpi_info_msg, "INFO", origin)
        for rank, state in (MPIMonitorClient().get_server_status() or {}).items():
            post(f"Server {rank} started at {state['processor']} with PID {state['pid']}", "INFO", origin)

    def stop_services(self, force_command_request_interruption: bool = False) -> None:
        """Stop the servers, for good. May be called again; at the end of Python it is done in any case.

        Parameters
        ----------
        force_command_request_interruption
            Stop servers that work, too. False: wait until they have done all that was requested.
        """
        if self._session.stopped:
            post("The servers were stopped", "WARN", "MPICommandClient::stop_services")
            return
        if not force_command_request_interruption:
            online = set(MPIMonitorClient().get_server_rank_online())
            waiting = [f for i, f in self._futures.items() if self._requests[i]["server"] in {None, *online}]
            concurrent.futures.wait(waiting)
        self._session.shutdown()

    # Commands

    def push_command_request(
        self,
        command: str,
        block: bool = False,
        target_server: Targets = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> list[Any] | None:
        """Send a command to servers.

        Parameters
        ----------
        command
            An expression, whose value comes back, or statements. Variables that they make stay on the server.
        block
            Wait for the responses.
        target_server
            Rank of a server, or a list of ranks: one request for each, run by each server in the order in
            which they were pushed. None: one request, run by the first server that is idle.
        parameters
            Variables that exist on the server while the command runs. If the command ends in ``()``, it is
            called with them.

        Returns
        -------
        list or None
            Numbers of the requests; with `block` the responses, as of `get_command_response`. None, and the
            reason in the log, if the command is not Python, a server does not exist or, in a list, has timed
            out, or services are not running.

        Raises
        ------
        InvalidSpec
            If the parameters cannot be sent.
        BackendUnavailable
            If the servers have gone for good.
        """
        origin = "MPICommandClient::push_command_request"
        if self.get_lifecyle_state() != 1:
            stopped = self._session.stopped
            post("The servers were stopped" if stopped else "Services not started", "WARN", origin)
            return None
        if parameters is not None and not _are_names(parameters):
            raise InvalidSpec(f"parameters={parameters!r} must be a dict of variables by name.")
        try:
            mode: server.Mode = "push" if command == "push" else server.mode_of(command)
            targets = self._valid(target_server)
        except InvalidSpec as error:
            post(str(error), "SEVERE", origin)
            return None
        plain = None if parameters is None else dict(parameters)
        numbers = [self._send(command, mode, plain, target) for target in targets]
        return self.get_command_response(numbers, True, False) if block else numbers

    def _valid(self, target: Targets) -> Sequence[int | None]:
        if target is None:
            return [None]
        if isinstance(target, int) and not isinstance(target, bool):
            return [self._existing(target)]
        if not isinstance(target, list | tuple) or not target:
            raise InvalidSpec(f"target_server={target!r} must be the rank of a server or a list of ranks.")
        silent = set(MPIMonitorClient().get_server_timeout())
        for rank in target:
            if self._existing(rank) in silent:
                raise InvalidSpec(f"server {rank} has timed out.")
        return list(target)

    def _existing(self, rank: Any) -> int:
        servers = self._session.servers
        if isinstance(rank, bool) or not isinstance(rank, int) or rank not in servers:
            raise InvalidSpec(f"server {rank!r} does not exist; there are servers 1 to {servers[-1]}.")
        return rank

    def _send(
        self, command: str, mode: server.Mode, parameters: dict[str, Any] | None, target: int | None
    ) -> int:
        priority = MPIEnvironment.command_handling_log_level
        executor = self._session.executor
        with self._lock:
            number = len(self._requests) + 1
            arguments = (server.execute, number, command, mode, parameters, priority)
            if target is None:
                future = executor.options(retries=self._session.settings.resend).submit(*arguments)
            else:
                future = executor.target(target - 1).submit(*arguments)
            self._requests[number] = {
                "command": command,
                "parameters": parameters,
                "mode": mode,
                "id": number,
                "server": target,
                "status": "holding queue",
            }
            self._futures[number] = future
        future.add_done_callback(lambda _: self._collect(number))
        return number

    # Responses

    def get_command_response(
        self, command_request_id_list: Ids, block: bool = False, verbose: bool = True
    ) -> list[dict[str, Any]]:
        """Return the responses to requests.

        Parameters
        ----------
        command_request_id_list
            Numbers of requests, also nested in lists.
        block
            Wait for them. A server that has timed out is not waited for: its response says so, with status
            "timeout"; asked again after it has recovered, its real response is there.
        verbose
            Say in the log where the missing ones are.

        Returns
        -------
        list of dict
            In the order of the numbers: ``id, command, parameters, mode, server, status, ret, successful,
            traceback, command_start_time, command_stop_time``. `successful` says that nothing was raised.

        Raises
        ------
        InvalidSpec
            If there is no such request.
        """
        numbers = list(_flat(command_request_id_list))
        for number in numbers:
            if number not in self._futures:
                raise InvalidSpec(f"there is no request {number!r}; {len(self._futures)} have been sent.")
        responses = []
        for number in numbers:
            response = self._collect(number)
            while response is None:
                if self._has_timed_out(number):
                    response = self._timed_out(number, "has not answered in time")
                    break
                if not block:
                    if verbose:
                        self._say_where(number)
                    break
                concurrent.futures.wait([self._futures[number]], timeout=_LOOK_SECONDS)
                response = self._collect(number)
            if response is not None:
                responses.append(dict(response))
        return responses

    def get_command_response_event(self, command_request_id_list: Ids) -> threading.Event:
        """Return an event that is set when every request has its response."""
        event = threading.Event()
        numbers = list(_flat(command_request_id_list))

        def look(_: object) -> None:
            if all(self._futures[number].done() for number in numbers):
                event.set()

        look(None)
        for number in numbers:
            self._futures[number].add_done_callback(look)
        return event

    def wait_for_command_request_sent(self, command_request_id_list: Ids) -> None:
        """Wait until every request has reached a server."""
        for number in _flat(command_request_id_list):
            while not (self._futures[number].running() or self._futures[number].done()):
                time.sleep(0.005)

    def _collect(self, number: int) -> dict[str, Any] | None:
        """Return the response to a request, if it is there."""
        future = self._futures[number]
        if number in self._responses or not future.done():
            return self._responses.get(number)
        try:
            reply: server.Reply = future.result()
        except (Exception, concurrent.futures.CancelledError) as error:  # noqa: BLE001  (all are told)
            response = self._failed(number, error)
        else:
            response = {
                **self._requests[number],
                "server": reply.server,
                "status": "response received",
                "ret": reply.value,
                "successful": reply.traceback is None,
                "traceback": reply.traceback,
                "command_start_time": reply.started,
                "command_stop_time": reply.stopped,
            }
        with self._lock:
            self._requests[number] |= {key: response[key] for key in ("server", "status")}
            return self._responses.setdefault(number, response)

    def _failed(self, number: int, error: BaseException) -> dict[str, Any]:
        """Describe a request that got no reply: its server died, or its result does not travel."""
        if isinstance(error, InvalidSpec | SystemExit):
            told = {"status": "response received", "traceback": f"{type(error).__name__}: {error}"}
            return self._timed_out(number, "") | told
        return self._timed_out(number, f"is gone: {error}")

    def _timed_out(self, number: int, reason: str) -> dict[str, Any]:
        request = self._requests[number]
        return {
            **request,
            "status": "timeout",
            "ret": None,
            "successful": False,
            "traceback": f"Timeout of assigned server n# {request['server']}, which {reason}",
            "command_start_time": None,
            "command_stop_time": None,
        }

    def _has_timed_out(self, number: int) -> bool:
        rank = self._requests[number]["server"] or self._servers_at_work().get(number)
        return rank is not None and rank in MPIMonitorClient().get_server_timeout()

    def _servers_at_work(self) -> dict[int, int]:
        """Return the rank of the server of each request that was handed over and has not ended."""
        numbers = {future.task: number for number, future in list(self._futures.items())}
        return {
            numbers[task.id]: task.worker + 1
            for task in self._session.executor.status().tasks
            if task.id in numbers and task.worker is not None
        }

    def _say_where(self, number: int) -> None:
        request = self.get_command_request_list()[number]
        message = (
            f"Request {number} is in state {request['status']!r}, assigned to server {request['server']}"
        )
        post(message, "INFO", "MPICommandClient::get_command_response")

    # What there is

    def get_server_status(self, server: int | None = None) -> dict[Any, Any] | None:
        """Return the state of one server, or of all by rank, as `MPIMonitorClient` does."""
        return MPIMonitorClient().get_server_status(server)

    def get_command_request_list(self) -> dict[int, dict[str, Any]]:
        """Return every request by number.

        Each has ``command, parameters, mode, id, server, status``. Its status goes from "holding queue" over
        "request sent" to "response received" or "timeout".
        """
        at_work = self._servers_at_work()
        with self._lock:
            for number, request in self._requests.items():
                if number not in self._responses and self._futures[number].running():
                    request["status"] = "request sent"
                    request["server"] = request["server"] or at_work.get(number)
            return self._requests

    def get_command_response_list(self) -> dict[int, dict[str, Any]]:
        """Return every response that is there, by number of the request."""
        for number in list(self._futures):
            self._collect(number)
        return self._responses

    def running_on(self, rank: int) -> tuple[str, float] | None:
        """Return the command that a server runs, and since when in seconds since the epoch; None if idle."""
        numbers = {future.task: number for number, future in list(self._futures.items())}
        running = [
            (task.id, task.seconds)
            for task in self._session.executor.status().tasks
            if task.worker == rank - 1 and task.state == "running" and task.id in numbers
        ]
        if not running:
            return None
        task, seconds = min(running)
        return self._requests[numbers[task]]["command"], time.time() - seconds

    # Settings

    def set_log_mode(self, logmode: str) -> None:
        """Choose where servers log.

        Parameters
        ----------
        logmode
            "unified": to the client's log, each message with the server in its origin. "separated": each to
            a file of its own beside it. "redirect": the same, and shown on the client's terminal.
        """
        if logmode not in get_args(server.LogMode):
            raise InvalidSpec(f"log mode {logmode!r} must be one of {', '.join(get_args(server.LogMode))}.")
        changed = logmode != self._log_mode
        self._log_mode = logmode  # type: ignore[assignment]
        if changed and self.get_lifecyle_state() == 1:
            self._open_logs()

    def _open_logs(self) -> None:
        casalog = getattr(sys.modules.get("casatasks"), "casalog", None)
        path, origin = f"casa-{time.strftime('%Y%m%d-%H%M%S')}.log", MPIEnvironment.processor_origin
        if casalog is not None:
            path = casalog.logfile()
            casalog.processorOrigin(origin)
            casalog.origin("casa")
        log = (self._log_mode, str(Path(path).absolute()), origin)
        everyone = self._session.executor.target("all")
        everyone.setup(server.open_log, *log, inline=self._session.inline).result()

    def set_log_level(self, log_level: str) -> None:
        """Set the priority of the messages about commands, one of CASA's from DEBUG to INFO5."""
        if log_level not in LEVELS:
            raise InvalidSpec(f"log level {log_level!r} must be one of {', '.join(LEVELS)}.")
        MPIEnvironment.command_handling_log_level = log_level


def _are_names(parameters: Any) -> bool:
    return isinstance(parameters, Mapping) and all(isinstance(name, str) for name in parameters)


def _flat(numbers: Ids) -> Iterable[int]:
    if isinstance(numbers, list | tuple):
        for part in numbers:
            yield from _flat(part)
    else:
        yield numbers  # type: ignore[misc]
