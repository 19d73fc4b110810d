"""Tasks whose inputs an engine waits for itself: which ones it is handed, and how far down a graph."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from parallactic.dispatch.following import Following
from parallactic.dispatch.task import State, Task
from parallactic.spec import DEFAULT
from parallactic.wire.codec import encode_function
from parallactic.wire.envelopes import Awaited
from parallactic.wire.payload import Payload

FUNCTION = encode_function(len)


class House:
    """A ledger and an engine queue with room for everything."""

    def __init__(self, *, native: bool = True) -> None:
        self.tasks: dict[int, Task] = {}
        self.handed: list[int] = []
        self.following = Following(self, self, native=native)  # type: ignore[arg-type]

    def task(self, number: int, *sources: Task, target: int | None = None, **options: object) -> Task:
        future: Any = Future()
        future.task = number
        spec = DEFAULT.updated(**options)
        inputs = [source.future for source in sources]
        task = Task(number, "t", FUNCTION, Payload(b""), inputs, spec, future, target)
        task.waiting = len(inputs)
        task.state = State.HELD if inputs else State.QUEUED
        self.tasks[number] = task
        return task

    def followers(self, task: Task) -> list[Task]:
        return [other for other in self.tasks.values() if task.future in other.sources]

    def follow(self, task: Task) -> bool:
        self.hand(task)
        return True

    def hand(self, task: Task) -> None:
        task.attempt += 1
        task.handed = True
        self.handed.append(task.id)
        self.following.handed(task)


def test_a_graph_goes_to_the_engine_as_far_as_it_hangs_on_what_that_holds() -> None:
    house = House()
    left, right = house.task(1), house.task(2)
    both = house.task(3, left, right)
    house.task(4, both)
    house.hand(left)
    house.following.serve()
    assert house.handed == [1], "the other input is not in the engine yet"
    house.hand(right)
    house.following.serve()
    assert house.handed == [1, 2, 3, 4]
    assert house.following.awaited(both) == (Awaited(0, 1, 1), Awaited(1, 2, 1))


def test_what_is_there_already_is_not_awaited() -> None:
    house = House()
    left, right = house.task(1), house.task(2)
    both = house.task(3, left, right)
    left.future.set_result(0)
    house.hand(right)
    house.following.serve()
    assert house.following.awaited(both) == (Awaited(1, 2, 1),)


def test_a_long_chain_does_not_recurse() -> None:
    house = House()
    first = last = house.task(1)
    for number in range(2, 3000):
        last = house.task(number, last)
    # The search for followers is the test's own, and slow: look them up once.
    table = {id(task.sources[0]): [task] for task in house.tasks.values() if task.sources}
    house.followers = lambda task: table.get(id(task.future), [])  # type: ignore[method-assign]
    house.hand(first)
    house.following.serve()
    assert len(house.handed) == 2999


def test_who_may_be_run_again_or_has_a_worker_does_not_follow_nor_is_followed() -> None:
    for first, second in (
        ({"retries": 1}, {}),
        ({}, {"retries": 1}),
        ({"target": 0}, {}),
        ({}, {"target": 0}),
    ):
        house = House()
        source = house.task(1, **first)  # type: ignore[arg-type]
        house.task(2, source, **second)  # type: ignore[arg-type]
        house.hand(source)
        house.following.serve()
        assert house.handed == [1], (first, second)


def test_an_engine_that_cannot_wait_is_handed_nothing() -> None:
    house = House(native=False)
    source = house.task(1)
    follower = house.task(2, source)
    house.hand(source)
    house.following.serve()
    assert not house.following.take(follower)
    assert house.handed == [1]
