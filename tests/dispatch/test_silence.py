"""Silence of workers is told from the deafness of the client."""

import ctypes
import logging

from parallactic import Executor


def test_workers_are_not_silent_because_the_client_did_not_listen(caplog):
    caplog.set_level(logging.WARNING, "parallactic")
    with Executor("multiprocessing", workers=2) as executor:
        executor.gather([executor.target(number).submit(abs, -1) for number in range(2)])
        for _ in range(3):
            # Unlike `time.sleep`, this keeps the interpreter's lock: no other thread runs.
            ctypes.PyDLL(None).usleep(1_600_000)
            assert executor.submit(abs, -2).result(timeout=10) == 2
            assert {worker.state for worker in executor.status().workers} <= {"idle", "busy"}
    assert "silent" not in caplog.text
