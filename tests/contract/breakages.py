"""Ways to break each promise, and the tests of the contract that must see it.

A breakage changes the core or a backend by monkeypatching; the whole one passes the same tests.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from parallactic.dispatch import endings
from parallactic.dispatch.dispatcher import Dispatcher
from parallactic.dispatch.fleet import Fleet
from parallactic.dispatch.journal import Journal
from parallactic.dispatch.ledger import Ledger
from parallactic.dispatch.scheduler import Scheduler
from parallactic.dispatch.slots import Slots
from parallactic.executor import Executor
from parallactic.future import Future
from parallactic.mapping import _Map
from parallactic.run_folder import RunFolder
from parallactic.testing import journal as journal_contract
from parallactic.wire import auth, codec
from parallactic.wire.memory import HeapPlane
from parallactic_backends.multiprocessing.backend import MultiprocessingBackend
from parallactic_backends.multiprocessing.process import WorkerProcess
from parallactic_backends.serial.backend import SerialBackend

Patch = pytest.MonkeyPatch

SEMANTICS = {
    1: "order",
    2: "delivery",
    3: "errors",
    4: "liveness",
    5: "cancel",
    6: "state",
    7: "time",
    8: "pressure",
    9: "shutdown",
    10: "data",
    11: "security",
    12: "journal",
}


@dataclass(frozen=True)
class Breakage:
    """One broken promise.

    Parameters
    ----------
    semantic
        Its number in the design.
    what
        What is wrong.
    backend
        Where it is tried.
    apply
        Breaks it.
    tests
        Tests of the contract, each of which must fail.
    patience
        Seconds that these tests wait for what may never happen.
    """

    semantic: int
    what: str
    backend: str
    apply: Callable[[Patch], None]
    tests: tuple[str, ...]
    patience: float = 1.5

    def __str__(self) -> str:
        return f"{SEMANTICS[self.semantic]}: {self.what}"


BREAKAGES: list[Breakage] = []


def breaks(
    semantic: int, what: str, backend: str, *tests: str, patience: float = 1.5
) -> Callable[[Any], Any]:
    """Add a breakage to the list."""

    def add(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
        names = tuple(f"test_{SEMANTICS[semantic]}_{test}" for test in tests)
        BREAKAGES.append(Breakage(semantic, what, backend, apply, names, patience))
        return apply

    return add


def ignoring(cls: type, name: str) -> Callable[[Patch], None]:
    """Return a breakage by which a method does nothing."""
    return lambda patch: patch.setattr(cls, name, lambda *_, **__: None)


# 1, order


@breaks(1, "a lane runs the newest first", "multiprocessing",
        "of_1000_submits_from_4_threads_has_no_inversion", "of_a_lane_survives_mixed_durations")  # fmt: skip
def newest_first(patch: Patch) -> None:
    whole = Scheduler.queue

    def queue(self: Scheduler, task: Any, *, front: bool = False) -> None:
        whole(self, task, front=front or task.target is not None)

    patch.setattr(Scheduler, "queue", queue)


@breaks(1, "a lane overtakes a head that waits for its input", "threads",
        "holds_behind_a_task_whose_input_is_pending")  # fmt: skip
def overtake(patch: Patch) -> None:
    whole = Scheduler._fill

    def fill(self: Scheduler, worker: Any) -> None:
        worker.lane.rotate(-1 if worker.lane and worker.lane[0].waiting else 0)
        whole(self, worker)

    patch.setattr(Scheduler, "_fill", fill)


@breaks(1, "a broadcast reaches one lane later than the other", "multiprocessing",
        "a_broadcast_is_one_point_of_the_order")  # fmt: skip
def late_broadcast(patch: Patch) -> None:
    whole = Dispatcher.submit

    def submit(self: Dispatcher, tasks: list[Any]) -> None:
        whole(self, tasks[:1])
        for task in tasks[1:]:
            threading.Timer(0.005, whole, (self, [task])).start()

    patch.setattr(Dispatcher, "submit", submit)


@breaks(1, "a failed task stops its lane", "threads", "a_failed_task_does_not_stop_its_lane")
def stop_at_failure(patch: Patch) -> None:
    whole = Ledger.fail

    def fail(self: Ledger, task: Any, error: BaseException, worker: Any = None, stats: Any = None) -> None:
        whole(self, task, error, worker, stats)
        if worker is not None:
            worker.lane.clear()

    patch.setattr(Ledger, "fail", fail)


# 2, delivery


@breaks(2, "a task is handed over twice", "threads", "every_task_runs_exactly_once")
def twice(patch: Patch) -> None:
    whole = Dispatcher._launch

    def launch(self: Dispatcher, task: Any, worker: Any) -> bool:
        launched = whole(self, task, worker)
        if launched:
            self._batch.append(self._batch[-1])
        return launched

    patch.setattr(Dispatcher, "_launch", launch)


@breaks(
    2, "what had begun on a dead worker begins again", "multiprocessing", "poison_without_retries_runs_once"
)
def begin_again(patch: Patch) -> None:
    whole = Fleet.down

    def down(self: Fleet, event: Any, *, expected: bool) -> list[Any]:
        return whole(self, dataclasses.replace(event, started=(0, 0)), expected=expected)

    patch.setattr(Fleet, "down", down)


@breaks(2, "what had not begun on a dead worker is lost with it", "multiprocessing",
        "a_death_costs_only_the_started_task")  # fmt: skip
def lose_the_rest(patch: Patch) -> None:
    def down(self: Fleet, event: Any, *, expected: bool) -> list[Any]:
        worker = self.workers[event.worker]
        worker.up, worker.epoch = False, event.epoch + 1
        return self._scheduler.leave_all(worker)

    patch.setattr(Fleet, "down", down)


@breaks(2, "every failure is tried again", "threads", "a_failed_task_is_not_run_again")
def always_retry(patch: Patch) -> None:
    def fail(self: Ledger, task: Any, error: BaseException, worker: Any = None, stats: Any = None) -> None:
        if worker is not None and task.attempt < 3:
            self.retry(task, worker, stats, error)
            return
        whole(self, task, error, worker, stats)

    whole = Ledger.fail
    patch.setattr(Ledger, "fail", fail)


# 3, errors


@breaks(3, "an exception loses its type", "threads", "keep_type_arguments_and_attributes")
def lose_type(patch: Patch) -> None:
    whole = endings.unpack_failure
    patch.setattr(endings, "unpack_failure", lambda payload, name: RuntimeError(str(whole(payload, name))))


@breaks(3, "the remote traceback is dropped", "threads", "have_the_remote_traceback_as_cause")
def lose_traceback(patch: Patch) -> None:
    whole = endings.unpack_failure

    def unpack(payload: Any, name: str) -> BaseException:
        error = whole(payload, name)
        error.__cause__ = None
        return error

    patch.setattr(endings, "unpack_failure", unpack)


@breaks(
    3, "an error does not say where it happened", "threads", "note_names_task_worker_host_attempt_and_log"
)
def lose_note(patch: Patch) -> None:
    patch.setattr(endings, "_note", lambda task, worker: "somewhere")


@breaks(3, "a failed input is passed on as a value", "threads", "of_inputs_are_dependency_failed")
def ignore_failed_inputs(patch: Patch) -> None:
    from parallactic.dispatch import ledger

    patch.setattr(ledger, "dependency_error", lambda future, task: None)


# 4, liveness


@breaks(4, "a death is never reported", "multiprocessing",
        "a_killed_worker_is_noticed", "the_pool_is_whole_again")  # fmt: skip
def silent_death(patch: Patch) -> None:
    ignoring(WorkerProcess, "_worker_ended")(patch)


@breaks(4, "nobody listens to heartbeats", "multiprocessing", "a_stopped_worker_is_unresponsive_and_recovers")
def deaf(patch: Patch) -> None:
    ignoring(Fleet, "heartbeat")(patch)


@breaks(4, "a silent worker is never trusted again", "multiprocessing",
        "a_stopped_worker_is_unresponsive_and_recovers")  # fmt: skip
def unforgiving(patch: Patch) -> None:
    whole = Fleet.heartbeat

    def heartbeat(self: Fleet, event: Any) -> None:
        if self.workers[event.worker].responsive:
            whole(self, event)

    patch.setattr(Fleet, "heartbeat", heartbeat)


@breaks(4, "those who wait for a lost result are forgotten", "multiprocessing",
        "a_death_releases_those_who_wait_for_its_result")  # fmt: skip
def forget_waiters(patch: Patch) -> None:
    ignoring(Ledger, "notify")(patch)


# 5, cancel


@breaks(5, "a cancelled future is told when its turn comes", "threads",
        "deep_in_a_queue_is_told_at_once", "of_a_held_task_is_told_at_once")  # fmt: skip
def late_cancel(patch: Patch) -> None:
    ignoring(Dispatcher, "_cancelled")(patch)


@breaks(5, "force is ignored by the backend", "multiprocessing", "by_force_stops_python_code")
def no_force(patch: Patch) -> None:
    ignoring(MultiprocessingBackend, "cancel")(patch)


@breaks(5, "force kills the head in place of the task behind it", "multiprocessing",
        "by_force_of_a_handed_over_task_spares_the_head")  # fmt: skip
def kill_the_head(patch: Patch) -> None:
    whole = Dispatcher._cancelled

    def cancelled(self: Dispatcher, future: Any, force: bool) -> None:
        workers = [
            worker for worker in self.fleet.workers if any(t.future is future for t in worker.inflight)
        ]
        whole(self, future, force)
        for worker in workers:
            self._kill(worker.inflight[0], worker)

    patch.setattr(Dispatcher, "_cancelled", cancelled)


@breaks(5, "a stopped future is failed, not cancelled", "multiprocessing", "by_force_stops_python_code")
def fail_the_stopped(patch: Patch) -> None:
    def end(self: Future) -> bool:
        self.set_exception(RuntimeError("stopped"))
        return True

    patch.setattr(Future, "_end_cancelled", end)


# 6, state


@breaks(6, "the namespace outlives its epoch", "serial", "begins_empty_with_each_epoch")
def keep_namespace(patch: Patch) -> None:
    whole = SerialBackend._new_worker

    def new_worker(self: SerialBackend, number: int, epoch: int) -> Any:
        info = whole(self, number, epoch)
        if number < len(self._infos):
            info.variables = self._infos[number].variables
        return info

    patch.setattr(SerialBackend, "_new_worker", new_worker)


@breaks(6, "a target of an old epoch works on", "threads",
        "of_an_old_epoch_is_lost_aloud", "lost_tasks_that_waited_never_run")  # fmt: skip
def silent_loss(patch: Patch) -> None:
    patch.setattr(Dispatcher, "_is_stranded", lambda self, task, worker: False)
    ignoring(Fleet, "_strand")(patch)


@breaks(6, "setups are not replayed", "threads",
        "set_up_by_target_is_replayed", "set_up_everywhere_is_replayed")  # fmt: skip
def no_replay(patch: Patch) -> None:
    whole = Fleet.up

    def up(self: Fleet, event: Any) -> None:
        setups, self.workers[event.worker].setups = self.workers[event.worker].setups, []
        whole(self, event)
        self.workers[event.worker].setups = setups

    patch.setattr(Fleet, "up", up)


@breaks(
    6, "the initializer runs on the first epoch only", "threads", "the_initializer_runs_first_on_every_epoch"
)
def initialize_once(patch: Patch) -> None:
    whole = Fleet.up

    def up(self: Fleet, event: Any) -> None:
        initializer = self.initializer
        if event.epoch:
            self.initializer = None
        whole(self, event)
        self.initializer = initializer

    patch.setattr(Fleet, "up", up)


# 7, time


@breaks(7, "a timeout kills nothing", "multiprocessing", "is_up_stops_the_task", "of_walltime_is_a_loss")
def no_timeout(patch: Patch) -> None:
    ignoring(Dispatcher, "_time_is_up")(patch)


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
