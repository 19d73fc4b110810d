"""What every part of the contract suite shares: backends, executors, and the check for leftovers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.engine import Engine, require, selected_backends
from parallactic.testing.leftovers import Snapshot, private_temporary_folder
from parallactic.testing.waiting import all_up, go, pid_in, until, worker_status

__all__ = ["WORKERS", "Contract", "Start", "needs_two_workers"]

WORKERS = "PARALLACTIC_TEST_WORKERS"
"""Variable with the number of workers of the executors under test; 2 without it."""

Start = Callable[..., Executor]
Test = TypeVar("Test", bound=Callable[..., None])


def needs_two_workers(test: Test) -> Test:
    """Mark a test that says nothing on an executor with a single worker; it is skipped there, and says so."""
    test.needs_two_workers = True  # type: ignore[attr-defined]
    return test


class Contract:
    """The base of the suite.

    Attributes
    ----------
    backend
        The backend under test. None: every one that `selected_backends` names.
    settings
        Settings that it is opened with.
    workers
        Number of workers, unless a test asks for another.
    patience
        Seconds after which something that must happen counts as not happening. No test takes that long
        where all is well.
    linger
        Seconds that processes, threads and files may take to go after a shutdown.
    bound
        Seconds within which a shutdown that kills must be over, on a host that does other things too.
    """

    backend: ClassVar[str | None] = None
    settings: ClassVar[Mapping[str, Any]] = {}
    workers: ClassVar[int] = int(os.environ.get(WORKERS, "2"))
    patience: ClassVar[float] = 30.0
    linger: ClassVar[float] = 5.0
    bound: ClassVar[float] = 8.0

    _shared: ClassVar[dict[str, Executor]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test once for each backend."""
        if "engine" in metafunc.fixturenames:
            names = [self.backend] if self.backend else selected_backends()
            metafunc.parametrize("engine", names, indirect=True)

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def leave_nothing_of_shared(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        """Close the executors that the tests of a class shared; nothing must be left of them."""
        tmp_path_factory.getbasetemp()  # settled before the temporary folder is another
        cls._shared = {}
        for name in [cls.backend] if cls.backend else selected_backends():
            Engine(name, cls.settings, cls.workers).warm_up()
        with private_temporary_folder():
            before = Snapshot.take()
            yield
            while cls._shared:
                cls._shared.popitem()[1].shutdown(kill=True)
            before.assert_nothing_left(cls.linger)

    @pytest.fixture
    def engine(self, request: pytest.FixtureRequest) -> Engine:
        """Give the backend under test."""
        require(request.param)
        if self.workers < 2 and hasattr(request.function, "needs_two_workers"):
            pytest.skip(f"needs two workers, and this run of the suite has {self.workers}")
        return Engine(request.param, self.settings, self.workers)

    @pytest.fixture(autouse=True)
    def leave_nothing(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Fail a test that opened executors of its own if something of them is left."""
        if "ex" in request.fixturenames or "engine" not in request.fixturenames:
            yield
            return
        before = Snapshot.take()
        yield
        before.assert_nothing_left(self.linger)

    @pytest.fixture
    def ex(self, engine: Engine) -> Iterator[Executor]:
        """Give an executor that the tests of a class share; they leave its workers as they are."""
        shared = self._shared.get(engine.name)
        if shared is None:
            shared = self._shared[engine.name] = engine.open()
            all_up(shared, self.patience)
        shared.target("all").submit(tasks.forget_everything).result(self.patience)
        yield shared
        if shared.status().tasks:
            # A test that failed may leave work behind, which must not disturb the next.
            del self._shared[engine.name]
            shared.shutdown(kill=True)

    @pytest.fixture
    def start(self, engine: Engine, leave_nothing: None) -> Iterator[Start]:
        """Open executors; they are shut down at the end of the test."""
        opened: list[Executor] = []

        def open_executor(**options: Any) -> Executor:
            opened.append(engine.open(**options))
            all_up(opened[-1], self.patience)
            return opened[-1]

        yield open_executor
        for executor in opened:
            executor.shutdown(kill=True)
        opened.clear()

    def replace(self, executor: Executor, worker: int, folder: Path) -> None:
        """Have a worker replaced, on any backend, by stopping a task that runs on it by force."""
        before = worker_status(executor, worker).epoch
        started = folder / f"doomed-{worker}-{before}"
        doomed = go(executor.target(worker), tasks.spin, str(started))
        pid_in(started, self.patience)
        assert doomed.cancel(force=True)

        def replaced() -> bool:
            now = worker_status(executor, worker)
            return now.epoch > before and now.state in ("idle", "busy")

        until(replaced, self.patience, f"worker {worker} has been replaced")
