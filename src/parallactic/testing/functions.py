"""How functions reach a worker: from modules, `__main__`, notebooks, as lambdas and closures."""

from __future__ import annotations

import functools
import math
import operator
import types
from pathlib import Path
from typing import Any

import pytest

from parallactic.errors import InvalidSpec
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.scripts import running
from parallactic.testing.waiting import lines

__all__ = ["FunctionsContract"]

_SCRIPT = """\
import math
OFFSET = 10

class Point:
    def __init__(self, x):
        self.x = x
    def moved(self, by):
        return Point(self.x + by)

def shift(value):
    return value + OFFSET

def factorial(n):
    return 1 if n == 0 else n * factorial(n - 1)

with open_executor() as ex:
    print(ex.submit(shift, 1).result())
    print(ex.submit(lambda v: shift(v) * 2, 1).result())
    OFFSET = 20
    print(ex.submit(shift, 1).result())
    print(ex.submit(factorial, 5).result())
    print(ex.submit(Point(1).moved, 2).result().x)
    print(isinstance(ex.submit(Point, 3).result(), Point))
    print(list(ex.map(shift, range(3))))
    print(ex.target(0).submit(math.sqrt, 16.0).result())
"""
_PRINTS = ["11", "22", "21", "120", "3", "True", "[20, 21, 22]", "4.0"]


