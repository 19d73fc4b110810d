"""What is special to tasks that run where they are submitted; the contract says the rest."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from parallactic.errors import InvalidSpec
from parallactic.executor import Executor
from parallactic.testing import tasks


@pytest.fixture
def ex() -> Iterator[Executor]:
    with Executor("serial", workers=3) as executor:
        yield executor


def _here() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def _callers() -> list[str]:
    frame, names = sys._getframe(), []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return names


def test_tasks_run_in_this_process_and_thread(ex: Executor) -> None:
    assert ex.submit(_here).result(0) == _here()


def test_a_task_has_ended_when_submit_returns(ex: Executor) -> None:
    for number in range(5):
        assert ex.submit(tasks.identity, number).done()
    assert ex.target("all").submit(tasks.identity, 1).result(0) == [1, 1, 1]


def test_a_debugger_sees_the_caller_above_the_task(ex: Executor) -> None:
    assert "test_a_debugger_sees_the_caller_above_the_task" in ex.submit(_callers).result(0)


def test_prints_appear_where_the_client_prints(ex: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    ex.submit(print, "seen")
    assert capsys.readouterr().out == "seen\n"


def test_virtual_workers_have_namespaces_of_their_own(ex: Executor) -> None:
    for number in range(3):
        ex.target(number).push(x=number)
    assert ex.target("all").pull("x").result(0) == [0, 1, 2]


def test_untargeted_tasks_go_to_an_idle_worker_in_order(ex: Executor) -> None:
    places = [ex.submit(tasks.where).result(0)[0] for _ in range(6)]
    assert set(places) <= {0, 1, 2}


def test_one_worker_is_the_default() -> None:
    with Executor("serial") as ex:
        assert ex.max_workers == 1


def test_a_task_cannot_use_the_executor_that_runs_it(ex: Executor) -> None:
    """It would wait for itself; found before it does."""
    found: list[Executor] = [ex]
    tasks_executor[:] = found
    try:
        error = ex.submit(_submit_inside).exception(0)
    finally:
        tasks_executor.clear()
    assert isinstance(error, InvalidSpec)
    assert "inside a task" in str(error)


tasks_executor: list[Executor] = []


def _submit_inside() -> int:
    return tasks_executor[0].submit(abs, -1).result()  # type: ignore[no-any-return]


def test_no_process_and_no_socket_is_made(ex: Executor) -> None:
    import psutil

    before = psutil.Process().children()
    ex.submit(tasks.identity, 1).result(0)
    assert psutil.Process().children() == before
