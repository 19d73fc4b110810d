"""Ways to break order, delivery, errors, liveness, cancellation and state.

A breakage changes the core or a backend by monkeypatching; the whole one passes the same tests.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from breakage import Patch, breaks, ignoring

from parallactic.dispatch import endings
from parallactic.dispatch.attempts import Attempts
from parallactic.dispatch.dispatcher import Dispatcher
from parallactic.dispatch.fleet import Fleet
from parallactic.dispatch.ledger import Ledger
from parallactic.dispatch.scheduler import Scheduler
from parallactic.future import Future
from parallactic_backends.multiprocessing.backend import MultiprocessingBackend
from parallactic_backends.multiprocessing.process import WorkerProcess
from parallactic_backends.serial.backend import SerialBackend

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
    ignoring(WorkerProcess, "worker_ended")(patch)


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
    ignoring(Attempts, "cancelled")(patch)


@breaks(5, "force is ignored by the backend", "multiprocessing", "by_force_stops_python_code")
def no_force(patch: Patch) -> None:
    ignoring(MultiprocessingBackend, "cancel")(patch)


@breaks(5, "force kills the head in place of the task behind it", "multiprocessing",
        "by_force_of_a_handed_over_task_spares_the_head")  # fmt: skip
def kill_the_head(patch: Patch) -> None:
    whole = Attempts.cancelled

    def cancelled(self: Attempts, future: Any, force: bool) -> None:
        workers = [
            worker for worker in self._fleet.workers if any(t.future is future for t in worker.inflight)
        ]
        whole(self, future, force)
        for worker in workers:
            self._kill(worker.inflight[0], worker)

    patch.setattr(Attempts, "cancelled", cancelled)


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
