"""Ways to break logging: on the client's side, and for tasks in its process; workers are out of reach."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from breakage import Patch, breaks

from parallactic import logs
from parallactic.dispatch import relay
from parallactic.dispatch.relay import Relay
from parallactic.logs import LogFiles
from parallactic.worker.records import MARKS, LogRules


def _without(patch: Patch, *names: str) -> None:
    whole = Relay.record

    def record(self: Relay, fields: Mapping[str, Any]) -> None:
        whole(self, {name: value for name, value in fields.items() if name not in names})

    patch.setattr(Relay, "record", record)


@breaks(
    13, "nobody knows where records come from", "multiprocessing", "records_reach_the_client", "to_one_file"
)
def anonymous(patch: Patch) -> None:
    _without(patch, *MARKS)


@breaks(13, "an exception loses its traceback", "multiprocessing", "exceptions_come_with_their_traceback")
def no_traceback(patch: Patch) -> None:
    _without(patch, "exc_text")


@breaks(
    13, "tasks of this process are not named", "serial", "records_reach_the_client", "extra_fields_come_along"
)
def not_marked(patch: Patch) -> None:
    patch.setattr(relay, "mark_records", lambda: None)
    patch.setattr(logging, "_logRecordFactory", logging.LogRecord)


@breaks(13, "records of one process go to every file", "serial", "of_two_runs_stays_apart")
def mixed(patch: Patch) -> None:
    def own_record(self: Relay, record: logging.LogRecord) -> None:
        self._write(record)

    patch.setattr(Relay, "own_record", own_record)


@breaks(
    13, "workers do not know the client's levels", "multiprocessing", "levels_of_the_client_hold_on_workers"
)
def no_levels(patch: Patch) -> None:
    patch.setattr(logs, "_levels_of_client", dict)


@breaks(13, "one file for all where one for each was asked for", "threads", "to_a_file_for_each_worker")
def one_file(patch: Patch) -> None:
    whole = LogFiles._named
    patch.setattr(LogFiles, "_named", lambda self, worker, host: whole(self, 0, host))


@breaks(13, "the last records are not written", "multiprocessing", "to_one_file")
def in_a_hurry(patch: Patch) -> None:
    whole = Relay.record

    def record(self: Relay, fields: Mapping[str, Any]) -> None:
        # As if the file had been closed before the last of them came.
        if " 49 " not in f"{fields['msg']} ".replace("/", " "):
            whole(self, fields)

    patch.setattr(Relay, "record", record)


@breaks(13, "a wrong place is taken for a path", "serial", "to_a_wrong_place_is_told")
def trusting(patch: Patch) -> None:
    patch.setattr(logs, "_place", lambda log, run_dir: str(log or "client"))


@breaks(13, "nowhere is the client", "multiprocessing", "to_nowhere")
def loud(patch: Patch) -> None:
    patch.setattr(
        logs, "LogRules", lambda level, levels, forward, output: LogRules(level, levels, True, output)
    )
    whole = Relay.__init__

    def init(self: Relay, *args: Any, **kwargs: Any) -> None:
        whole(self, *args, **kwargs)
        self._relayed = True

    patch.setattr(Relay, "__init__", init)


@breaks(13, "what is printed comes to nobody", "multiprocessing", "of_what_is_printed")
def mute(patch: Patch) -> None:
    patch.setattr(relay, "_PRINTED", ())


@breaks(13, "a file is not named by the environment", "serial", "place_is_told_by_environment_and_file")
def unasked(patch: Patch) -> None:
    whole = logs._place
    patch.setattr(
        logs, "_place", lambda log, run_dir: whole(log if "by-variable" not in str(log) else None, run_dir)
    )
