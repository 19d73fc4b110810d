"""Ways to break time, pressure, shutdown, data, security and the journal.

A breakage changes the core or a backend by monkeypatching; the whole one passes the same tests.
"""

from __future__ import annotations

import itertools
import json
import pickle
import socket
import threading
from typing import Any

from breakage import Patch, breaks, ignoring

from parallactic.dispatch.attempts import Attempts
from parallactic.dispatch.dispatcher import Dispatcher
from parallactic.dispatch.journal import Journal
from parallactic.dispatch.ledger import Ledger
from parallactic.dispatch.slots import Slots
from parallactic.executor import Executor
from parallactic.future import Future
from parallactic.mapping import _Map
from parallactic.run_folder import RunFolder
from parallactic.testing import journal as journal_contract
from parallactic.wire import auth, codec
from parallactic.wire.memory import HeapPlane

# 7, time


@breaks(7, "a timeout kills nothing", "multiprocessing", "is_up_stops_the_task", "of_walltime_is_a_loss")
def no_timeout(patch: Patch) -> None:
    ignoring(Attempts, "time_is_up")(patch)


@breaks(7, "the clock starts at submit", "threads", "in_a_queue_does_not_count")
def early_clock(patch: Patch) -> None:
    whole = Dispatcher._launch

    def launch(self: Dispatcher, task: Any, worker: Any) -> bool:
        launched = whole(self, task, worker)
        if launched:
            self._begins(task)
        return launched

    patch.setattr(Dispatcher, "_launch", launch)


@breaks(7, "a waiter that gives up stops the task", "multiprocessing", "of_a_waiter_only_ends_the_waiting")
def impatient(patch: Patch) -> None:
    whole = Future.result

    def result(self: Future, timeout: float | None = None) -> Any:
        try:
            return whole(self, timeout)
        except TimeoutError:
            self.cancel(force=True)
            raise

    patch.setattr(Future, "result", result)


# 8, pressure


@breaks(8, "max_pending is not a limit", "threads",
        "blocks_submit_until_a_slot_is_free", "in_an_asyncio_loop_is_an_error")  # fmt: skip
def no_limit(patch: Patch) -> None:
    ignoring(Slots, "take")(patch)


@breaks(8, "a slot is free only after the callbacks", "threads", "slot_is_free_before_callbacks")
def late_slot(patch: Patch) -> None:
    whole = Ledger.succeed

    def succeed(self: Ledger, task: Any, payload: Any, entry: Any, worker: Any, stats: Any) -> None:
        slots: Any = self.slots
        if slots is None:
            whole(self, task, payload, entry, worker, stats)
            return
        slots.give_back = lambda: None
        whole(self, task, payload, entry, worker, stats)
        del slots.give_back
        task.future._hooks.later(slots.give_back)

    patch.setattr(Ledger, "succeed", succeed)


@breaks(8, "callbacks run on the dispatcher's thread", "threads", "callbacks_delay_no_task")
def busy_dispatcher(patch: Patch) -> None:
    patch.setattr(Dispatcher, "later", lambda self, function: function())


@breaks(8, "map reads everything at once", "threads", "map_takes_no_more_than_its_buffer")
def eager_map(patch: Patch) -> None:
    def lazily(self: Any, source: Any, chunksize: Any, buffersize: int) -> Any:
        return self.eagerly(list(itertools.islice(source, 2000)), chunksize)

    patch.setattr(_Map, "lazily", lazily)


# 9, shutdown


@breaks(9, "it does not wait for work", "threads", "waits_for_what_was_submitted")
def hurry(patch: Patch) -> None:
    whole = Executor.shutdown

    def shutdown(self: Executor, wait: bool = True, **options: Any) -> None:
        whole(self, wait, **(options | {"cancel_futures": True}))

    patch.setattr(Executor, "shutdown", shutdown)


@breaks(9, "it may be called only once", "threads", "may_be_called_again")
def once(patch: Patch) -> None:
    whole = Executor.shutdown

    def shutdown(self: Executor, wait: bool = True, **options: Any) -> None:
        if self._shut and not options.get("kill"):
            raise RuntimeError("it is shut down already")
        whole(self, wait, **options)

    patch.setattr(Executor, "shutdown", shutdown)


@breaks(9, "temporary files are left", "threads", "leaves_nothing_while_the_executor_is_held")
def leave_files(patch: Patch) -> None:
    ignoring(RunFolder, "close")(patch)


@breaks(9, "a thread is left", "threads", "leaves_nothing_while_the_executor_is_held")
def leave_thread(patch: Patch) -> None:
    whole = Dispatcher.begin

    def begin(self: Dispatcher) -> None:
        whole(self)
        forgotten = threading.Timer(4.0, int)
        forgotten.name = "parallactic-forgotten"
        forgotten.start()

    patch.setattr(Dispatcher, "begin", begin)


