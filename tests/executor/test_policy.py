"""The core's decisions, event by event: what the timing of a real engine would hide."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError

import pytest
from scripted import Script

from parallactic.backend import Broken, Heartbeat, Lost, Spared
from parallactic.dispatch.fleet import Fleet
from parallactic.dispatch.journal import read_journal
from parallactic.errors import BackendUnavailable, StateLost, TaskTimeout, WorkerLost

Play = Callable[..., Script]


def ends(script: Script) -> list[tuple[int, str]]:
    """Return number and state of every task that the journal says has ended."""
    script.ex.shutdown(kill=True)
    journal = read_journal(script.ex.run_dir / "journal.jsonl")
    return [(entry["task"], entry["state"]) for entry in journal if entry["event"] == "end"]


class TestHandingOut:
    def test_one_untargeted_task_is_in_flight_on_each_worker(self, script: Script) -> None:
        futures = [script.ex.submit(abs, -n) for n in range(5)]
        script.settle()
        assert [e.worker for e in script.backend.launched] in ([0, 1], [1, 0])
        script.backend.finish(script.backend.launched[0])
        script.settle()
        assert len(script.backend.launched) == 3
        assert script.backend.launched[2].worker == script.backend.launched[0].worker
        assert futures[0].done()

    def test_what_is_ready_in_one_pass_is_one_launch(self, script: Script) -> None:
        go_on = script.pause()
        for number in range(4):
            script.ex.target(number % 2).submit(abs, -number)
        go_on.set()
        script.settle()
        assert [len(batch) for batch in script.backend.batches] == [4]

    def test_a_lane_is_handed_over_ahead_in_order(self, script: Script) -> None:
        target = script.ex.target(0)
        numbers = [target.submit(abs, -n).task for n in range(12)]
        script.settle()
        ahead = [e.task for e in script.backend.launched]
        assert ahead == numbers[: len(ahead)]
        assert len(ahead) > 1

    def test_nothing_is_handed_over_behind_a_task_that_may_run_again(self, script: Script) -> None:
        script.ex.options(retries=1).target(0).submit(abs, -1)
        script.ex.target(0).submit(abs, -2)
        script.settle()
        assert [e.attempt for e in script.backend.launched] == [1]
        script.backend.fail(script.backend.launched[0], ValueError("once"))
        script.settle()
        assert [(e.task, e.attempt) for e in script.backend.launched[1:]] == [
            (script.backend.launched[0].task, 2)
        ]
        script.backend.finish(script.backend.launched[1])
        script.settle()
        assert len(script.backend.launched) == 3

    def test_an_older_untargeted_task_goes_before_a_younger_one_of_a_lane(self, script: Script) -> None:
        go_on = script.pause()
        blockers = [script.ex.target(n).submit(abs, -1).task for n in range(2)]
        older = script.ex.submit(abs, -2).task
        younger = [script.ex.target(n).submit(abs, -3).task for n in range(2)]
        go_on.set()
        script.settle()
        first, second = script.backend.launched[:2]
        assert {first.task, second.task} == set(blockers)
        script.backend.finish(first)
        script.settle()
        order = [e.task for e in script.backend.launched[2:]]
        assert order.index(older) < min(order.index(task) for task in younger if task in order)


class TestLateNews:
    def test_a_result_that_meets_a_forced_cancel_is_dropped(self, script: Script) -> None:
        """The result is on its way when the future is cancelled: the worst moment, made certain."""
        future = script.ex.submit(abs, -1)
        script.settle()
        go_on = script.pause()
        script.backend.finish(script.backend.launched[0])
        assert future.cancel(force=True)
        go_on.set()
        script.settle()
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result(0)
        after = script.ex.submit(abs, -2)
        script.settle()
        script.backend.finish(script.backend.launched[-1])
        assert after.result(10) == 2
        assert ends(script) == [(future.task, "cancelled"), (after.task, "finished")]

    def test_an_error_that_meets_a_forced_cancel_is_dropped(self, script: Script) -> None:
        future = script.ex.submit(abs, -1)
        script.settle()
        go_on = script.pause()
        script.backend.fail(script.backend.launched[0], ValueError("late"))
        assert future.cancel(force=True)
        go_on.set()
        script.settle()
        with pytest.raises(CancelledError):
            future.exception(0)
        assert ends(script) == [(future.task, "cancelled")]

    def test_a_death_that_meets_a_forced_cancel_changes_nothing(self, script: Script) -> None:
        future = script.ex.submit(abs, -1)
        script.settle()
        (envelope,) = script.backend.launched
        go_on = script.pause()
        script.backend.down(envelope.worker or 0, 0, (envelope.task, 1))
        assert future.cancel(force=True)
        go_on.set()
        script.settle()
        assert future.cancelled()
        assert ends(script) == [(future.task, "cancelled")]

    def test_a_slot_is_given_back_once(self, play: Play) -> None:
        script = play(max_pending=1)
        for _ in range(3):
            future = script.ex.submit(abs, -1)
            script.settle()
            go_on = script.pause()
            script.backend.finish(script.backend.launched[-1])
            future.cancel(force=True)
            go_on.set()
            script.settle()
            # If the worker is to be killed for it, it was too late.
            script.say(Spared(script.backend.launched[-1].worker or 0, 0))
        slots = script.ex._dispatcher.slots
        assert slots is not None
        assert slots._free == 1

    def test_a_second_result_of_the_same_attempt_is_dropped(self, script: Script) -> None:
        future = script.ex.submit(abs, -1)
        script.settle()
        outcome = script.backend.launched[0]
        script.backend.finish(outcome)
        script.backend.finish(outcome)
        script.settle()
        assert future.result(10) == 1
        assert ends(script) == [(future.task, "finished")]

    def test_the_result_of_an_attempt_that_was_given_up_is_dropped(self, script: Script) -> None:
        future = script.ex.options(retries=1).submit(abs, -1)
        script.settle()
        first = script.backend.launched[0]
        script.backend.down(first.worker or 0, 0, (first.task, 1))
        script.settle()
        script.backend.finish(first)
        script.settle()
        assert not future.done()
        script.backend.finish(script.backend.launched[1])
        assert future.result(10) == 1


class TestDeaths:
    def lane(self, script: Script, count: int = 4) -> list[int]:
        """Hand tasks of one lane over; the state is kept, so that they may run again."""
        target = script.ex.target(0)
        setup = target.setup(abs, -100)
        script.settle()
        script.backend.finish(script.backend.launched[0])
        assert setup.result(10) == 100
        self.futures = [target.submit(abs, -n) for n in range(count)]
        script.settle()
        return [future.task for future in self.futures]

    def replay(self, script: Script) -> list[int]:
        """Bring the worker back; return the tasks that were handed over after the replay of its setup."""
        before = len(script.backend.launched)
        script.backend.up(0, 1)
        script.settle()
        (replay,) = script.backend.launched[before:]
        script.backend.finish(replay)
        script.settle()
        return [e.task for e in script.backend.launched[before + 1 :]]

    @pytest.mark.parametrize(("begun", "lost"), [(None, 1), (0, 1), (2, 3)], ids=["unknown", "head", "third"])
    def test_what_had_begun_is_lost_and_the_rest_goes_back_in_order(
        self, script: Script, begun: int | None, lost: int
    ) -> None:
        """Without word about what had begun, the head counts as begun: at most once is the promise."""
        tasks = self.lane(script)
        started = None if begun is None else (tasks[begun], 1)
        script.backend.down(0, 0, started)
        script.settle()
        errors = [future.exception(10) for future in self.futures[:lost]]
        assert all(isinstance(error, WorkerLost) for error in errors)
        assert not any(future.done() for future in self.futures[lost:])
        assert self.replay(script) == tasks[lost:]

    def test_nothing_had_begun_and_nothing_is_lost(self, script: Script) -> None:
        tasks = self.lane(script)
        script.backend.down(0, 0, (0, 0))
        script.settle()
        assert not any(future.done() for future in self.futures)
        assert self.replay(script) == tasks

    def test_results_that_arrive_before_the_death_count(self, script: Script) -> None:
        tasks = self.lane(script)
        head = script.backend.launched[1]
        script.backend.finish(head)
        script.backend.down(0, 0, (tasks[1], 1))
        script.settle()
        assert self.futures[0].result(10) == 0
        assert isinstance(self.futures[1].exception(10), WorkerLost)
        assert self.replay(script) == tasks[2:]

    def test_without_setup_the_lane_is_lost_aloud(self, script: Script) -> None:
        target = script.ex.target(0)
        futures = [target.submit(abs, -n) for n in range(12)]
        script.settle()
        head = script.backend.launched[0]
        script.backend.down(0, 0, (head.task, 1))
        script.settle()
        kinds = [type(future.exception(10)) for future in futures]
        assert kinds == [WorkerLost] + [StateLost] * 11

    def test_the_other_lane_is_untouched(self, script: Script) -> None:
        self.lane(script)
        others = [script.ex.target(1).submit(abs, -n) for n in range(3)]
        script.settle()
        script.backend.down(0, 0, (0, 0))
        script.settle()
        for envelope in [e for e in script.backend.launched if e.worker == 1]:
            script.backend.finish(envelope)
        assert [future.result(10) for future in others] == [0, 1, 2]

    def test_a_loss_without_a_death_is_told(self, script: Script) -> None:
        future = script.ex.submit(abs, -1)
        script.settle()
        (envelope,) = script.backend.launched
        script.say(Lost(envelope.task, 1, "preempted", "the queue wanted its node back.", "last words"))
        error = future.exception(10)
        assert isinstance(error, WorkerLost)
        assert (error.cause, error.log_tail) == ("preempted", "last words")

    def test_no_worker_can_be_had_any_more(self, script: Script) -> None:
        futures = [script.ex.submit(abs, -n) for n in range(5)]
        script.say(Broken("the cluster is gone."))
        for future in futures:
            assert isinstance(future.exception(10), BackendUnavailable)
        with pytest.raises(BrokenExecutor, match="the cluster is gone"):
            script.ex.submit(abs, -1)

    def test_a_backend_that_fails_leaves_nobody_waiting(
        self, script: Script, caplog: pytest.LogCaptureFixture
    ) -> None:
        script.backend.problem = OSError("no route to the engine")
        future = script.ex.submit(abs, -1)
        error = future.exception(10)
        assert isinstance(error, BackendUnavailable)
        assert isinstance(error.__cause__, OSError)
        with pytest.raises(BackendUnavailable, match="no route"):
            script.ex.submit(abs, -1).result(10)
        assert "the dispatcher of run" in caplog.text


class TestSilence:
    def test_a_worker_whose_beats_stop_gets_no_new_work(
        self, script: Script, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Fleet, "MISSED_BEATS_SECONDS", 0.05)
        script.say(Heartbeat(0, 0))
        end = time.monotonic() + 10
        while script.ex.status().workers[0].state != "unresponsive" and time.monotonic() < end:
            time.sleep(0.01)
        assert [worker.state for worker in script.ex.status().workers] == ["unresponsive", "idle"]
        futures = [script.ex.submit(abs, -n) for n in range(2)]
        script.settle()
        assert [e.worker for e in script.backend.launched] == [1]
        script.say(Heartbeat(0, 0))
        assert [e.worker for e in script.backend.launched] == [1, 0]
        assert not any(future.done() for future in futures)

    def test_beats_of_an_old_epoch_are_not_heard(self, script: Script) -> None:
        script.backend.down(0, 0)
        script.backend.up(0, 1)
        script.say(Heartbeat(0, 0, "stopped"))
        assert script.ex.status().workers[0].state == "idle"
        script.say(Heartbeat(0, 1, "stopped"))
        assert script.ex.status().workers[0].state == "unresponsive"


class TestStopping:
    def test_force_kills_the_worker_of_the_head(self, script: Script) -> None:
        future = script.ex.target(0).submit(abs, -1)
        script.settle()
        assert future.cancel(force=True)
        script.settle()
        assert script.backend.kills == [(future.task, 1, 0)]
        assert script.backend.skips == []

    def test_force_withdraws_what_was_handed_over_and_not_begun(self, script: Script) -> None:
        head, behind = [script.ex.target(0).submit(abs, -n) for n in range(2)]
        script.settle()
        assert behind.cancel(force=True)
        script.settle()
        assert script.backend.kills == []
        assert script.backend.skips == [(behind.task, 1, 0)]
        script.backend.skip(behind.task, 1, 0)
        script.backend.finish(script.backend.launched[0])
        assert head.result(10) == 0

    def test_what_could_not_be_withdrawn_is_killed_when_it_begins(self, script: Script) -> None:
        head, behind = [script.ex.target(0).submit(abs, -n) for n in range(2)]
        script.settle()
        assert behind.cancel(force=True)
        script.settle()
        script.backend.finish(script.backend.launched[0])
        script.settle()
        assert head.result(10) == 0
        assert script.backend.kills == [(behind.task, 1, 0)]

    def test_a_worker_that_is_to_be_killed_gets_no_work(self, script: Script) -> None:
        future = script.ex.target(0).submit(abs, -1)
        script.settle()
        future.cancel(force=True)
        more = [script.ex.submit(abs, -n) for n in range(3)]
        script.settle()
        assert [e.worker for e in script.backend.launched[1:]] == [1]
        assert not any(other.done() for other in more)

    def test_a_worker_that_was_spared_works_on(self, script: Script) -> None:
        future = script.ex.target(0).submit(abs, -1)
        script.settle()
        future.cancel(force=True)
        script.backend.finish(script.backend.launched[0])
        script.say(Spared(0, 0))
        again = script.ex.target(0).submit(abs, -2)
        script.settle()
        script.backend.finish(script.backend.launched[1])
        assert again.result(10) == 2

    def test_a_worker_that_was_to_be_killed_for_what_had_not_begun_works_on(self, script: Script) -> None:
        future = script.ex.target(0).submit(abs, -1)
        script.settle()
        future.cancel(force=True)
        script.settle()
        script.backend.skip(*script.backend.kills[0])
        again = script.ex.target(0).submit(abs, -2)
        script.settle()
        script.backend.finish(script.backend.launched[1])
        assert again.result(10) == 2

    def test_time_that_is_up_fails_the_future_at_once(self, script: Script) -> None:
        """The person does not wait for the worker's death; what it still says is dropped."""
        future = script.ex.options(timeout=0.05).submit(abs, -1)
        assert isinstance(future.exception(10), TaskTimeout)
        script.settle()
        (envelope,) = script.backend.launched
        assert script.backend.kills == [(envelope.task, 1, envelope.worker)]
        script.backend.finish(envelope)
        script.settle()
        assert isinstance(future.exception(0), TaskTimeout)

    def test_time_of_what_was_handed_over_begins_when_its_turn_comes(self, script: Script) -> None:
        limited = script.ex.options(timeout=0.2).target(0)
        head = script.ex.target(0).submit(abs, -1)
        behind = limited.submit(abs, -2)
        script.settle()
        time.sleep(0.3)
        assert not behind.done()
        script.backend.finish(script.backend.launched[0])
        assert head.result(10) == 1
        assert isinstance(behind.exception(10), TaskTimeout)
