"""Running recipes: what is done, what is left, and what happens when a step fails."""

from __future__ import annotations

import json
import logging
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest

import parallactic as plx
from parallactic.errors import InvalidSpec
from parallactic.pipeline import RunFailed
from parallactic.tasks.base import TASKS, StepFailed


def _events(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "logs" / "steps.jsonl").read_text().splitlines()]


def test_a_recipe_runs(recipe: Path, data: Path, inline: Executor) -> None:
    result = plx.run(recipe, executor=inline)
    assert (data / "out-a/loud/lines").read_text() == "ONE\nTWO\nTHREE\nquick-n{a}-2\nquick-n{a}-2"
    assert [step.state for step in result.steps] == ["done", "done", "not run"]
    assert result.ok
    assert result.steps[0].units == 3
    assert result["shout"].counts == {"lines": 3}
    assert result.steps[1].warnings == ["marked"]
    assert result.seconds >= sum(step.seconds for step in result.steps) > 0
    printed = str(result)
    assert all(word in printed for word in ("mark_all", "lines 3", "not run", "marked", "out-a"))


def test_what_a_run_leaves(recipe: Path, data: Path, inline: Executor) -> None:
    result = plx.run(recipe, executor=inline)
    assert result.logs.parent == data / "out-a" / "logs"
    assert json.loads((result.logs / "result.json").read_text()) == json.loads(result.to_json())
    plan = json.loads((result.logs / "plan.json").read_text())
    assert plan["variables"]["label"] == "a"
    assert "step 1 of 3, shout" in (result.logs / "run.log").read_text()
    events = _events(data / "out-a")
    assert [(event["event"], event["step"]) for event in events] == [
        ("started", "shout"),
        ("done", "shout"),
        ("started", "mark_all"),
        ("done", "mark_all"),
    ]
    assert {event["run"] for event in events} == {result.logs.name}
    assert events[1]["made"] == [str(data / "out-a" / "loud")]
    assert events[3]["made"] == [], "data that were changed in place were not made by the step"
    assert logging.getLogger("parallactic").handlers == []


def test_a_failed_step_stops_the_run(recipe: Path, data: Path, inline: Executor) -> None:
    (data / "obs" / "lines").write_text("one poison three")
    with pytest.raises(RunFailed) as caught:
        plx.run(recipe, executor=inline)
    sentence = str(caught.value)
    for words in (
        "step 1 of 3, 'shout' (shout)",
        "1 of 3 units failed",
        "poison: ValueError: this line",
        "run.log",
    ):
        assert words in sentence
    assert isinstance(caught.value.__cause__, StepFailed)
    result = caught.value.result
    assert result is not None
    assert [step.state for step in result.steps] == ["failed", "not run", "not run"]
    assert not result.ok
    assert not (data / "out-a" / "loud").exists()
    assert "Traceback" in (result.logs / "run.log").read_text()
    assert json.loads((result.logs / "result.json").read_text())["steps"][0]["state"] == "failed"
    assert _events(data / "out-a")[-1]["event"] == "failed"


def test_ctrl_c_is_recorded_and_goes_on(
    recipe: Path, data: Path, inline: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(TASKS._loaded, "mark", _as_task(interrupted))
    with pytest.raises(KeyboardInterrupt):
        plx.run(recipe, executor=inline)
    assert [event["event"] for event in _events(data / "out-a")] == [
        "started",
        "done",
        "started",
        "interrupted",
    ]
    (result,) = (data / "out-a" / "logs").glob("*/result.json")
    assert json.loads(result.read_text())["steps"][1]["state"] == "interrupted"


def _as_task(function: Any) -> Any:
    function.signature, function.check = TASKS["mark"].signature, None
    return function


def test_overwrite_removes_what_the_step_made_and_nothing_else(
    recipe: Path, data: Path, inline: Executor
) -> None:
    plx.run(recipe, executor=inline)
    with pytest.raises(InvalidSpec, match="--overwrite"):
        plx.run(recipe, executor=inline)
    (data / "out-a" / "mine.txt").write_text("keep")
    (data / "out-a" / "loud.flagversions").mkdir()
    result = plx.run(recipe, executor=inline, overwrite=True)
    assert result.ok
    assert (data / "out-a" / "mine.txt").read_text() == "keep"
    assert (data / "obs" / "lines").read_text() == "one two three"
    assert (data / "out-a/loud/lines").read_text().count("quick") == 2
    removed = [event for event in _events(data / "out-a") if event["event"] == "removed"]
    loud = str(data / "out-a" / "loud")
    assert [event["products"] for event in removed] == [[loud, f"{loud}.flagversions"]]


def test_overwrite_never_leaves_the_output_folder(recipe: Path, data: Path, inline: Executor) -> None:
    plx.run(recipe, set=["loud=elsewhere"], executor=inline)
    with pytest.raises(RunFailed, match="exists already"):
        plx.run(recipe, set=["loud=elsewhere"], executor=inline, overwrite=True)
    assert (data / "elsewhere" / "lines").exists()


def test_a_record_cut_short_is_read(recipe: Path, data: Path, inline: Executor) -> None:
    plx.run(recipe, executor=inline)
    with (data / "out-a" / "logs" / "steps.jsonl").open("a") as file:
        file.write('{"at": "2026-')
    assert plx.run(recipe, executor=inline, overwrite=True).ok


def test_an_output_that_cannot_be_written(recipe: Path, data: Path, inline: Executor) -> None:
    (data / "file").write_text("not a folder")
    with pytest.raises(InvalidSpec, match=r"output folder .*file/out.* cannot be written: Not a directory"):
        plx.run(recipe, output=data / "file" / "out", executor=inline)


def test_a_recipe_given_as_a_dictionary(data: Path, inline: Executor) -> None:
    result = plx.run(
        {"recipe": {"name": "small"}, "step": [{"task": "mark", "vis": "obs", "times": 3}]}, executor=inline
    )
    assert result.output == data / "small-output"
    assert (data / "obs" / "lines").read_text().count("quick") == 3


@pytest.mark.parametrize(
    ("backend", "workers"),
    [("serial", 1), ("multiprocessing", 1), ("multiprocessing", 2), ("multiprocessing", 4)],
)
def test_one_executor_for_the_whole_run(recipe: Path, data: Path, backend: str, workers: int) -> None:
    result = plx.run(recipe, backend=backend, workers=workers, set={"mark_all.resources.cores": 1})
    assert result.executor == f"{backend}, {workers} worker{'s' if workers > 1 else ''}"
    assert (data / "out-a/loud/lines").read_text() == "ONE\nTWO\nTHREE\nquick-n{a}-2\nquick-n{a}-2"
    journal = (result.logs / "executor" / "journal.jsonl").read_text()
    assert all(f"shout: shout {word}" in journal for word in ("one", "two", "three"))


def test_resources_that_the_backend_never_has(recipe: Path, data: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"loud\.toml, step 2 'mark_all', key 'resources': .*100000"):
        plx.run(recipe, backend="serial", set={"mark_all.resources.cores": 100_000})
    assert not (data / "out-a" / "loud").exists()


def test_a_backend_that_cannot_be_had_leaves_nothing(recipe: Path, data: Path) -> None:
    # Without SLURM's commands it cannot be had at all, and with them not without a time limit.
    with pytest.raises((plx.BackendUnavailable, InvalidSpec), match="slurm"):
        plx.run(recipe, backend="slurm")
    with pytest.raises(InvalidSpec, match="workers"):
        plx.run(recipe, backend="serial", workers=-3)
    assert not list((data / "out-a").glob("logs/*"))
