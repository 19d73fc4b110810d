"""The base of all tasks: checked calls, units of work, results."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import pytest

from inline import Inline
from parallactic.errors import InvalidSpec
from parallactic.tasks.base import (
    TASKS,
    ExecutorLike,
    SelectionParameters,
    StepFailed,
    TaskResult,
    run_units,
    signature_of,
    task,
    using,
)
from parallactic.tasks.quantity import Angle, quantity
from parallactic.tasks.units import Step, as_step, watch_units

Mode = Literal["manual", "clip", "tfcrop"]


@dataclass(kw_only=True)
class Outcome(TaskResult):
    """A result with a field of its own."""

    levels: Any = field(default_factory=lambda: np.array([1.5, np.nan]))


def _never_clip_zero(**parameters: Any) -> None:
    if parameters["mode"] == "clip" and not parameters["limits"]:
        raise InvalidSpec("sample: mode='clip' needs limits.")


@task(check=_never_clip_zero)
def sample(
    vis: str,
    mode: Mode = "manual",
    *,
    cell: Angle | list[Angle] = "1arcsec",
    count: int = 3,
    limits: list[float] | None = None,
    tables: str | list[str] = "",
    apply: bool = True,
    executor: ExecutorLike = None,
    **selection: Unpack[SelectionParameters],
) -> Outcome:
    """Try everything a task may have.

    The longer story.

    Parameters
    ----------
    vis : str
        Where the data are.
    mode, count
        Two parameters
        in one entry.

    Returns
    -------
    Outcome
        Not a parameter.
    """
    return Outcome(counts={"given": vis, "count": count, **selection}, warnings=["a [b] c"])


# Known only while a test of this file runs.
TASKS.remove("sample")


@pytest.fixture(autouse=True)
def _registered() -> Any:
    TASKS.add("sample", sample)  # type: ignore[arg-type]
    yield
    TASKS.remove("sample")


class WithOptions(Inline):
    """Remembers the options of every submit."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def options(self, **options: Any) -> WithOptions:
        self.seen.append(options)
        return self


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({}, ["needs 'vis'"]),
        ({"vis": "a", "mod": "clip"}, ["no parameter 'mod'", "did you mean 'mode'"]),
        ({"vis": "a", "feld": "3"}, ["'feld'", "did you mean 'field'"]),
        (
            {"vis": "a", "mode": "tfcrp"},
            ["mode='tfcrp'", "'manual', 'clip', 'tfcrop'", "did you mean 'tfcrop'"],
        ),
        ({"vis": 3}, ["vis=3", "a text"]),
        ({"vis": "a", "count": "x"}, ["count='x'", "a whole number"]),
        ({"vis": "a", "count": 1.5}, ["count=1.5", "a whole number"]),
        ({"vis": "a", "count": True}, ["count=True", "a whole number"]),
        ({"vis": "a", "limits": ["x"]}, ["limits=['x']", "a list of numbers or None"]),
        ({"vis": "a", "tables": 3}, ["tables=3", "a text or a list of texts"]),
        ({"vis": "a", "apply": "maybe"}, ["apply='maybe'", "true or false"]),
        ({"vis": "a", "cell": "1Jy"}, ["cell='1Jy'", "unit 'Jy'", "arcsec"]),
        ({"vis": "a", "cell": ["1arcsec", "1 asrcsec"]}, ["asrcsec", "did you mean 'arcsec'"]),
        ({"vis": "a", "executor": 3}, ["executor=3"]),
        ({"vis": "a", "mode": "clip"}, ["mode='clip' needs limits"]),
    ],
)
def test_a_wrong_call_is_one_sentence(call: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        sample(**call)
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence
    assert "pydantic" not in sentence


def test_a_call_by_position() -> None:
    with pytest.raises(InvalidSpec, match="takes 2 parameters by position, 3 were given"):
        sample("a", "manual", 3)  # type: ignore[call-arg]
    with pytest.raises(InvalidSpec, match="'vis' twice"):
        sample("a", vis="b")  # type: ignore[misc]
    assert sample("a", "manual").counts["given"] == "a"


def test_values_become_the_annotated_types(tmp_path: Path) -> None:
    result = sample(tmp_path, count=np.int64(7), scan=3, field=["3C286", 2])  # type: ignore[arg-type]
    assert result.counts == {"given": str(tmp_path), "count": 7, "scan": "3", "field": "3C286,2"}
    assert type(result.counts["count"]) is int


def test_the_signature_explains_itself() -> None:
    signature = signature_of(sample)
    assert signature.summary == "Try everything a task may have."
    assert signature.description == "The longer story."
    assert signature.parameters["vis"].help == "Where the data are."
    assert signature.parameters["count"].help == "Two parameters in one entry."
    assert "scan numbers" in signature.parameters["scan"].help.lower()
    assert signature.parameters["mode"].choices == ("manual", "clip", "tfcrop")
    assert set(SelectionParameters.__annotations__) <= set(signature.parameters)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "5", 5),
        ("vis", "2021", "2021"),
        ("vis", "true", "true"),
        ("apply", "false", False),
        ("limits", "1,0,2.5", [1.0, 0.0, 2.5]),
        ("limits", "[1, 2]", [1.0, 2.0]),
        ("tables", "a.cal,b.cal", "a.cal,b.cal"),
        ("tables", "['a', 'b']", ["a", "b"]),
        ("cell", "0.5arcsec", "0.5arcsec"),
    ],
)
def test_text_of_a_command_line(name: str, text: str, value: Any) -> None:
    assert signature_of(sample).parameters[name].parsed(text, "sample") == value


