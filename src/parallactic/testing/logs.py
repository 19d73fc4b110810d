"""What tasks log and print: how it reaches the client, one file for all, or a file for each worker."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallactic.errors import InvalidSpec, WorkerLost
from parallactic.executor import Executor
from parallactic.logs import formatter
from parallactic.testing import talk, tasks
from parallactic.testing.base import Contract, Start, needs_two_workers
from parallactic.testing.engine import Engine
from parallactic.testing.waiting import lines, until, worker_status

__all__ = ["LoggingContract"]

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (?P<level>\w+) +worker (?P<worker>\d+) (?P<host>\S+) "
    r"\[(?P<task>[^]]*)\] (?P<name>\S+): (?P<message>.*)"
)


class _Heard(logging.Handler):
    """Keeps the records that a logger of the client is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []
        self.setFormatter(formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self.format(record))

    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@contextlib.contextmanager
def _bare_root() -> Iterator[None]:
    """Have the root logger as a script finds it, without the handlers of a test runner."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


class LoggingContract(Contract):
    """Records carry worker, host and task, wherever they are sent."""

    @pytest.fixture
    def heard(self) -> Iterator[_Heard]:
        """Listen to the loggers of the client that tasks and their prints use."""
        handler = _Heard()
        loggers = [logging.getLogger(name) for name in (talk.LOGGER, "py.warnings", "parallactic.stdout")]
        for logger in loggers:
            logger.addHandler(handler)
        yield handler
        for logger in loggers:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)

    @needs_two_workers
    def test_logging_records_reach_the_client(self, ex: Executor, heard: _Heard) -> None:
        """With worker, host, task and run, to the logger of the same name, in the order they were made."""
        worker = ex.options(name="scan 7").target(1)
        for number in range(20):
            worker.submit(talk.say, f"clouds {number}")
        until(lambda: len(heard.records) == 20, self.patience, "the records are here")
        assert heard.messages() == [f"clouds {number}" for number in range(20)]
        record = heard.records[3]
        assert (record.name, record.levelno, record.funcName) == (talk.LOGGER, logging.WARNING, "say")
        assert record.process == worker_status(ex, 1).pid
        told = vars(record)
        assert (told["worker"], told["task"]) == (1, "scan 7")
        assert told["host"] == worker_status(ex, 1).host
        assert told["run"] == ex.status().name
        found = _LINE.fullmatch(heard.lines[3])
        assert found is not None
        assert found["task"] == "scan 7"

    def test_logging_extra_fields_come_along(self, ex: Executor, heard: _Heard) -> None:
        """Plain ones as they are, others as text; a field of the user's own may be called "task"."""
        extra = {"task": "mine", "scans": [1, 2], "gain": 0.5, "found": {"spw": 3}}
        ex.options(name="ours").submit(talk.say_with_extra, "look", extra).result(self.patience)
        until(lambda: heard.records, self.patience, "the record is here")
        told = vars(heard.records[0])
        assert (told["scans"], told["gain"], told["found"]) == ([1, 2], 0.5, {"spw": 3})
        assert repr(told["own"]) == "<local>" or told["own"] == "<local>"
        assert told["task"] == "ours"

    def test_logging_exceptions_come_with_their_traceback(self, ex: Executor, heard: _Heard) -> None:
        """As text under the message, with the lines of the worker."""
        ex.submit(talk.trip, "lost").result(self.patience)
        until(lambda: heard.records, self.patience, "the record is here")
        first, *rest = heard.lines[0].splitlines()
        assert "lost" in first
        assert rest[-1] == "LookupError: no antenna 7"
        assert any("in trip" in line for line in rest)

    def test_logging_threads_of_a_task_are_its_own(self, ex: Executor, heard: _Heard) -> None:
        """What a thread logs that a task has started names that task, where the process is the worker's."""
        ex.options(name="threaded").submit(talk.say_from_a_thread, "hello").result(self.patience)
        until(lambda: heard.records, self.patience, "the record is here")
        if ex.capabilities.isolation:
            assert vars(heard.records[0])["task"] == "threaded"

    def test_logging_warnings_are_records(self, ex: Executor, heard: _Heard) -> None:
        """Of the logger "py.warnings" where workers have processes of their own; else warnings."""
        with warnings.catch_warnings(record=True) as own:
            warnings.simplefilter("always")
            ex.options(name="odd one").submit(talk.warn, f"odd {os.urandom(4).hex()}").result(self.patience)
            if not ex.capabilities.isolation:
                assert [warning.category for warning in own] == [RuntimeWarning]
                return
        until(lambda: heard.records, self.patience, "the record is here")
        (record,) = heard.records
        assert record.name == "py.warnings"
        assert "RuntimeWarning: odd" in record.getMessage()
        assert vars(record)["task"] == "odd one"

    def test_logging_levels_of_the_client_hold_on_workers(self, start: Start, heard: _Heard) -> None:
        """A logger that was set to DEBUG in the client says DEBUG on workers; others as the root logger."""
        logging.getLogger(talk.LOGGER).setLevel(logging.DEBUG)
        ex = start()
        worker = ex.target(0)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            worker.submit(talk.say, "own", level).result(self.patience)
            worker.submit(talk.say, "below", level, f"{talk.LOGGER}.below").result(self.patience)
        worker.submit(talk.say, "quiet", 5).result(self.patience)
        worker.submit(talk.say, "end", logging.ERROR).result(self.patience)
        until(lambda: "end" in heard.messages(), self.patience, "the last record is here")
        assert heard.messages() == ["own", "below"] * 3 + ["end"]

    def test_logging_leaves_loggers_of_other_classes_to_their_library(self, start: Start) -> None:
        """A plain logger that is there before astropy is makes the import of astropy fail."""

        class Own(logging.Logger):
            pass

        loggers = logging.getLogger().manager.loggerDict
        loggers["own.library"] = Own("own.library", logging.INFO)
        try:
            found = start().submit(_class_of_logger, "own.library").result(self.patience)
        finally:
            del loggers["own.library"]
        assert found in ("", "Own")

    def test_logging_level_may_be_given(self, start: Start, heard: _Heard) -> None:
        """`log_level` is what workers send from; the client's own loggers have the last word."""
        ex = start(log_level="ERROR")
        if not ex.capabilities.isolation:
            logging.getLogger(talk.LOGGER).setLevel(logging.ERROR)
        for level in (logging.WARNING, logging.ERROR, logging.CRITICAL):
            ex.target(0).submit(talk.say, str(level), level).result(self.patience)
        until(lambda: "50" in heard.messages(), self.patience, "the last record is here")
        assert heard.messages() == ["40", "50"]

    @needs_two_workers
    def test_logging_to_one_file(self, start: Start, heard: _Heard, tmp_path: Path) -> None:
        """Lines of all workers, whole, each with time, level, worker, host and task; all there at the end."""
        path = tmp_path / "logs" / "all.log"
        ex = start(log=path)
        host = worker_status(ex, 0).host
        futures = [
            ex.options(name=f"scan {number}").submit(talk.chatter, number, 50, 3000) for number in range(8)
        ]
        ex.gather(futures, timeout=self.patience)
        ex.shutdown()
        found = [_LINE.fullmatch(line) for line in lines(path)]
        assert len(found) == 400
        for match in found:
            assert match is not None
            number = int(match["message"].partition("/")[0])
            assert match["message"].split()[1] == chr(ord("a") + number) * 3000
            assert (match["task"], match["level"], match["name"]) == (
                f"scan {number}",
                "WARNING",
                talk.LOGGER,
            )
            assert match["host"] == host
            assert int(match["worker"]) in range(self.workers)
        if ex.capabilities.isolation:
            assert not heard.records

    @needs_two_workers
    def test_logging_to_a_file_for_each_worker(self, start: Start, tmp_path: Path) -> None:
        """Named by the worker, in the run's folder or by a path; records of several lines stay together."""
        named = start(log=str(tmp_path / "by-{worker:02d}-of-{run}.log"), name="night 2")
        in_run = start(log="per-worker", run_dir=tmp_path / "run")
        for ex in (named, in_run):
            for number in range(2):
                ex.target(number).submit(talk.trip, f"from {number}").result(self.patience)
            ex.shutdown()
        for number in range(2):
            for path in (tmp_path / f"by-0{number}-of-night 2.log", tmp_path / "run" / f"log-{number}.txt"):
                first, *rest = lines(path)
                match = _LINE.fullmatch(first)
                assert match is not None
                assert (match["worker"], match["message"]) == (str(number), f"from {number}")
                assert rest[-1] == "    LookupError: no antenna 7"
                assert all(line.startswith("    ") for line in rest)

    def test_logging_of_two_runs_stays_apart(self, start: Start, tmp_path: Path) -> None:
        """Each run has its own file, also in one process."""
        runs = {name: start(log=tmp_path / f"{name}.log", name=name) for name in ("one", "two")}
        for name, ex in runs.items():
            ex.submit(talk.say, f"of {name}").result(self.patience)
        logging.getLogger(talk.LOGGER).warning("of the client")
        for name, ex in runs.items():
            ex.shutdown()
            (line,) = lines(tmp_path / f"{name}.log")
            assert line.endswith(f"of {name}")

    def test_logging_place_is_told_by_environment_and_file(
        self, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`PARALLACTIC_LOG` before the file, an argument before both."""
        config = tmp_path / "own.toml"
        config.write_text(f'log = "{tmp_path}/by-file.log"\nlog_level = "ERROR"\n')

        def logged(**options: object) -> None:
            with engine.open(config=config, **options) as ex:
                ex.submit(talk.say, "hello", logging.ERROR).result(self.patience)

        logged()
        monkeypatch.setenv("PARALLACTIC_LOG", f"{tmp_path}/by-variable.log")
        logged()
        logged(log=tmp_path / "by-argument.log")
        for name in ("file", "variable", "argument"):
            assert len(lines(tmp_path / f"by-{name}.log")) == 1

    def test_logging_beside_braces(
        self, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Braces of a folder that the log's name does not spell out are braces; a path needs no ending."""
        here = tmp_path / "night{1}"
        here.mkdir()
        monkeypatch.chdir(here)
        for options in ({"log": "./records"}, {"log": Path("more")}, {"log": "one-file", "run_dir": "run"}):
            with engine.open(**options) as ex:
                ex.submit(talk.say, "hello").result(self.patience)
        for name in ("records", "more", "run/log.txt"):
            assert len(lines(here / name)) == 1

    def test_logging_to_a_wrong_place_is_told(self, engine: Engine, tmp_path: Path) -> None:
        """Before anything starts, with what is near or what to do."""
        (tmp_path / "file").touch()
        for options, told in (
            ({"log": "per-workers"}, "did you mean 'per-worker'"),
            ({"log": "one-file"}, "run_dir"),
            ({"log": "logs/{wroker}.log"}, "did you mean 'worker'"),
            ({"log": "logs/{worker.log"}, "braces"),
            ({"log": "logs/{host:03d}.log"}, "cannot be filled in"),
            ({"log": tmp_path / "file" / "all.log"}, "cannot be written"),
            ({"log_level": "LOUD"}, "is not a level"),
            ({"log_output": "perhaps"}, "must be true or false"),
        ):
            with pytest.raises(InvalidSpec, match=told):
                engine.open(**options)

    def test_logging_to_a_full_disk_is_told_once(
        self, start: Start, heard: _Heard, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Records that cannot be written come to the client's logging; no task fails."""
        ex = start(log="/dev/full")
        for number in range(3):
            ex.target(0).submit(talk.say, f"clouds {number}").result(self.patience)
        until(lambda: len(heard.records) == 3, self.patience, "the records are here")
        assert heard.messages() == [f"clouds {number}" for number in range(3)]
        (told,) = [record for record in caplog.records if "cannot be written" in record.getMessage()]
        assert told.levelno == logging.ERROR
        assert "No space left" in told.getMessage()

    def test_logging_of_the_last_moment_arrives(self, start: Start, heard: _Heard) -> None:
        """What a worker logged before it was killed is not lost with it."""
        ex = start()
        if not ex.capabilities.isolation:
            return  # a worker cannot die alone
        assert isinstance(ex.submit(talk.log_and_die, "mayday").exception(self.patience), WorkerLost)
        until(lambda: "mayday" in heard.messages(), self.patience, "the record is here")

    def test_logging_of_forked_processes_does_no_harm(
        self, start: Start, heard: _Heard, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A process that a task has forked shares the worker's connection; it must not write to it."""
        ex = start()
        if not ex.capabilities.isolation:
            return  # a fork of a worker would be a fork of the client
        assert ex.target(0).submit(talk.fork_and_talk, 300).result(self.patience) == [0, 0, 0]
        assert ex.target(0).submit(tasks.where).result(self.patience)[:2] == (0, 0)
        until(lambda: len(heard.records) >= 300, self.patience, "the records are here")
        assert heard.messages() == [f"parent {number}" for number in range(300)]
        capfd.readouterr()

    def test_logging_of_what_is_printed(self, start: Start, engine: Engine, heard: _Heard) -> None:
        """With `log_output` also C libraries and programs speak in records, with the task's name."""
        if not engine.capabilities.output:
            with pytest.raises(InvalidSpec, match="log_output"):
                engine.open(log_output=True)
            return
        ex = start(log_output=True)
        for name in ("one", "two"):
            ex.options(name=name).target(0).submit(talk.talk_everywhere, name).result(self.patience)
        until(lambda: "program two" in heard.messages(), self.patience, "the last record is here")
        told = {(vars(record)["task"], record.getMessage()) for record in heard.records}
        for name in ("one", "two"):
            for what in ("python", "descriptor", "library", "program", "open end"):
                assert (name, f"{what} {name}") in told
        assert len(heard.records) == 10  # nothing came twice

    def test_logging_of_what_several_processes_print(
        self, start: Start, engine: Engine, heard: _Heard
    ) -> None:
        """Processes that a task has forked print beside it; every line comes once, and whole."""
        if not engine.capabilities.output:
            return  # refused, see above
        ex = start(log_output=True)
        ex.target(0).submit(talk.fork_and_talk, 200).result(self.patience)
        ex.shutdown()
        printed = Counter(record.getMessage() for record in heard.records if record.name != talk.LOGGER)
        expected = Counter(f"parent {number}" for number in range(200))
        expected += Counter({f"child {number}": 3 for number in range(200)})
        assert printed == expected

    def test_logging_to_nowhere(self, start: Start, heard: _Heard, capfd: pytest.CaptureFixture[str]) -> None:
        """With `log="none"` no record comes to the client, and none is printed."""
        ex = start(log="none")
        if not ex.capabilities.isolation:
            return  # the client's loggers are those of its tasks
        ex.submit(talk.say, "in a void").result(self.patience)
        ex.shutdown()
        assert not heard.records
        assert "in a void" not in "".join(capfd.readouterr())

    @needs_two_workers
    def test_logging_may_be_set_up_by_a_function(self, start: Start, tmp_path: Path) -> None:
        """`ex.setup(init_logging)` with `basicConfig` holds on every worker, also on one that comes later."""
        log = tmp_path / "shared.log"
        ex = start(log="none")
        with _bare_root():  # which is the workers' too, if they have no processes of their own
            ex.setup(talk.init_logging, str(log)).result(self.patience)
            for number in range(2):
                worker = ex.options(name="before").target(number)
                worker.submit(talk.say, f"from {number}").result(self.patience)
            self.replace(ex, 1, tmp_path)
            ex.options(name="after").target(1).submit(talk.say, "from the new 1").result(self.patience)
        text = log.read_text()
        for number, task, message in ((0, "before", "0"), (1, "before", "1"), (1, "after", "the new 1")):
            host = worker_status(ex, number).host
            assert f"{talk.LOGGER} WARNING [{number} {host} {task}] from {message}\n" in text


def _class_of_logger(name: str) -> str:
    logger = logging.getLogger().manager.loggerDict.get(name)
    return "" if logger is None else type(logger).__name__
