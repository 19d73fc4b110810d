"""Semantic 9, shutdown: idempotent, bounded, and nothing is left."""

from __future__ import annotations

import concurrent.futures
import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError
from concurrent.futures import Future as AnyFuture
from pathlib import Path

import pytest

from parallactic.errors import InvalidSpec
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start
from parallactic.testing.engine import Engine
from parallactic.testing.leftovers import Snapshot, shared_memory
from parallactic.testing.scripts import running
from parallactic.testing.waiting import go, lines, pid_in, settles, undisturbed, until

__all__ = ["ShutdownContract"]


class ShutdownContract(Contract):
    """Semantic 9: how a run ends."""

    def test_shutdown_waits_for_what_was_submitted(self, start: Start, tmp_path: Path) -> None:
        """Everything that was taken is done first."""
        ex = start()
        log = tmp_path / "log"
        futures = [ex.submit(tasks.sleep_and_append, str(log), str(number), 0.01) for number in range(30)]
        ex.shutdown()
        assert all(future.done() for future in futures)
        assert sorted(map(int, lines(log))) == list(range(30))

    def test_shutdown_may_be_called_again(self, start: Start) -> None:
        """Any number of times, in any way, from any thread."""
        ex = start()
        ex.submit(tasks.identity, 1).result(self.patience)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(ex.shutdown) for _ in range(4)]:
                done.result(self.patience)
        ex.shutdown()
        ex.shutdown(wait=False)
        ex.shutdown(cancel_futures=True)
        ex.shutdown(kill=True)
        with ex:
            pass

    def test_shutdown_refuses_new_work(self, start: Start) -> None:
        """A submit after it is RuntimeError, as in concurrent.futures, whichever way it is made."""
        ex = start()
        target, view = ex.target(0), ex.options(name="x")
        ex.shutdown()
        for submit in (ex.submit, target.submit, view.submit):
            with pytest.raises(RuntimeError, match="after shutdown"):
                submit(tasks.identity, 1)
        with pytest.raises(RuntimeError, match="after shutdown"):
            ex.map(tasks.identity, [1])

    def test_shutdown_without_waiting_lets_work_end(self, start: Start, tmp_path: Path) -> None:
        """`wait=False` returns at once; what was taken is still done."""

        def attempt(number: int) -> bool:
            ex = start()
            started, release = tmp_path / f"started-{number}", tmp_path / f"release-{number}"
            first = go(ex, tasks.write_and_wait, str(started), str(release), 1)
            second = go(ex, tasks.identity, 2)
            pid_in(started, self.patience)
            begin = time.monotonic()
            ex.shutdown(wait=False)
            seconds = time.monotonic() - begin
            assert not first.done()
            with pytest.raises(RuntimeError):
                ex.submit(tasks.identity, 3)
            release.touch()
            assert (first.result(self.patience), second.result(self.patience)) == (1, 2)
            ex.shutdown()
            return seconds < 1.0

        undisturbed(attempt, "shutdown(wait=False) returns within a second")

    def test_shutdown_cancels_what_has_not_begun(self, start: Start, tmp_path: Path) -> None:
        """`cancel_futures=True`: running tasks end, the others are cancelled."""
        ex = start()
        release = tmp_path / "release"
        begun = go(ex.target(0), tasks.write_and_wait, str(tmp_path / "started"), str(release), 1)
        pid_in(tmp_path / "started", self.patience)
        never: AnyFuture[None] = AnyFuture()
        held = ex.submit(tasks.identity, never)
        queued = [go(ex.target(0), tasks.append, str(tmp_path / "log"), str(n)) for n in range(30)]
        ex.shutdown(wait=False, cancel_futures=True)
        assert not concurrent.futures.wait([held, queued[29]], timeout=self.patience).not_done
        assert held.cancelled()
        assert queued[29].cancelled()
        release.touch()
        ex.shutdown()
        assert begun.result(self.patience) == 1
        assert all(future.done() for future in queued)
        ran = [number for number, future in enumerate(queued) if not future.cancelled()]
        assert list(map(int, lines(tmp_path / "log"))) == ran

    def test_shutdown_that_kills_is_bounded(self, engine: Engine, start: Start, tmp_path: Path) -> None:
        """`kill=True` ends tasks that would run for ever, in C too where the engine can stop that."""
        ex = start()
        if engine.capabilities.kills_native_code:
            hung = go(ex, tasks.nap_in_c, 50.0, str(tmp_path / "started"))
        else:
            hung = go(ex, tasks.spin, str(tmp_path / "started"))
        pid_in(tmp_path / "started", self.patience)
        begin = time.monotonic()
        ex.shutdown(kill=True)
        assert time.monotonic() - begin < self.bound
        with pytest.raises(CancelledError):
            hung.result(0)

    def test_shutdown_after_an_interrupt_does_not_wait(self, start: Start, tmp_path: Path) -> None:
        """Leaving the with-block by KeyboardInterrupt stops everything."""
        hung: AnyFuture[None] | None = None
        begin = 0.0
        with pytest.raises(KeyboardInterrupt), start() as ex:
            hung = go(ex, tasks.spin, str(tmp_path / "started"))
            pid_in(tmp_path / "started", self.patience)
            begin = time.monotonic()
            raise KeyboardInterrupt
        assert time.monotonic() - begin < self.bound
        assert hung is not None
        assert hung.cancelled()

    def test_shutdown_from_a_callback_does_not_hang(self, start: Start) -> None:
        """A callback may end the run that it belongs to."""
        ex = start()
        gate: AnyFuture[int] = AnyFuture()
        future = ex.submit(tasks.identity, gate)
        ended = threading.Event()

        def end(_: object) -> None:
            ex.shutdown()
            ended.set()

        future.add_done_callback(end)
        gate.set_result(1)
        assert ended.wait(self.patience)
        with pytest.raises(RuntimeError):
            ex.submit(tasks.identity, 1)
        ex.shutdown()

    def test_shutdown_leaves_nothing_while_the_executor_is_held(self, engine: Engine) -> None:
        """No process, thread, descriptor or temporary file is left when it returns."""
        before = Snapshot.take()
        ex = engine.open()
        future = ex.submit(tasks.identity, 1)
        big = ex.put(bytes(3_000_000))
        assert ex.submit(len, big).result(self.patience) == 3_000_000
        del big
        ex.shutdown()
        before.assert_nothing_left(min(1.0, self.linger))
        assert future.result(0) == 1

    def test_shutdown_of_a_forgotten_executor_comes_by_itself(self, engine: Engine, tmp_path: Path) -> None:
        """An executor that nobody holds any more does what it was given and ends."""
        before = Snapshot.take()
        ex = engine.open()
        future = ex.submit(tasks.append, str(tmp_path / "log"), "x")
        gone = weakref.ref(ex)
        del ex
        gc.collect()
        assert gone() is None
        assert future.result(self.patience) == "x"
        del future
        before.assert_nothing_left(2 * self.linger)

    def test_shutdown_keeps_a_named_run_folder(self, start: Start, tmp_path: Path) -> None:
        """The journal stays where a person asked for it; the key does not."""
        ex = start(run_dir=tmp_path / "run")
        ex.submit(tasks.identity, 1).result(self.patience)
        ex.shutdown()
        left = sorted(path.name for path in (tmp_path / "run").iterdir())
        assert "journal.jsonl" in left
        assert not [name for name in left if name.startswith("key")]

    def test_shutdown_of_a_view_is_refused(self, start: Start) -> None:
        """`options` gives a view; the run belongs to the executor."""
        ex = start()
        with pytest.raises(InvalidSpec, match="executor itself"):
            ex.options(name="x").shutdown()
        with ex.options(name="x") as view:
            assert view.submit(tasks.identity, 1).result(self.patience) == 1
        assert ex.submit(tasks.identity, 2).result(self.patience) == 2

    def test_shutdown_at_interpreter_exit_does_pending_work(self, engine: Engine, tmp_path: Path) -> None:
        """A script that ends without shutdown: its tasks are done, callbacks called, nothing is left."""
        code = (
            "ex = open_executor()\n"
            "for number in range(20):\n"
            "    future = ex.submit(tasks.sleep_and_append, sys.argv[1], str(number), 0.01)\n"
            "future.add_done_callback(lambda f: print('callback', flush=True))\n"
            "print('main ends', flush=True)\n"
        )
        with running(engine, code, str(tmp_path / "log")) as client:
            status, out, err = client.end(self.patience)
            assert (status, err) == (0, "")
            assert sorted(out.split("\n")) == ["", "callback", "main ends"]
            assert not list(client.folder.iterdir())
        assert len(lines(tmp_path / "log")) == 20

    def test_shutdown_at_interpreter_exit_refuses_late_work(self, engine: Engine) -> None:
        """A callback that submits during the exit gets RuntimeError, and nothing hangs."""
        code = (
            "ex = open_executor()\n"
            "import time, concurrent.futures as cf\n"
            "def again(f):\n"
            "    try:\n"
            "        while True:  # until the exit has begun\n"
            "            time.sleep(0.05)\n"
            "            ex.submit(tasks.identity, 2)\n"
            "    except RuntimeError as error:\n"
            "        print('refused:', error, flush=True)\n"
            "gate = cf.Future()\n"
            "ex.submit(tasks.identity, gate).add_done_callback(again)\n"
            "gate.set_result(1)\n"
        )
        with running(engine, code) as client:
            status, out, err = client.end(self.patience)
        assert (status, err) == (0, "")
        assert out.startswith("refused:")
        assert "shutdown" in out

    def test_shutdown_by_an_error_in_the_script(self, engine: Engine, tmp_path: Path) -> None:
        """An exception in the main program ends with its traceback, code 1, and nothing left."""
        code = (
            "with open_executor() as ex:\n"
            "    ex.submit(tasks.append, sys.argv[1], 'x')\n"
            "    raise ValueError('my mistake')\n"
        )
        with running(engine, code, str(tmp_path / "log")) as client:
            status, _, err = client.end(self.patience)
            assert status == 1
            assert "my mistake" in err
            assert not list(client.folder.iterdir())
        assert lines(tmp_path / "log") == ["x"]

    @pytest.mark.parametrize("work", ["python", "native"])
    def test_shutdown_by_ctrl_c_is_quick(self, engine: Engine, tmp_path: Path, work: str) -> None:
        """Ctrl-C while a person waits for hung work: KeyboardInterrupt, and nothing is left."""
        if work == "native" and not engine.capabilities.kills_native_code:
            # A call into C goes to its end here; Ctrl-C takes effect then.
            function, seconds = "tasks.nap_in_c, 1.0, ", self.patience
        else:
            function = "tasks.nap_in_c, 50.0, " if work == "native" else "tasks.spin, "
            seconds = self.bound
        code = f"with open_executor() as ex:\n    ex.submit({function}sys.argv[1]).result()\n"
        with running(engine, code, str(tmp_path / "started")) as client:
            pid_in(tmp_path / "started", self.patience)
            begin = time.monotonic()
            client.interrupt()
            status, _, err = client.end(self.patience)
            assert time.monotonic() - begin < seconds
            # An mpiexec that survives failures takes the end by a signal for one of them.
            assert status != 0 or client.launched
            assert "KeyboardInterrupt" in err
            assert not list(client.folder.iterdir())

    def test_shutdown_by_ctrl_c_at_interpreter_exit(self, engine: Engine, tmp_path: Path) -> None:
        """Ctrl-C while the interpreter waits for hung work at its exit ends it too."""
        code = "ex = open_executor()\nimport concurrent.futures as cf\ngate = cf.Future()\n"
        code += "ex.submit(tasks.after, gate, tasks.spin, sys.argv[1])\ngate.set_result(1)\n"
        code += "tasks.announce(sys.argv[1] + '.main')\n"
        with running(engine, code, str(tmp_path / "started")) as client:
            pid_in(tmp_path / "started", self.patience)
            pid_in(tmp_path / "started.main", self.patience)
            # The exit itself shows nothing to wait for; one press or, if it came too early, a second.
            begin = time.monotonic()
            while client.process.poll() is None and time.monotonic() - begin < self.bound:
                client.interrupt()
                settles(lambda: client.process.poll() is not None, 2.0)
            assert client.process.poll() is not None, "Ctrl-C does not end a script that waits at its exit"
            client.end(self.patience)

    def test_shutdown_by_sigkill_of_the_client_ends_workers(self, engine: Engine, tmp_path: Path) -> None:
        """When the client is killed, every process that it started is gone soon after, busy or not."""
        code = (
            "import numpy, time, concurrent.futures as cf\n"
            "ex = open_executor()\n"
            "ref = ex.put(numpy.zeros(1_000_000))\n"
            "assert ex.submit(len, ref).result() == 1_000_000\n"
            "gate = cf.Future()\n"
            "seconds = 0.2 if ex.capabilities.inline else 50.0\n"
            "busy = ex.target(0).submit(tasks.after, gate, tasks.nap_in_c, seconds, sys.argv[1])\n"
            "gate.set_result(1)\n"
            "time.sleep(60)\n"
        )

        def attempt(number: int) -> bool:
            memory = shared_memory()
            started = tmp_path / f"started-{number}"
            with running(engine, code, str(started)) as client:
                pid_in(started, self.patience)
                assert bool(client.helpers) == engine.capabilities.isolation
                client.kill()
                until(lambda: not client.helpers, 5.0, "the workers of a client that was killed are gone")
            left = shared_memory() - memory
            if not engine.capabilities.clean_when_killed:
                # What the engine names itself may stay; nothing of this library.
                left = frozenset(name for name in left if "parallactic" in name)
            return not left

        # What others got this very moment may not be in use yet.
        undisturbed(attempt, "no shared memory of a client that was killed is left")

    def test_shutdown_is_followed_by_new_runs(self, engine: Engine) -> None:
        """Executors one after the other, and two at the same time, do not disturb each other."""
        before = Snapshot.take()
        for number in range(2):
            with engine.open() as first, engine.open() as second:
                assert first.submit(tasks.identity, number).result(self.patience) == number
                assert second.submit(tasks.identity, -number).result(self.patience) == -number
                foreign = first.submit(tasks.identity, 5)
                assert second.submit(tasks.add, foreign, 1).result(self.patience) == 6
        before.assert_nothing_left(self.linger)
