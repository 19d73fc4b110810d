"""The plan of a run: every step checked against its task before the first one starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from parallactic.errors import InvalidSpec
from parallactic.pipeline.recipe import (
    CommandText,
    Recipe,
    RecipeStep,
    overridden,
    read_recipe,
    substitute,
    variables,
)
from parallactic.spec import DEFAULT
from parallactic.tasks.base import TASKS, signature_of
from parallactic.tasks.result import plain

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["Plan", "PlannedStep", "make_plan", "selected_steps"]

T = TypeVar("T")

_INPUTS = {"vis": "MeasurementSet", "gaintable": "calibration table"}
"""The parameters that name what a step needs, and what that is."""

_PRODUCTS = {"outputvis": "", "caltable": "", "fluxtable": "", "imagename": ".*.fits"}
"""The parameters that name what a step makes, and what follows the name on disk."""

_GOES_ON = ("append", "restart")
"""The parameters with which a step takes up products that are there."""


@dataclass(frozen=True)
class PlannedStep:
    """One step, checked.

    Parameters
    ----------
    number, name, task
        As in the recipe.
    parameters
        What the task will be called with, converted to its types; defaults are not written out.
    resources
        Options for every unit of work.
    chosen
        Whether it will run.
    """

    number: int
    name: str
    task: str
    parameters: Mapping[str, Any]
    resources: Mapping[str, Any]
    chosen: bool = True

    @property
    def digest(self) -> str:
        """Return a digest of what the step does: its task and all its parameters, defaults included."""
        signature = signature_of(TASKS[self.task])
        everything = {item.name: item.default for item in signature.parameters.values() if not item.required}
        everything.update(self.parameters)
        everything.pop("executor", None)
        text = json.dumps({"task": self.task, "parameters": plain(everything)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the step as plain objects."""
        return {
            "number": self.number,
            "name": self.name,
            "task": self.task,
            "parameters": plain(dict(self.parameters)),
            "resources": plain(dict(self.resources)),
            "chosen": self.chosen,
        }


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Parameters
    ----------
    recipe
        As written, with the settings changed.
    output
        The folder for products and logs, absolute.
    variables
        Every variable's value.
    steps
        In order, those that will not run among them.
    """

    recipe: Recipe
    output: Path
    variables: Mapping[str, Any]
    steps: tuple[PlannedStep, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain objects."""
        return {
            "recipe": self.recipe.name,
            "source": self.recipe.source,
            "output": str(self.output),
            "variables": plain(dict(self.variables)),
            "executor": plain(dict(self.recipe.executor)),
            "steps": [step.to_dict() for step in self.steps],
        }

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.markup import escape as plain_text
        from rich.table import Table
        from rich.text import Text

        table = Table(title=plain_text(f"{self.recipe.name}: the plan"), title_justify="left")
        for column in ("", "step", "task", "parameters"):
            table.add_column(column, overflow="fold")
        for step in self.steps:
            shown = ", ".join(f"{key}={value!r}" for key, value in step.parameters.items())
            if step.resources:
                shown += (
                    f"  [each unit: {', '.join(f'{key}={value}' for key, value in step.resources.items())}]"
                )
            shown = shown.replace(str(self.output), "{output}")
            row = (str(step.number), step.name, step.task, shown if step.chosen else "not run")
            table.add_row(*map(Text, row), style="" if step.chosen else "dim")
        return Group(table, Text(f"{{output}} is {self.output}"))


def make_plan(
    recipe: str | Path | Mapping[str, Any],
    *,
    set: Mapping[str, Any] | Iterable[str] = (),
    steps: str | None = None,
    skip: Iterable[str] = (),
    output: str | Path | None = None,
    overwrite: bool = False,
) -> Plan:
    """Read a recipe and check everything that can be known before the first step runs.

    Parameters
    ----------
    recipe, set, steps, skip, output, overwrite
        As of :func:`parallactic.pipeline.run`.

    Raises
    ------
    InvalidSpec
        For the first thing that cannot be; it names the file, the step and the key.
    """
    written = overridden(read_recipe(recipe), set)
    values = variables(written, Path(output) if output is not None else None)
    chosen = selected_steps(written, steps, skip)
    planned = tuple(
        replace(_planned(step, written, values), chosen=step.name in chosen) for step in written.steps
    )
    plan = Plan(written, Path(values["output"]), values, planned)
    _check_files(plan, overwrite=overwrite)
    return plan


