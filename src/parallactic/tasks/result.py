"""What a task returns: what it did, how long it took, what it left on disk."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from io import StringIO
from typing import TYPE_CHECKING, Any

from parallactic.notebook import as_html

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["TaskResult", "plain", "render"]

_LONGEST, _ROWS = 400, 20
"""Letters of one value, and rows of one list, that the table shows; the JSON has them all."""

_COMMON = ("task", "seconds", "counts", "products", "warnings")


@dataclass(kw_only=True)
class TaskResult:
    """The outcome of one task.

    A task with more to say subclasses this with fields of its own; they appear in the table and in the JSON.

    Parameters
    ----------
    task
        Name of the task. Filled in by ``@task``.
    seconds
        Wall-clock time of the whole call, in seconds. Filled in by ``@task``.
    counts
        What was done, as numbers: rows, flagged visibilities, solutions, iterations.
    products
        Paths that the task wrote.
    warnings
        Sentences a person should read.
    """

    task: str = ""
    seconds: float = 0.0
    counts: dict[str, Any] = field(default_factory=dict)
    products: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return every field as plain Python objects (numbers, texts, lists, dictionaries)."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self)}

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return :meth:`to_dict` as JSON text; what is not a number (NaN, infinity) becomes null."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=f"{self.task}  {self.seconds:.2f} s", title_justify="left", show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in self.counts.items():
            table.add_row(Text(name), _cell(value))
        for item in fields(self):
            if item.name not in _COMMON and item.repr:
                table.add_row(Text(item.name), _cell(getattr(self, item.name)))
        for path in self.products:
            table.add_row("wrote", Text(str(path)))
        for warning in self.warnings:
            table.add_row(Text("warning", style="yellow"), Text(str(warning)))
        return table

    def __str__(self) -> str:
        return render(self)

    def _repr_html_(self) -> str:
        return as_html(self.__rich__())


def render(item: Any, width: int = 100) -> str:
    """Return anything that rich can print as plain text of at most `width` columns."""
    from rich.console import Console

    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(item)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.rstrip("\n")


def plain(value: Any) -> Any:
    """Return `value` as objects that JSON knows; arrays become lists, paths texts, NaN and infinity None."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if hasattr(value, "__dataclass_fields__"):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def _cell(value: Any) -> Text | Table:
    from rich.text import Text

    if isinstance(value, list | tuple) and value and all(isinstance(item, dict) for item in value):
        return _listing(value)
    text = _words(value)
    return Text(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")


def _listing(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table inside the table for a list of records, its first rows."""
    from rich.table import Table
    from rich.text import Text

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(Text(name), overflow="fold")
    for row in rows[:_ROWS]:
        table.add_row(*(Text(_words(row.get(name, ""))) for name in names))
    if len(rows) > _ROWS:
        table.add_row(Text(f"and {len(rows) - _ROWS} more"))
    return table


def _words(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(item) for item in value)
    return str(value)