def test_an_unknown_task_has_a_near_match() -> None:
    with pytest.raises(InvalidSpec, match=r"no task 'sampel'; did you mean 'sample'"):
        TASKS.find("sampel")


def test_two_tasks_of_one_name_are_refused() -> None:
    def other() -> None:
        """Do nothing."""

    other.__name__ = "sample"
    other.__module__ = "elsewhere"
    with pytest.raises(TypeError, match="two tasks are called 'sample'"):
        task(other)


def test_the_result_prints_and_serialises(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "parallactic.tasks"):
        result = sample("a.ms", scan="1")
    assert result.task == "sample"
    assert result.seconds > 0
    loaded = json.loads(result.to_json())
    assert loaded["counts"] == {"given": "a.ms", "count": 3, "scan": "1"}
    assert loaded["levels"] == [1.5, None]
    assert "a [b] c" in str(result)
    assert "sample(vis='a.ms', scan='1') starts" in caplog.text
    assert "sample ended after" in caplog.text


def test_nested_values_are_readable() -> None:
    parts = [{"name": f"part{number}", "rows": 1000 * number, "share": 1 / 3} for number in range(25)]
    printed = str(
        TaskResult(task="cut", counts={"rows": 1234567, "by field": {"a": 1.0, "b": [1, 2]}, "parts": parts})
    )
    assert "1,234,567" in printed
    assert "a 1, b 1, 2" in printed
    assert "part19" in printed
    assert "19,000" in printed
    assert "0.333333" in printed
    assert "part20" not in printed
    assert "and 5 more" in printed


def _double(unit: int, offset: int) -> int:
    if unit < 0:
        raise ValueError(f"{unit} is below zero")
    time.sleep(0.002 * (5 - unit % 5))
    return 2 * unit + offset


def test_futures_are_watched_without_telling_their_errors() -> None:
    with ThreadPoolExecutor(2) as ex:
        futures = run_units(ex, _double, [1, -2, 3], 0, label="double", futures=True)
        watch_units(futures, "double")
        assert all(future.done() for future in futures)
    assert isinstance(futures[1].exception(), ValueError)


@pytest.mark.parametrize("make", [Inline, lambda: ThreadPoolExecutor(3)])
def test_partials_come_in_the_order_of_units(make: Any) -> None:
    with make() as ex:
        assert run_units(ex, _double, range(12), 1, label="double") == [2 * unit + 1 for unit in range(12)]
        futures = run_units(ex, _double, [1, 2], 0, label="double", futures=True)
        assert [future.result() for future in futures] == [2, 4]
    assert run_units(Inline(), _double, [], 0, label="nothing") == []


def test_failed_units_are_named_after_all_have_ended() -> None:
    done: list[int] = []

    def work(unit: int) -> None:
        done.append(unit)
        _double(unit, 0)

    with ThreadPoolExecutor(2) as ex, pytest.raises(StepFailed) as caught:
        run_units(ex, work, [1, -2, 3, -4], label="tfcrop")
    assert sorted(done) == [-4, -2, 1, 3]
    assert str(caught.value).startswith("tfcrop: 2 of 4 units failed. -2: ValueError: -2 is below zero; -4:")
    assert list(caught.value.failures) == ["-2", "-4"]
    assert isinstance(caught.value.__cause__, ValueError)


def test_many_failures_are_counted_not_listed() -> None:
    with pytest.raises(StepFailed, match=r"9 of 9 units failed.*and 6 more"):
        run_units(Inline(), _double, range(-9, 0), 0, label="all")


