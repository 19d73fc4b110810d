"""Threads of the library leave signals to the main thread."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import parallactic as plx
from parallactic.threads import start_in_background


def _blocked(thread: int) -> set[int]:
    """Return the signals that a thread of this process blocks, as the kernel tells."""
    status = Path(f"/proc/self/task/{thread}/status").read_text()
    mask = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")), 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def _of_child() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")), 16)


def test_a_background_thread_blocks_signals_and_its_starter_does_not() -> None:
    """The mask is the new thread's alone."""
    ready, go = threading.Event(), threading.Event()
    numbers = []

    def wait() -> None:
        numbers.append(threading.get_native_id())
        ready.set()
        go.wait()

    thread = threading.Thread(target=wait)
    start_in_background(thread)
    assert ready.wait(10)
    assert signal.SIGINT in _blocked(numbers[0])
    assert signal.SIGINT not in _blocked(threading.get_native_id())
    go.set()
    thread.join()


def test_every_thread_of_an_executor_leaves_ctrl_c_to_the_main_thread() -> None:
    """Ctrl-C that another thread takes does not wake a main thread which waits for a lock."""
    before = {thread.native_id for thread in threading.enumerate()}
    with plx.Executor("multiprocessing", workers=2) as ex:
        future = ex.submit(len, "abc")
        future.add_done_callback(lambda _: None)
        assert future.result() == 3
        mine = [thread for thread in threading.enumerate() if thread.native_id not in before]
        assert len(mine) >= 2, "the dispatcher's and the listener's threads are there"
        for thread in mine:
            assert thread.native_id is not None
            assert signal.SIGINT in _blocked(thread.native_id), thread.name


def test_workers_hear_signals() -> None:
    """A worker inherits nothing of the mask of the thread that started it."""
    with plx.Executor("multiprocessing", workers=1) as ex:
        assert ex.submit(_of_child).result() == 0
