"""What an engine with a queue of its own is handed, and what comes back from it."""

from __future__ import annotations

from collections import deque

from parallactic.dispatch.admission import Resources
from parallactic.dispatch.engine_queue import EngineQueue
from parallactic.dispatch.task import State, Task
from parallactic.dispatch.workers import Worker
from parallactic.spec import DEFAULT
from parallactic.wire.codec import encode_function
from parallactic.wire.payload import Payload

FUNCTION = encode_function(len)


class House:
    """Two workers, and a record of what the engine was handed and what was recalled."""

    def __init__(self) -> None:
        self.workers = [Worker(number) for number in range(2)]
        for worker in self.workers:
            worker.up = True
        self.handed: list[int] = []
        self.recalled: list[int] = []
        self.ready: deque[Task] = deque()
        self.resources = Resources(2, 100)
        self.engine = EngineQueue(self.workers, self.resources, self._launch, self._recall)

    def _launch(self, task: Task) -> bool:
        task.attempt += 1
        self.handed.append(task.id)
        return True

    def _recall(self, task: Task) -> None:
        self.recalled.append(task.id)

    def task(self, number: int, target: int | None = None, **options: object) -> Task:
        spec = DEFAULT.updated(**options)
        return Task(number, "t", FUNCTION, Payload(b""), [], spec, None, target)  # type: ignore[arg-type]

    def fill(self, *tasks: Task) -> list[int]:
        self.ready.extend(tasks)
        self.handed.clear()
        self.engine.fill(self.ready)
        return list(self.handed)

    def end(self, task: Task, worker: int, seconds: float) -> None:
        self.workers[worker].inflight.remove(task)
        self.engine.left(task)
        self.engine.took(seconds)
        task.state = State.DONE


def test_one_for_each_worker_while_nobody_knows_how_long_tasks_take() -> None:
    house = House()
    tasks = [house.task(number) for number in range(1, 6)]
    assert house.fill(*tasks) == [1, 2]
    assert house.fill() == []
    assert house.engine.began(1, 1, house.workers[0]) is tasks[0]
    assert house.fill() == [], "a task that has begun keeps its place"
    house.end(tasks[0], 0, 10.0)
    assert house.fill() == [3]


def test_short_tasks_are_handed_over_ahead_in_batches() -> None:
    house = House()
    tasks = [house.task(number) for number in range(1, 200)]
    house.fill(*tasks)
    house.engine.began(1, 1, house.workers[0])
    house.end(tasks[0], 0, 0.001)
    # 50 ms of work are 50 such tasks, of which at most 32 go ahead for each of two workers.
    assert len(house.fill()) == 2 * (1 + 32) - 1
    for number in range(2, 12):
        house.engine.began(number, 1, house.workers[0])
        house.end(tasks[number - 1], 0, 0.001)
        assert house.fill() == [], "a batch is not begun for a few"


def test_a_worker_that_is_to_come_counts_and_one_with_a_lane_does_not() -> None:
    house = House()
    house.workers[0].up = False
    lane = house.task(1, target=1)
    house.workers[1].inflight.append(lane)
    assert house.fill(*(house.task(number) for number in range(2, 6))) == [2]


def test_what_was_withdrawn_is_recalled_and_still_known_should_a_worker_have_begun_it() -> None:
    house = House()
    task = house.task(1)
    house.fill(task)
    assert task.handed
    house.engine.withdraw(task)
    assert house.recalled == [1]
    assert not task.handed
    assert task.attempt == 0, "it never began"
    assert house.engine.began(1, 1, house.workers[1]) is task
    assert house.workers[1].inflight[0] is task
    assert house.engine.began(1, 1, house.workers[1]) is None


def test_a_task_that_begins_comes_before_what_was_sent_to_the_worker() -> None:
    house = House()
    task, lane = house.task(1), house.task(2, target=0)
    house.fill(task)
    house.workers[0].inflight.append(lane)
    house.engine.began(1, 1, house.workers[0])
    assert list(house.workers[0].inflight) == [task, lane]


def test_another_attempt_is_not_the_one_that_the_engine_holds() -> None:
    house = House()
    house.fill(house.task(1))
    assert house.engine.give_back(1, 2) is None
    assert house.engine.give_back(1, 1) is not None
    assert house.engine.give_back(1, 1) is None


def test_resources_are_taken_and_given_back() -> None:
    house = House()
    wide = house.task(1, cores=2)
    assert house.fill(wide, house.task(2, cores=2)) == [1], "both cores are taken"
    house.engine.give_back(1, 1)
    assert house.fill() == [2]


def test_what_waits_for_a_silent_worker_or_a_resource_does_not_count() -> None:
    house = House()
    tasks = [house.task(number) for number in range(1, 6)]
    assert house.fill(*tasks) == [1, 2]
    house.engine.stalled(2, 2)
    assert house.fill() == [], "another attempt is not in the queue"
    house.engine.stalled(2, 1)
    assert house.fill() == [3]
    scarce = [house.task(number, gpus=1) for number in range(6, 9)]
    house.ready.extendleft(reversed(scarce))
    assert house.fill() == [6, 7, 8], "they wait in the engine, where what they need is"
    assert house.engine.give_back(6, 1) is scarce[0]


def test_followers_do_not_count_as_work_in_stock() -> None:
    house = House()
    first = house.task(1)
    house.fill(first)
    follower = house.task(2)
    follower.waiting, follower.state = 1, State.HELD
    assert house.engine.follow(follower)
    assert house.fill(house.task(3)) == [3]