@dataclass(frozen=True)
class Write:
    """A unit that writes a path."""

    name: str
    path: str


def test_one_writer_per_path() -> None:
    busy: dict[str, int] = {}
    order: list[str] = []

    def work(unit: Write) -> str:
        assert busy.setdefault(unit.path, 0) == 0, "two writers at once"
        busy[unit.path] = 1
        time.sleep(0.01)
        order.append(unit.name)
        busy[unit.path] = 0
        return unit.name

    units = [Write(f"u{number}", f"sub{number % 2}") for number in range(8)]
    with ThreadPoolExecutor(8) as ex:
        assert run_units(ex, work, units, label="write", writes=lambda unit: unit.path) == [
            u.name for u in units
        ]
    for parity in (0, 1):
        mine = [name for name in order if int(name[1:]) % 2 == parity]
        assert mine == sorted(mine)


def test_units_carry_the_options_and_name_of_their_step() -> None:
    ex = WithOptions()
    with as_step(Step("flag_target", {"memory": "8GB"})) as step:
        run_units(ex, _double, [3, 4], 0, label="tfcrop")
    run_units(ex, _double, [5], 0, label="tfcrop")
    assert ex.seen == [
        {"memory": "8GB", "name": "flag_target: tfcrop 3"},
        {"memory": "8GB", "name": "flag_target: tfcrop 4"},
        {"name": "tfcrop 5"},
    ]
    assert step.units == 2


class Forced(Future[Any]):
    """A future that can be stopped while it runs."""

    forced = False

    def cancel(self, *, force: bool = False) -> bool:
        self.forced = force
        return super().cancel()


class Interrupted(Executor):
    """Never runs anything; Ctrl-C comes at the third submit."""

    def __init__(self) -> None:
        self.futures: list[Forced] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if len(self.futures) == 2:
            raise KeyboardInterrupt
        self.futures.append(Forced())
        return self.futures[-1]


def test_ctrl_c_cancels_the_rest() -> None:
    ex = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run_units(ex, _double, range(5), 0, label="double")
    assert all(future.cancelled() and future.forced for future in ex.futures)


def test_ctrl_c_lets_a_running_writer_finish() -> None:
    ex = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run_units(ex, _double, range(5), 0, label="double", writes=str)
    assert all(future.cancelled() and not future.forced for future in ex.futures)


def test_a_cancelled_unit_is_a_failure() -> None:
    class Cancelling(Inline):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    with pytest.raises(StepFailed, match="cancelled") as caught:
        run_units(Cancelling(), _double, [1], 0, label="double")
    assert isinstance(caught.value.__cause__, CancelledError)


def test_using_leaves_a_given_executor_open() -> None:
    with ThreadPoolExecutor(1) as ex:
        with using(ex) as same:
            assert same is ex
        assert ex.submit(int, "3").result() == 3


@pytest.mark.parametrize(
    ("value", "kind", "default", "expected"),
    [
        ("180deg", "angle", None, np.pi),
        ("0.5 arcsec", "angle", None, np.deg2rad(0.5 / 3600)),
        (0.5, "angle", "arcsec", np.deg2rad(0.5 / 3600)),
        ("0.5", "angle", "arcsec", np.deg2rad(0.5 / 3600)),
        ("-1.5e-3h", "time", None, -5.4),
        ("1.4GHz", "frequency", None, 1.4e9),
        ("2.5mJy", "flux density", None, 2.5e-3),
    ],
)
def test_quantities(value: Any, kind: Any, default: str | None, expected: float) -> None:
    # One multiplication or two of doubles: a few units in the last place.
    assert quantity(value, kind, default=default) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("value", ["", "arcsec", "1,5arcsec", "1.5 Arcsec", "1..5arcsec"])
def test_what_is_no_quantity(value: str) -> None:
    with pytest.raises(InvalidSpec, match="angle"):
        quantity(value, "angle")


@pytest.mark.parametrize("name", ["partition", "flag", "tclean", "setmodel"])
def test_a_name_means_the_task_even_after_its_module_was_imported(name: str) -> None:
    import parallactic.tasks as tasks

    module = import_module(f"parallactic.tasks.{name}")
    assert getattr(tasks, name) is getattr(module, name)
    assert getattr(tasks, name) is TASKS[name]


def test_the_package_is_light() -> None:
    heavy = "casacore numba astropy matplotlib ducc0 scipy rich typer"
    code = (
        "import sys, parallactic.tasks, parallactic.tasks.base\n"
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
