"""Running a recipe: one executor for all steps, one folder for what the run leaves."""

from __future__ import annotations

import concurrent.futures
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.pipeline.outcome import RunFailed, RunResult, StepResult
from parallactic.pipeline.recipe import Recipe
from parallactic.pipeline.record import Record, log_to, made_products, run_folder, write_json
from parallactic.pipeline.steps import Plan, PlannedStep, make_plan
from parallactic.spec import near_match
from parallactic.tasks.base import TASKS
from parallactic.tasks.units import Step, as_step

if TYPE_CHECKING:
    from parallactic.executor import Executor

__all__ = ["execute", "run"]

_log = logging.getLogger(__name__)


def run(
    recipe: str | Path | Mapping[str, Any],
    *,
    backend: str | None = None,
    workers: int | None = None,
    set: Mapping[str, Any] | Iterable[str] = (),
    steps: str | None = None,
    skip: Iterable[str] = (),
    output: str | Path | None = None,
    overwrite: bool = False,
    executor: concurrent.futures.Executor | None = None,
) -> RunResult:
    """Run a recipe.

    Everything that can be known beforehand is checked before the first step starts. Steps run one after
    another; each divides its work over all workers.

    Parameters
    ----------
    recipe
        Path of a TOML file, or a dictionary of the same shape. Relative paths in it are relative to the
        working folder; ``{recipe}`` is the folder of the file, ``{output}`` that of the products.
    backend, workers
        Where to run. None: ``PARALLACTIC_BACKEND`` and ``PARALLACTIC_WORKERS``, else ``[executor]`` of the
        recipe, else the configuration file.
    set
        Changes: ``{"vis": "other.ms", "flag.timecutoff": 5.0}``, or texts ``["flag.timecutoff=5.0"]``.
    steps
        Which steps to run, by name or number: ``"partition:apply"``, ``"image"``, ``"flag,image:"``.
        None: all.
    skip
        Steps to leave out.
    output
        Folder for products and logs. None: the recipe's.
    overwrite
        Remove what each step made in this folder before, according to the record there, and nothing else.
    executor
        An executor to use; it is left open. None: one for this run.

    Returns
    -------
    RunResult
        Every step with its time, counts and warnings.

    Raises
    ------
    InvalidSpec
        If the recipe cannot be run as it is; nothing has been written then.
    BackendUnavailable
        If the backend cannot be had.
    RunFailed
        If a step failed: it names the step and its units, and has the ``result`` so far.
    """
    plan = make_plan(recipe, set=set, steps=steps, skip=skip, output=output, overwrite=overwrite)
    return execute(plan, backend=backend, workers=workers, overwrite=overwrite, executor=executor)


def execute(
    plan: Plan,
    *,
    backend: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    executor: concurrent.futures.Executor | None = None,
) -> RunResult:
    """Run a plan; parameters, result and errors as of :func:`run`."""
    settings = executor_settings(plan.recipe, backend, workers) if executor is None else {}
    logs = run_folder(plan.output)
    write_json(logs / "plan.json", plan.to_dict())
    result = RunResult(recipe=plan.recipe.name, output=plan.output, logs=logs)
    result.steps = [StepResult(number=step.number, name=step.name, task=step.task) for step in plan.steps]
    record = Record(plan.output, logs.name)
    start = time.perf_counter()
    with log_to(logs / "run.log"), _executor(executor, settings, logs) as ex:
        result.executor = _described(ex)
        _check_resources(plan, ex)
        try:
            for step, outcome in zip(plan.steps, result.steps, strict=True):
                if step.chosen:
                    if overwrite:
                        record.remove_products(step.name)
                    _run_step(step, outcome, ex, record, result)
        finally:
            result.seconds = time.perf_counter() - start
            write_json(logs / "result.json", result.to_dict())
    return result


def _check_resources(plan: Plan, ex: Any) -> None:
    """Find what the backend can never give before the first step, not at the step that asks for it."""
    for step in plan.steps:
        if step.chosen and step.resources and hasattr(ex, "options"):
            try:
                ex.options(**step.resources)
            except InvalidSpec as error:
                where = f"{plan.recipe.source}, step {step.number} {step.name!r}, key 'resources'"
                raise InvalidSpec(f"{where}: {error}") from error


