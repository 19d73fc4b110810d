"""What a run did, step by step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from parallactic.errors import ParallacticError
from parallactic.notebook import as_html
from parallactic.tasks.result import plain, render

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["RunFailed", "RunResult", "State", "StepResult"]

State = Literal["done", "failed", "interrupted", "not run"]

_STYLE = {"done": "green", "failed": "red", "interrupted": "yellow", "not run": "dim"}


@dataclass(kw_only=True)
class StepResult:
    """One step of a run.

    Parameters
    ----------
    number, name, task
        As in the recipe.
    state
        How it ended.
    seconds
        Wall-clock time.
    units
        Units of work that it submitted.
    outcome
        What the task returned; None if it did not end well.
    error
        The sentence of its error, empty if there was none.
    """

    number: int
    name: str
    task: str
    state: State = "not run"
    seconds: float = 0.0
    units: int = 0
    outcome: Any = None
    error: str = ""

    @property
    def warnings(self) -> list[str]:
        """What the task warns of."""
        return list(getattr(self.outcome, "warnings", []))

    @property
    def products(self) -> list[str]:
        """The paths that the task wrote."""
        return [str(path) for path in getattr(self.outcome, "products", [])]

    def to_dict(self) -> dict[str, Any]:
        """Return the step as plain objects."""
        return {
            "number": self.number,
            "name": self.name,
            "task": self.task,
            "state": self.state,
            "seconds": self.seconds,
            "units": self.units,
            "outcome": plain(self.outcome),
            "error": self.error,
        }


@dataclass(kw_only=True)
class RunResult:
    """The outcome of a recipe.

    Parameters
    ----------
    recipe
        Its name.
    output
        The folder of its products.
    logs
        The folder of this run: ``run.log``, ``plan.json``, ``result.json`` and the executor's journal.
    executor
        What it ran on: backend and workers.
    seconds
        Wall-clock time of the steps, in seconds.
    steps
        Every step of the recipe, in order.
    """

    recipe: str
    output: Path
    logs: Path
    executor: str = ""
    seconds: float = 0.0
    steps: list[StepResult] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every step that was to run has run."""
        return all(step.state in ("done", "not run") for step in self.steps)

    def __getitem__(self, name: str) -> Any:
        """Return what the task of one step returned."""
        for step in self.steps:
            if step.name == name:
                return step.outcome
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain objects."""
        return {
            "recipe": self.recipe,
            "output": str(self.output),
            "logs": str(self.logs),
            "executor": self.executor,
            "seconds": self.seconds,
            "ok": self.ok,
            "steps": [step.to_dict() for step in self.steps],
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table
        from rich.text import Text

        title = f"{self.recipe}: {self.seconds:.1f} s on {self.executor}"
        table = Table(title=escape(title), title_justify="left")
        table.add_column("")
        table.add_column("step", no_wrap=True)
        table.add_column("task", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("seconds", justify="right", no_wrap=True)
        table.add_column("units", justify="right", no_wrap=True)
        table.add_column("what it did", overflow="fold")
        for step in self.steps:
            ran = step.state != "not run"
            table.add_row(
                Text(str(step.number)),
                Text(step.name),
                Text(step.task),
                Text(step.state, style=_STYLE[step.state]),
                Text(f"{step.seconds:.2f}" if ran else ""),
                Text(str(step.units or "") if ran else ""),
                Text(step.error or _counts(step.outcome)),
            )
        notes = [
            Text(f"warning, {step.name}: {text}", style="yellow")
            for step in self.steps
            for text in step.warnings
        ]
        return Group(table, *notes, Text(f"products: {self.output}"), Text(f"logs:     {self.logs}"))

    def __str__(self) -> str:
        return render(self, width=120)

    def _repr_html_(self) -> str:
        return as_html(self)


class RunFailed(ParallacticError):
    """A step failed, and with it the run. The step's error is the cause of this one.

    Parameters
    ----------
    message
        The sentence for a person: which step, which units, why.
    result
        What the run did until then.
    """

    def __init__(self, message: str, result: RunResult | None = None) -> None:
        super().__init__(message)
        self.result = result


def _counts(outcome: Any) -> str:
    counts = getattr(outcome, "counts", None) or {}
    shown = []
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        if isinstance(value, int):
            value = f"{value:,}"
        elif isinstance(value, float):
            value = f"{value:.4g}"
        shown.append(f"{name} {value}")
    return ", ".join(shown)