@breaks(9, "killing means waiting", "multiprocessing", "that_kills_is_bounded")
def patient(patch: Patch) -> None:
    whole = Dispatcher.close

    def close(self: Dispatcher, *, cancel: bool, kill: bool, grace: float) -> None:
        if kill:
            # Wait as for work that ends, and kill only then.
            threading.Timer(3.0, whole, (self,), {"cancel": cancel, "kill": kill, "grace": grace}).start()
        else:
            whole(self, cancel=cancel, kill=kill, grace=grace)

    patch.setattr(Dispatcher, "close", close)


# 10, data


@breaks(10, "tasks share memory with the client", "serial", "are_writable_and_nobody_elses")
def shared(patch: Patch) -> None:
    patch.setattr(HeapPlane, "get", lambda self, block: memoryview(block.data))


@breaks(
    10, "workers keep what nobody needs", "multiprocessing", "of_a_ref_are_sent_once_and_freed_at_the_end"
)
def hoard(patch: Patch) -> None:
    ignoring(Dispatcher, "release")(patch)


@breaks(10, "a Ref is sent with every task", "multiprocessing", "of_a_ref_are_sent_once_and_freed_at_the_end")
def send_again(patch: Patch) -> None:
    from parallactic.wire import messages

    whole = messages.Outbox._input

    def send(self: Any, entry: Any, buffers: Any, fds: Any) -> Any:
        self._kept.clear()
        entry.key = None if entry.key is None else entry.key + 1_000_000
        return whole(self, entry, buffers, fds)

    patch.setattr(messages.Outbox, "_input", send)


@breaks(10, "large results come through the client", "multiprocessing", "of_a_result_stay_where_they_are",
        patience=20.0)  # fmt: skip
def fetch_all(patch: Patch) -> None:
    whole = Future.succeed

    def succeed(self: Future, payload: Any, entry: Any = None) -> Any:
        kept = self.__dict__.setdefault("_fetched", [])
        if payload.block is not None:
            array = codec.decode(payload, self._hooks.plane)
            array += 0.0  # touches every page
            kept.append(array)
        return whole(self, payload, entry)

    patch.setattr(Future, "succeed", succeed)


# 11, security


@breaks(11, "others may read the key", "threads", "key_is_in_a_file_of_its_owner")
def open_key(patch: Patch) -> None:
    whole = RunFolder.context

    def context(self: RunFolder, name: str, **options: Any) -> Any:
        made = whole(self, name, **options)
        next(self.path.glob("key-*")).chmod(0o644)
        return made

    patch.setattr(RunFolder, "context", context)


@breaks(11, "one key serves every run", "threads", "key_is_in_a_file_of_its_owner")
def one_key(patch: Patch) -> None:
    patch.setattr(auth, "new_key", lambda: b"k" * 32)


@breaks(11, "a stranger's message is unpickled", "multiprocessing", "a_stranger_is_refused")
def careless(patch: Patch) -> None:
    whole = auth.accept

    def accept(sock: socket.socket, key: bytes) -> None:
        sock.setblocking(True)
        message = sock.recv(65536, socket.MSG_PEEK)
        if message.startswith(b"\x80\x04\x95"):  # as a pickle does; one byte alone begins one nonce in 256
            pickle.loads(message)
        whole(sock, key)

    patch.setattr(auth, "accept", accept)


@breaks(11, "the journal can be read by others", "threads", "run_folder_is_private")
def open_journal(patch: Patch) -> None:
    whole = Journal.__init__

    def init(self: Journal, path: Any) -> None:
        whole(self, path)
        path.chmod(0o644)

    patch.setattr(Journal, "__init__", init)


# 12, journal


@breaks(12, "ends are not recorded", "threads", "has_submit_launch_and_end_of_every_task")
def no_ends(patch: Patch) -> None:
    ignoring(Journal, "ended")(patch)


@breaks(12, "it is written at the end of the run", "threads", "can_be_read_while_it_is_written")
def buffered(patch: Patch) -> None:
    whole = Journal.flush

    def flush(self: Journal, *, sync: bool = False) -> None:
        if sync:
            whole(self, sync=True)

    patch.setattr(Journal, "flush", flush)


@breaks(12, "a torn line spoils the rest", "threads", "with_a_torn_last_line_is_read")
def strict(patch: Patch) -> None:
    patch.setattr(
        journal_contract, "read_journal", lambda path: map(json.loads, path.read_text().splitlines())
    )


@breaks(12, "a second run overwrites the first", "threads", "is_appended_to_never_rewritten")
def overwrite(patch: Patch) -> None:
    whole = Journal.__init__

    def init(self: Journal, path: Any) -> None:
        path.unlink(missing_ok=True)
        whole(self, path)

    patch.setattr(Journal, "__init__", init)