class Loud:
    """Notes in a file each time it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        tasks.append(self.path, "unpickled")


class FunctionsContract(Contract):
    """Whatever can be called can be submitted."""

    @pytest.mark.parametrize("how", ["file", "stdin", "command"])
    def test_functions_of_main_need_no_guard(self, engine: Engine, how: str) -> None:
        """A script without a main guard, from a file, from standard input, by ``python -c``."""
        with running(engine, _SCRIPT, how=how) as client:
            status, out, err = client.end(self.patience)
        assert (status, err) == (0, "")
        assert out.split("\n")[:-1] == _PRINTS

    def test_functions_may_be_lambdas_and_closures(self, ex: Executor) -> None:
        """What they capture comes along."""
        factor = 3

        def scale(value: int) -> int:
            return value * factor

        assert ex.submit(lambda: factor).result(self.patience) == 3
        assert ex.submit(scale, 4).result(self.patience) == 12
        factor = 5
        assert ex.submit(scale, 4).result(self.patience) == 20
        assert list(ex.map(lambda v: v + factor, range(3))) == [5, 6, 7]

    def test_functions_may_be_anything_callable(self, ex: Executor) -> None:
        """Built-ins, partials, methods, classes, instances with ``__call__``."""
        for function, args, expected in (
            (math.hypot, (3, 4), 5.0),
            (max, ([1, 3, 2],), 3),
            (operator.add, (1, 2), 3),
            (functools.partial(pow, 2), (5,), 32),
            ("a,b".split, (",",), ["a", "b"]),
            (dict, ([("a", 1)],), {"a": 1}),
            (operator.itemgetter(1), ([5, 6],), 6),
            (_Adder(10), (1,), 11),
            (_Adder(10).add, (1,), 11),
            (_Adder.make, (4,), 4),
            (str.upper, ("x",), "X"),
        ):
            assert ex.submit(function, *args).result(self.patience) == expected

    def test_functions_of_a_notebook_work(self, ex: Executor) -> None:
        """Code that was run by ``exec`` in a module that no file holds, with classes and imports."""
        cell = types.ModuleType("__main__")
        code = "import math\nclass Gain(float): pass\nSCALE = 2\n"
        code += "def solve(x): return Gain(math.sqrt(x) * SCALE)\n"
        exec(code, cell.__dict__)
        value = ex.submit(cell.solve, 9.0).result(self.patience)
        assert value == 6.0
        assert type(value).__name__ == "Gain"

    def test_functions_see_their_globals_as_they_are_at_submit(self, ex: Executor) -> None:
        """Globals that change between two submits, with the function the same object, are the new ones."""
        cell: dict[str, Any] = {"__name__": "__main__"}
        exec("level = 1\ndef read(): return level\n", cell)
        read = cell["read"]
        assert ex.target("all").submit(read).result(self.patience) == [1] * self.workers
        cell["level"] = 2
        assert ex.target("all").submit(read).result(self.patience) == [2] * self.workers
        cell["level"] = 1
        assert ex.target("all").submit(read).result(self.patience) == [1] * self.workers

    def test_functions_may_be_defined_again(self, ex: Executor) -> None:
        """The same name with other code is another function."""
        cell: dict[str, Any] = {"__name__": "__main__"}
        for number in range(3):
            exec(f"def answer(): return {number}\n", cell)
            assert ex.submit(cell["answer"]).result(self.patience) == number

    @needs_two_workers
    def test_functions_are_deduplicated_by_what_they_are(self, start: Start, tmp_path: Path) -> None:
        """A function that goes by value is unpickled once for each worker, not once for each task."""
        ex = start()
        loud = Loud(str(tmp_path / "log"))

        def use(value: int) -> int:
            return value + (loud is None)

        futures = [ex.target(number % 2).submit(use, number) for number in range(20)]
        assert ex.gather(futures, timeout=self.patience) == list(range(20))
        assert 1 <= len(lines(tmp_path / "log")) <= self.workers

    def test_functions_must_be_callable(self, ex: Executor) -> None:
        """Anything else is InvalidSpec at once."""
        for wrong in (None, 3, "print"):
            with pytest.raises(InvalidSpec, match="needs a function"):
                ex.submit(wrong)  # type: ignore[arg-type]

    def test_functions_get_every_keyword(self, ex: Executor) -> None:
        """`submit` reserves none, not even its own names."""
        names = ("self", "fn", "function", "name", "timeout", "retries", "target", "worker", "args", "kwargs")
        args, kwargs = ex.submit(tasks.echo, 1, **dict.fromkeys(names, 2)).result(self.patience)
        assert args == (1,)
        assert kwargs == dict.fromkeys(names, 2)
        _, kwargs = ex.target(0).submit(tasks.echo, **dict.fromkeys(names, 3)).result(self.patience)
        assert kwargs == dict.fromkeys(names, 3)

    def test_functions_that_a_worker_cannot_import_are_told(self, ex: Executor) -> None:
        """A function of a module that only the client has is an ImportError of the task, not a hang."""
        import sys
        from importlib.machinery import ModuleSpec

        module = types.ModuleType("plx_only_here")
        module.__spec__ = ModuleSpec("plx_only_here", None)
        exec("def f(): return 1\n", module.__dict__)
        sys.modules["plx_only_here"] = module
        try:
            future = ex.submit(module.f)
            if ex.capabilities.isolation:
                error = future.exception(self.patience)
                assert isinstance(error, ImportError)
                assert "plx_only_here" in str(error)
            else:
                assert future.result(self.patience) == 1
        finally:
            del sys.modules["plx_only_here"]

    @needs_two_workers
    def test_functions_may_ask_which_worker_they_run_on(self, ex: Executor) -> None:
        """`plx.worker()` and `plx.namespace()` answer in a task, and are InvalidSpec outside."""
        import parallactic

        info = ex.options(name="who").target(1).submit(_who).result(self.patience)
        assert info == (1, 0, ex.backend, "who", True)
        with pytest.raises(InvalidSpec, match="outside"):
            parallactic.worker()
        with pytest.raises(InvalidSpec, match="outside"):
            parallactic.namespace()


class _Adder:
    def __init__(self, base: int) -> None:
        self.base = base

    def __call__(self, value: int) -> int:
        return self.base + value

    def add(self, value: int) -> int:
        return self.base + value

    @classmethod
    def make(cls, value: int) -> int:
        return cls(value).base


def _who() -> tuple[int, int, str, str, bool]:
    import parallactic

    info = parallactic.worker()
    return info.id, info.epoch, info.backend, info.name, info.cores >= 1
