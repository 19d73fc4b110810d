"""The reference of all tasks as Markdown, made from their signatures and docstrings.

``python -m parallactic.tasks.reference > docs/tasks.md`` writes the page anew.
"""

from __future__ import annotations

import sys

from parallactic.tasks import TASKS
from parallactic.tasks.base import signature_of
from parallactic.tasks.signature import Parameter, TaskSignature, describe

__all__ = ["reference"]

_INTRODUCTION = """\
# Tasks

Names, meanings and defaults are CASA's; one task serves where CASA has two. Each is a Python function
(`from parallactic.tasks import flag`), a subcommand (`parallactic flag`) and a step of a recipe
(`task = "flag"`), with the same parameters. `executor` is an `Executor`, the name of a backend, or None for
the backend of the configuration.

What a task cannot do yet is an error that says so; nothing is accepted and ignored.
"""


def reference() -> str:
    """Return the whole page."""
    tasks = [signature_of(TASKS[name]) for name in TASKS.homes]
    selection = {p.name: p for signature in tasks for p in signature.parameters.values() if p.selects}
    rows = [_row(parameter) for parameter in selection.values()]
    parts = [_INTRODUCTION, *[_section(signature) for signature in tasks]]
    parts.append(
        "\n".join(["## Selection", "", "Of every task that reads data, in CASA's syntax:", "", *_HEAD, *rows])
    )
    return "\n".join(parts) + "\n"


_HEAD = ("| parameter | default | meaning |", "|---|---|---|")


def _section(signature: TaskSignature) -> str:
    own = [p for p in signature.parameters.values() if not p.selects and p.name != "executor"]
    lines = [f"## {signature.name}", "", signature.summary, ""]
    if signature.description:
        lines += [signature.description, ""]
    lines += [*_HEAD, *[_row(parameter) for parameter in own]]
    if any(p.selects for p in signature.parameters.values()):
        lines += ["", "And the [selection](#selection)."]
    return "\n".join([*lines, ""])


def _row(parameter: Parameter) -> str:
    default = "required" if parameter.required else f"`{parameter.default!r}`"
    text = " ".join(parameter.help.split()) or describe(parameter.hint)
    if parameter.choices:
        text += " One of " + ", ".join(f"`{choice}`" for choice in parameter.choices) + "."
    return f"| `{parameter.name}` | {default} | {text.replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