def selected_steps(recipe: Recipe, steps: str | None, skip: Iterable[str] = ()) -> list[str]:
    """Return the names of the steps to run.

    Parameters
    ----------
    recipe
        As read.
    steps
        Names or numbers with commas between, and ranges ``a:b`` (both ends belong to it, either may be left
        out): ``"partition,flag:apply"``. None: all but those with ``skip = true``; a step that is named by
        itself runs in spite of its ``skip``, one inside a range does not.
    skip
        Names or numbers to leave out.

    Raises
    ------
    InvalidSpec
        If there is no such step, a range runs backwards, or none is left.
    """
    if not isinstance(steps, str | None):
        raise InvalidSpec(f"steps={steps!r} must be text: names or numbers, such as 'flag:apply' or '1,3'.")
    names = [step.name for step in recipe.steps]
    skipped = {step.name for step in recipe.steps if step.skip}
    if steps is None:
        chosen = {name for name in names if name not in skipped}
    else:
        chosen = set[str]()
        for part in filter(None, (part.strip() for part in steps.split(","))):
            first, colon, last = part.partition(":")
            if not colon:
                chosen.add(_step_name(recipe, first))
                continue
            begin = names.index(_step_name(recipe, first)) if first else 0
            end = names.index(_step_name(recipe, last)) if last else len(names) - 1
            if end < begin:
                raise InvalidSpec(f"steps={part!r} runs backwards: {first!r} comes after {last!r}.")
            chosen.update(name for name in names[begin : end + 1] if name not in skipped)
    chosen -= {_step_name(recipe, name) for name in ([skip] if isinstance(skip, str) else skip)}
    if not chosen:
        raise InvalidSpec(f"no step of {recipe.source} is left to run; its steps are {', '.join(names)}.")
    return [name for name in names if name in chosen]


def _step_name(recipe: Recipe, text: str) -> str:
    text = text.strip()
    if text.isdecimal() and 1 <= int(text) <= len(recipe.steps):
        return recipe.steps[int(text) - 1].name
    return recipe.step(text).name


def _planned(step: RecipeStep, recipe: Recipe, values: Mapping[str, Any]) -> PlannedStep:
    where = f"{recipe.source}, step {step.number} {step.name!r}"
    task = _inside(where, "task", partial(TASKS.find, step.task))
    signature = signature_of(task)
    parameters: dict[str, Any] = {}
    for key, written in step.parameters.items():
        if key == "executor":
            raise InvalidSpec(
                f"{where}: the executor is the run's; set backend and workers under [executor]."
            )
        _inside(where, key, partial(signature.check_names, [key]))
        value = substitute(written, values.__getitem__, values, f"{where}, key {key!r}")
        read = signature.parameters[key]
        convert = read.parsed if isinstance(value, CommandText) else read.checked
        parameters[key] = _inside(where, key, partial(convert, value, step.task))
    for item in signature.parameters.values():
        if item.required and item.name not in parameters:
            raise InvalidSpec(f"{where}: {step.task} needs {item.name!r}.")
    if task.check is not None:
        defaults = {
            item.name: item.default for item in signature.parameters.values() if item.name != "executor"
        }
        _inside(where, None, partial(task.check, **(defaults | parameters)))
    resources = {
        key: substitute(value, values.__getitem__, values, where) for key, value in step.resources.items()
    }
    if "name" in resources:
        raise InvalidSpec(f"{where}, key 'resources.name': units are named by their step; leave it out.")
    _inside(where, "resources", partial(DEFAULT.updated, **resources))
    return PlannedStep(step.number, step.name, step.task, parameters, resources)


def _inside(where: str, key: str | None, check: Callable[[], T]) -> T:
    """Run a check; its error then also says where in the recipe it was."""
    try:
        return check()
    except InvalidSpec as error:
        place = where if key is None else f"{where}, key {key!r}"
        raise InvalidSpec(f"{place}: {error}") from error


def _check_files(plan: Plan, *, overwrite: bool) -> None:
    """Find missing data, and products that are there already, before the first step instead of at its own."""
    if (plan.output / "table.dat").exists():
        raise InvalidSpec(
            f"the output folder {str(plan.output)!r} is a MeasurementSet or another table; products and logs "
            "need a folder of their own."
        )
    made: set[Path] = set()
    for step in (step for step in plan.steps if step.chosen):
        where = f"{plan.recipe.source}, step {step.number} {step.name!r}"
        for key, kind in _INPUTS.items():
            for path in _texts(step.parameters.get(key)):
                if not Path(path).exists() and Path(path).absolute() not in made:
                    maker = _maker(plan, path)
                    raise InvalidSpec(f"{where}, key {key!r}: there is no {kind} {path!r}{maker}.")
        if not overwrite and not any(step.parameters.get(key, False) for key in _GOES_ON):
            for key, pattern in _PRODUCTS.items():
                begun = step.parameters.get(key)
                if not isinstance(begun, str) or not begun or Path(begun).absolute() in made:
                    continue
                beside = Path(begun)
                there = sorted(beside.parent.glob(escape(beside.name) + pattern))
                if there:
                    raise InvalidSpec(
                        f"{where}, key {key!r}: {str(there[0])!r} exists already; choose another output "
                        "folder, or overwrite what the recipe left there (--overwrite)."
                    )
        made.update(Path(value).absolute() for value in step.parameters.values() if isinstance(value, str))


def _texts(value: Any) -> list[str]:
    """Return the names in a parameter that takes one or several, the empty ones left out."""
    values = value if isinstance(value, list | tuple) else [value]
    return [item for item in values if isinstance(item, str) and item]


def _maker(plan: Plan, path: str) -> str:
    """Say which step would make a path that is not there, and why it has not by then."""
    for step in plan.steps:
        products = [Path(name) for key in _PRODUCTS for name in _texts(step.parameters.get(key))]
        if Path(path).absolute() in (product.absolute() for product in products):
            why = "which comes later" if step.chosen else "which is not among the steps to run"
            return f"; it is made by step {step.number} {step.name!r}, {why}"
    return ""
