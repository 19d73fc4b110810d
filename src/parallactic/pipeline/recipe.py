"""A recipe as it is written: a TOML file of inputs and steps, read and checked for its own shape.

What the steps mean to their tasks is checked in :mod:`parallactic.pipeline.steps`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parallactic.errors import InvalidSpec
from parallactic.spec import near_match
from parallactic.tasks.signature import from_toml

__all__ = [
    "STEP_KEYS",
    "CommandText",
    "Recipe",
    "RecipeStep",
    "overridden",
    "read_recipe",
    "substitute",
    "variables",
]

STEP_KEYS = ("name", "task", "description", "skip", "resources", "parameters")
"""The keys of a step that are the recipe's; every other key is a parameter of the step's task.

A parameter of one of these names stands in the table ``[step.parameters]``, where any parameter may stand.
"""

_TABLES = ("recipe", "inputs", "executor", "step")
_RECIPE_KEYS = ("name", "description", "output")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class CommandText(str):
    """A value from a command line: still text, to be read as the type of whatever it sets."""

    __slots__ = ()


@dataclass(frozen=True)
class RecipeStep:
    """One ``[[step]]`` as written.

    Parameters
    ----------
    number
        Its place, from 1.
    name
        Unique in the recipe; the task's name where none is given.
    task
        Name of the task.
    parameters
        The task's parameters, before variables are put in.
    resources
        For every unit of work: cores, memory, walltime, gpus, nodes, ranks, timeout, retries.
    skip
        Whether it is left out unless asked for by name.
    description
        For the reader.
    """

    number: int
    name: str
    task: str
    parameters: Mapping[str, Any]
    resources: Mapping[str, Any]
    skip: bool = False
    description: str = ""


@dataclass(frozen=True)
class Recipe:
    """A recipe as written.

    Parameters
    ----------
    source
        What errors call it: the file's name, or "recipe" for one that was given as a dictionary.
    folder
        The folder of the file; the working folder for a dictionary.
    name, description
        For the reader; the name is also that of the default output folder.
    output
        Folder for products and logs, before variables are put in.
    inputs
        The variables.
    executor
        Settings of ``Executor``: backend, workers and whatever the backend takes.
    steps
        In order.
    """

    source: str
    folder: Path
    name: str
    description: str
    output: str
    inputs: Mapping[str, Any]
    executor: Mapping[str, Any]
    steps: tuple[RecipeStep, ...]

    def step(self, name: str) -> RecipeStep:
        """Return the step of that name, or raise InvalidSpec with the nearest."""
        for step in self.steps:
            if step.name == name:
                return step
        names = [step.name for step in self.steps]
        raise InvalidSpec(
            f"{self.source} has no step {name!r}{near_match(name, names)} Its steps are {', '.join(names)}."
        )


def read_recipe(source: str | Path | Mapping[str, Any]) -> Recipe:
    """Read a recipe from a TOML file, or from a dictionary of the same shape.

    Raises
    ------
    InvalidSpec
        If the file is missing or no TOML, or a table, key or name is not what a recipe has.
    """
    if isinstance(source, Mapping):
        return _recipe(source, "recipe", Path.cwd())
    if not isinstance(source, str | Path):
        raise InvalidSpec(f"recipe={source!r} must be the path of a TOML file, or a dictionary.")
    path = Path(source)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidSpec(f"there is no recipe {str(path)!r}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"the recipe {str(path)!r} cannot be read: {_reason(error)}.") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidSpec(f"{path.name} is not TOML: {error}.") from None
    return _recipe(content, path.name, path.resolve().parent)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"


def _recipe(content: Mapping[str, Any], source: str, folder: Path) -> Recipe:
    _known(content, _TABLES, f"{source} has no table")
    head, inputs, executor = (_table(content, name, source) for name in ("recipe", "inputs", "executor"))
    _known(head, _RECIPE_KEYS, f"{source}, [recipe]: there is no key")
    for key, value in head.items():
        if not isinstance(value, str):
            raise InvalidSpec(f"{source}, [recipe]: {key}={value!r} must be a text.")
    for key in inputs:
        if not _NAME.fullmatch(key) or key in ("output", "recipe"):
            raise InvalidSpec(
                f"{source}, [inputs]: {key!r} cannot be the name of a variable; choose another."
            )
    steps = content.get("step", [])
    if not isinstance(steps, list) or not steps:
        raise InvalidSpec(f"{source} has no steps; write each as a table that begins with [[step]].")
    name = head.get("name") or Path(source).stem
    return Recipe(
        source=source,
        folder=folder,
        name=name,
        description=head.get("description", ""),
        output=head.get("output") or f"{name}-output",
        inputs=dict(inputs),
        executor=dict(executor),
        steps=_steps(steps, source),
    )


def _steps(tables: Sequence[Any], source: str) -> tuple[RecipeStep, ...]:
    steps: dict[str, RecipeStep] = {}
    for number, table in enumerate(tables, start=1):
        where = f"{source}, step {number}"
        if not isinstance(table, Mapping) or not isinstance(table.get("task"), str):
            raise InvalidSpec(f'{where} has no task; write for example task = "flag".')
        name = table.get("name", table["task"])
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidSpec(f"{where}: name={name!r} must be letters, digits, '-' and '_', a letter first.")
        if name in steps:
            raise InvalidSpec(
                f"{where} is called {name!r}, as step {steps[name].number} is already; give it a name."
            )
        if not isinstance(table.get("skip", False), bool):
            raise InvalidSpec(f"{where} {name!r}: skip={table['skip']!r} must be true or false.")
        steps[name] = RecipeStep(
            number=number,
            name=name,
            task=table["task"],
            parameters=_parameters(table, f"{where} {name!r}"),
            resources=dict(_table(table, "resources", f"{where} {name!r}")),
            skip=table.get("skip", False),
            description=str(table.get("description", "")),
        )
    return tuple(steps.values())


def _parameters(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    plain = {key: value for key, value in table.items() if key not in STEP_KEYS}
    more = _table(table, "parameters", where)
    twice = sorted(plain.keys() & more.keys())
    if twice:
        raise InvalidSpec(f"{where}: {twice[0]!r} stands there twice, in the step and in its parameters.")
    return {**plain, **more}


def _known(table: Mapping[str, Any], names: Sequence[str], sentence: str) -> None:
    for key in table:
        if key not in names:
            raise InvalidSpec(f"{sentence} {key!r}{near_match(key, names)} It may have {', '.join(names)}.")


def _table(content: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, Mapping):
        raise InvalidSpec(f"{where}: {name}={table!r} must be a table.")
    return table


def overridden(recipe: Recipe, settings: Mapping[str, Any] | Iterable[str]) -> Recipe:
    """Return the recipe with settings changed.

    Parameters
    ----------
    recipe
        As read.
    settings
        A mapping of keys to values, or texts ``"key=value"``. A key is the name of an input, or
        ``step.parameter`` (``step.parameters.name`` for one that is called as a key of the step),
        ``step.skip`` or ``step.resources.name``.

    Raises
    ------
    InvalidSpec
        If there is no such input or step. Whether the task knows the parameter is checked with the plan.
    """
    if isinstance(settings, str):
        settings = [settings]
    pairs = settings if isinstance(settings, Mapping) else dict(_pair(text) for text in settings)
    for key, value in pairs.items():
        recipe = _with_setting(recipe, key, value)
    return recipe


def _pair(text: str) -> tuple[str, CommandText]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InvalidSpec(f"the setting {text!r} is not of the form input=value or step.parameter=value.")
    return key.strip(), CommandText(value.strip())


def _with_setting(recipe: Recipe, key: str, value: Any) -> Recipe:
    name, _, parameter = key.partition(".")
    if not parameter:
        if name not in recipe.inputs:
            known = [*recipe.inputs, *(f"{step.name}." for step in recipe.steps)]
            has = f"Its inputs are {', '.join(recipe.inputs)}." if recipe.inputs else "It has none."
            raise InvalidSpec(
                f"{recipe.source} has no input {name!r}{near_match(name, known)} {has} "
                "A step's parameter is set by step.parameter=value."
            )
        if isinstance(value, CommandText) and not isinstance(recipe.inputs[name], str):
            value = from_toml(value)
        return replace(recipe, inputs={**recipe.inputs, name: value})
    step = recipe.step(name)
    if parameter == "skip":
        chosen = from_toml(value) if isinstance(value, CommandText) else value
        if not isinstance(chosen, bool):
            raise InvalidSpec(f"the setting {key}={value} must be true or false.")
        changed = replace(step, skip=chosen)
    elif parameter.startswith("resources."):
        chosen = from_toml(value) if isinstance(value, CommandText) else value
        changed = replace(step, resources={**step.resources, parameter.removeprefix("resources."): chosen})
    elif parameter.startswith("parameters."):
        parameter = parameter.removeprefix("parameters.")
        changed = replace(step, parameters={**step.parameters, parameter: value})
    elif parameter in STEP_KEYS:
        raise InvalidSpec(f"the setting {key}: the {parameter} of a step is the recipe's, and cannot be set.")
    else:
        changed = replace(step, parameters={**step.parameters, parameter: value})
    return replace(recipe, steps=tuple(changed if item is step else item for item in recipe.steps))


_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def variables(recipe: Recipe, output: Path | None = None) -> dict[str, Any]:
    """Return the value of every variable: the inputs, ``output`` and ``recipe`` (its folder).

    Inputs, and the output folder, may be written in terms of each other, in any order.

    Parameters
    ----------
    recipe
        As read.
    output
        An output folder that replaces the recipe's.

    Raises
    ------
    InvalidSpec
        If a variable is not defined, or stands for itself in the end.
    """
    written = {**recipe.inputs, "output": recipe.output if output is None else _doubled(str(output))}
    values: dict[str, Any] = {"recipe": str(recipe.folder)}
    opened: list[str] = []

    def value_of(name: str) -> Any:
        if name in values:
            return values[name]
        if name in opened:
            circle = " -> ".join([*opened[opened.index(name) :], name])
            raise InvalidSpec(f"{recipe.source}, [inputs]: {circle} stands for itself.")
        opened.append(name)
        table = "recipe" if name == "output" else "inputs"
        where = f"{recipe.source}, [{table}], key {name!r}"
        value = substitute(written[name], value_of, [*written, "recipe"], where)
        values[name] = str(Path(str(value)).expanduser().absolute()) if name == "output" else value
        opened.pop()
        return values[name]

    for name in written:
        value_of(name)
    return values


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def substitute(value: Any, value_of: Any, known: Iterable[str], where: str) -> Any:
    """Put variables into texts, also inside lists and tables.

    A text that is one variable and nothing else becomes its value, of whatever type; doubled braces stand
    for single ones.

    Parameters
    ----------
    value
        As written.
    value_of
        Gives a variable's value by its name.
    known
        The names there are.
    where
        The place, for errors.

    Raises
    ------
    InvalidSpec
        If a variable is not defined, or a brace stands alone.
    """
    if isinstance(value, Mapping):
        return {key: substitute(item, value_of, known, where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [substitute(item, value_of, known, where) for item in value]
    if not isinstance(value, str):
        return value
    names = list(known)

    def put(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] is None:
            raise InvalidSpec(
                f"{where}: a single {match[0]!r} in {value!r}; write {match[0] * 2!r} for the sign itself."
            )
        return str(_look_up(match[1].strip(), value_of, names, where))

    alone = re.fullmatch(r"\{([^{}]*)\}", value)
    if alone:
        return _look_up(alone[1].strip(), value_of, names, where)
    return type(value)(_BRACES.sub(put, value))


def _look_up(name: str, value_of: Any, names: Sequence[str], where: str) -> Any:
    if name not in names:
        raise InvalidSpec(
            f"{where}: the variable {{{name}}} is not defined{near_match(name, names)} "
            f"There are {', '.join(names)}; define more under [inputs]."
        )
    return value_of(name)
