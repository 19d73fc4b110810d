"""Which task goes to which worker: the scheduler alone, without a backend."""

import pytest

from parallactic.dispatch.admission import Resources
from parallactic.dispatch.scheduler import LANE_WINDOW, Scheduler
from parallactic.dispatch.task import Role, State, Task
from parallactic.dispatch.workers import Worker
from parallactic.spec import DEFAULT
from parallactic.wire.codec import encode_function
from parallactic.wire.payload import Payload

FUNCTION = encode_function(len)


class House:
    """Two workers of two cores each, 100 bytes of memory, and a record of what was launched."""

    def __init__(self, workers: int = 2) -> None:
        self.workers = [Worker(number) for number in range(workers)]
        for worker in self.workers:
            worker.up, worker.cores = True, 2
        self.launched: list[tuple[int, int]] = []
        self.refused: set[int] = set()
        self.scheduler = Scheduler(self.workers, Resources(2 * workers, 100), self._launch)
        for worker in self.workers:
            self.scheduler.available(worker)
        self._number = 0

    def _launch(self, task: Task, worker: Worker) -> bool:
        if task.id in self.refused:
            task.state = State.DONE
            return False
        task.attempt += 1
        task.state = State.RUNNING
        self.launched.append((task.id, worker.id))
        return True

    def task(self, target: int | None = None, role: Role = Role.CALL, **options: object) -> Task:
        self._number += 1
        spec = DEFAULT.updated(**options)
        return Task(self._number, "t", FUNCTION, Payload(b""), [], spec, None, target, role=role)  # type: ignore[arg-type]

    def queue(self, *tasks: Task) -> list[tuple[int, int]]:
        for task in tasks:
            self.scheduler.queue(task)
        return self.assign()

    def assign(self) -> list[tuple[int, int]]:
        self.launched.clear()
        self.scheduler.assign()
        return list(self.launched)

    def end(self, task: Task, worker: int) -> list[tuple[int, int]]:
        left, _ = self.scheduler.leave(self.workers[worker], task.id, task.attempt)
        assert left is task
        task.state = State.DONE
        return self.assign()


def test_one_untargeted_task_on_each_worker() -> None:
    house = House()
    tasks = [house.task() for _ in range(4)]
    assert house.queue(*tasks) == [(1, 0), (2, 1)]
    assert house.end(tasks[1], 1) == [(3, 1)]


def test_lane_runs_ahead_by_its_window_and_in_order() -> None:
    house = House()
    tasks = [house.task(0) for _ in range(LANE_WINDOW + 3)]
    assert house.queue(*tasks) == [(n + 1, 0) for n in range(LANE_WINDOW)]
    assert house.end(tasks[0], 0) == [(LANE_WINDOW + 1, 0)]


def test_older_goes_first_between_lane_and_queue() -> None:
    house = House(workers=1)
    first, old, lane, young = house.task(), house.task(), house.task(0), house.task()
    house.queue(first)
    assert house.queue(old, lane, young) == []
    assert house.end(first, 0) == [(old.id, 0), (lane.id, 0)]  # a lane may be ahead of its worker
    assert house.end(old, 0) == []
    assert house.end(lane, 0) == [(young.id, 0)]


def test_lane_that_waits_for_an_input_lets_others_run() -> None:
    """Otherwise a lane whose head waits for an untargeted task of the only worker would wait for ever."""
    house = House(workers=1)
    held, follower, other = house.task(0), house.task(0), house.task()
    held.waiting = 1
    assert house.queue(held, follower, other) == [(other.id, 0)]
    assert house.end(other, 0) == []
    held.waiting = 0
    house.scheduler.inputs_arrived(held)
    assert house.assign() == [(held.id, 0), (follower.id, 0)]


def test_what_may_run_again_is_not_overtaken() -> None:
    house = House(workers=1)
    plain, retried, last = house.task(0), house.task(0, retries=1), house.task(0)
    assert house.queue(plain, retried, last) == [(plain.id, 0)]
    assert house.end(plain, 0) == [(retried.id, 0)]
    assert house.end(retried, 0) == [(last.id, 0)]


def test_nothing_follows_a_setup_before_it_has_succeeded() -> None:
    house = House(workers=1)
    setup, call = house.task(0, Role.SETUP), house.task(0)
    assert house.queue(setup, call) == [(setup.id, 0)]
    assert house.end(setup, 0) == [(call.id, 0)]


@pytest.mark.parametrize("attribute", ["up", "responsive"])
def test_worker_that_cannot_run_gets_nothing(attribute: str) -> None:
    house = House()
    setattr(house.workers[0], attribute, False)
    house.scheduler.unavailable(house.workers[0])
    lane = house.task(0)
    assert house.queue(lane, house.task(), house.task()) == [(2, 1)]
    setattr(house.workers[0], attribute, True)
    house.scheduler.available(house.workers[0])
    assert house.assign() == [(lane.id, 0)]


def test_wide_task_waits_for_its_cores_and_is_not_starved() -> None:
    house = House()
    small, wide, later = house.task(), house.task(cores=4), house.task()
    assert house.queue(small, wide, later) == [(small.id, 0)]
    assert house.end(small, 0) == [(wide.id, 1)] or house.launched == [(wide.id, 0)]
    assert house.assign() == []
    on = next(worker.id for worker in house.workers if worker.inflight)
    assert [number for number, _ in house.end(wide, on)] == [later.id]


def test_memory_is_shared_out() -> None:
    house = House()
    one, two, three = house.task(memory=60), house.task(memory=60), house.task(memory=40)
    assert [number for number, _ in house.queue(one, two, three)] == [one.id]
    assert [number for number, _ in house.end(one, 0)] == [two.id, three.id]


def test_cancelled_tasks_are_passed_over() -> None:
    house = House(workers=1)
    gone, refused, last = house.task(), house.task(), house.task()
    gone.state = State.DONE
    house.refused.add(refused.id)
    assert house.queue(gone, refused, last) == [(last.id, 0)]


def test_what_left_a_dead_worker_comes_back_in_order() -> None:
    house = House()
    tasks = [house.task(0) for _ in range(4)]
    house.queue(*tasks)
    house.workers[0].up = False
    inflight = house.scheduler.leave_all(house.workers[0])
    assert inflight == tasks
    for task in reversed(inflight[1:]):
        task.state = State.QUEUED
        house.scheduler.queue(task, front=True)
    assert house.assign() == []
    house.workers[0].up = True
    house.scheduler.available(house.workers[0])
    assert house.assign() == [(task.id, 0) for task in tasks[1:]]


def test_late_news_of_an_attempt_is_ignored() -> None:
    house = House()
    task = house.task()
    house.queue(task)
    assert house.scheduler.leave(house.workers[0], task.id, 7) == (None, False)
    assert house.workers[0].inflight[0] is task
