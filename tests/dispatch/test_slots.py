"""Places for unfinished tasks."""

import asyncio
import threading

import pytest

from parallactic.dispatch.slots import Slots
from parallactic.errors import SubmitError


def waiter(slots: Slots, count: int, outcome: list[object]) -> threading.Thread:
    def wait() -> None:
        try:
            slots.take(count)
            outcome.append(count)
        except RuntimeError as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_all_or_none() -> None:
    slots, outcome = Slots(3), []
    slots.take(2)
    thread = waiter(slots, 3, outcome)
    slots.take(1)  # the one that waits holds no part
    slots.give_back()
    assert not outcome
    slots.give_back(2)
    thread.join(10)
    assert outcome == [3]


def test_more_than_there_are() -> None:
    with pytest.raises(SubmitError, match="max_pending is 2"):
        Slots(2).take(3)


def test_asyncio_loop_is_never_blocked() -> None:
    slots = Slots(1)

    async def submit() -> None:
        slots.take(1)
        with pytest.raises(SubmitError, match="would block the asyncio loop"):
            slots.take(1)

    asyncio.run(submit())


def test_close_wakes_those_who_wait() -> None:
    slots, outcome = Slots(1), []
    slots.take(1)
    thread = waiter(slots, 1, outcome)
    slots.close()
    thread.join(10)
    assert isinstance(outcome[0], RuntimeError)