def _run_step(
    step: PlannedStep, outcome: StepResult, ex: concurrent.futures.Executor, record: Record, result: RunResult
) -> None:
    total = len(result.steps)
    common: dict[str, Any] = {"step": step.name, "task": step.task, "digest": step.digest}
    record.add("started", **common, parameters=step.to_dict()["parameters"])
    _log.info("step %d of %d, %s (%s)", step.number, total, step.name, step.task)
    context = Step(step.name, step.resources)
    start = time.perf_counter()
    try:
        with as_step(context):
            outcome.outcome = TASKS[step.task](**step.parameters, executor=ex)
    except BaseException as error:
        outcome.seconds, outcome.units = time.perf_counter() - start, context.units
        outcome.state = "failed" if isinstance(error, Exception) else "interrupted"
        outcome.error = str(error) or type(error).__name__
        record.add(outcome.state, **common, seconds=outcome.seconds, units=outcome.units, error=outcome.error)
        _log.info("step %s %s after %.2f s", step.name, outcome.state, outcome.seconds, exc_info=error)
        if not isinstance(error, Exception):
            raise
        raise RunFailed(
            f"step {step.number} of {total}, {step.name!r} ({step.task}), failed after "
            f"{outcome.seconds:.1f} s: {_sentence(error)} The log is {result.logs / 'run.log'}",
            result,
        ) from error
    outcome.state, outcome.seconds, outcome.units = "done", time.perf_counter() - start, context.units
    record.add(
        "done",
        **common,
        seconds=outcome.seconds,
        units=outcome.units,
        products=outcome.products,
        made=made_products(outcome.products, step.parameters),
    )
    for warning in outcome.warnings:
        _log.warning("%s: %s", step.name, warning)
    _log.info("step %s done in %.2f s", step.name, outcome.seconds)


def _sentence(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if not isinstance(error, RunFailed | InvalidSpec) and not hasattr(error, "failures"):
        text = f"{type(error).__name__}: {text}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def executor_settings(recipe: Recipe, backend: str | None, workers: int | None) -> dict[str, Any]:
    """Return what the executor of a run is made with.

    The first that speaks is heard: argument, environment, recipe; what none of them says is left to
    the configuration file.

    Raises
    ------
    InvalidSpec
        If ``[executor]`` holds something else than ``backend``, ``workers`` and tables of settings by
        backend, or there is no such backend.
    BackendUnavailable
        If what the backend needs is missing.
    """
    from parallactic import registry
    from parallactic.config import DEFAULT_BACKEND, read_configuration

    said = dict(recipe.executor)
    tables = {key: said.pop(key) for key in list(said) if isinstance(said[key], Mapping)}
    for key in said:
        if key not in ("backend", "workers"):
            raise InvalidSpec(
                f"{recipe.source}, [executor]: no key {key!r}{near_match(key, ('backend', 'workers'))} "
                f"It may have backend, workers, and a table for each backend such as [executor.dask]."
            )
    chosen = backend or os.environ.get("PARALLACTIC_BACKEND") or said.get("backend")
    name = chosen or read_configuration().backend or DEFAULT_BACKEND
    registry.load(name)
    settings = {**said, **tables.get(name, {})}
    settings.pop("backend", None)
    for key in list(settings):
        variables = [
            f"PARALLACTIC_{name}__{key}".upper(),
            *(["PARALLACTIC_WORKERS"] if key == "workers" else []),
        ]
        if any(variable in os.environ for variable in variables):
            del settings[key]
    if workers is not None:
        settings["workers"] = workers
    return {"backend": chosen, **settings}


@contextmanager
def _executor(
    given: concurrent.futures.Executor | None, settings: Mapping[str, Any], logs: Path
) -> Iterator[concurrent.futures.Executor]:
    if given is not None:
        yield given
        return
    from parallactic.executor import Executor

    try:
        own = Executor(**settings, run_dir=logs / "executor")
    except ParallacticError:
        # Nothing has run: leave nothing behind either.
        shutil.rmtree(logs)
        raise
    with own:
        yield own


def _described(ex: Any) -> str:
    if not hasattr(ex, "status"):
        return type(ex).__name__
    status = cast("Executor", ex).status()
    count = len(status.workers)
    return f"{status.backend}, {count} worker{'s' if count != 1 else ''}"
