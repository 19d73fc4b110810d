"""What a person sees in a notebook: tables as HTML, a bar for what takes long."""

from __future__ import annotations

import html
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["Bar", "as_html", "in_notebook"]


def in_notebook() -> bool:
    """Tell whether this is the process of a notebook: IPython with a Jupyter kernel."""
    # Where IPython has not been imported nobody runs a kernel, and it need not be imported to know that.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def as_html(item: RenderableType) -> str:
    """Return a table of rich, or a group of such and texts, as HTML; the notebook gives it its style."""
    from rich.console import Group
    from rich.table import Table

    if isinstance(item, Table):
        return _table(item)
    if isinstance(item, Group):
        return "".join(as_html(part) for part in item.renderables)
    if hasattr(item, "__rich__"):
        return as_html(item.__rich__())
    text = _text(item)
    return f"<div>{text}</div>" if text else ""


def _table(table: Table) -> str:
    parts = ["<table>"]
    if table.title:
        parts.append(f"<caption>{_text(table.title)}</caption>")
    if table.show_header:
        head = "".join(f'<th style="text-align:left">{_text(column.header)}</th>' for column in table.columns)
        parts.append(f"<thead><tr>{head}</tr></thead>")
    parts.append("<tbody>")
    columns = [(column.justify, list(column.cells)) for column in table.columns]
    for row in range(table.row_count):
        cells = []
        for justify, column in columns:
            side = "right" if justify == "right" else "left"
            cells.append(f'<td style="text-align:{side}">{_cell(column[row])}</td>')
        parts.append(f"<tr>{''.join(cells)}</tr>")
    parts.append("</tbody>")
    if table.caption:
        parts.append(f'<tfoot><tr><td colspan="{len(columns)}">{_text(table.caption)}</td></tr></tfoot>')
    parts.append("</table>")
    return "".join(parts)


def _cell(item: Any) -> str:
    from rich.table import Table

    return _table(item) if isinstance(item, Table) else _text(item)


def _text(item: Any) -> str:
    """Return a text, with its markup if it is a string, as HTML without any."""
    from rich.console import Console
    from rich.text import Text

    if isinstance(item, str):
        plain = Text.from_markup(item).plain
    elif isinstance(item, Text):
        plain = item.plain
    else:
        console = Console(width=100, color_system=None)
        with console.capture() as capture:
            console.print(item)
        plain = capture.get()
    return html.escape(plain.strip("\n")).replace("\n", "<br>")


class Bar:
    """A progress bar under a cell, which goes when it is done.

    Parameters
    ----------
    label
        What takes long.
    total
        Number of steps.
    """

    def __init__(self, label: str, total: int) -> None:
        from IPython.display import display

        self._label, self._total = html.escape(label), total
        self._start = time.monotonic()
        self._place = display(self._page(0), raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def _page(self, done: int) -> dict[str, str]:
        seconds = int(time.monotonic() - self._start)
        text = f"{done}/{self._total} {seconds // 60}:{seconds % 60:02d}"
        bar = f'<progress value="{done}" max="{self._total}" style="width:20em"></progress>'
        return {"text/html": f"{self._label} {bar} {text}", "text/plain": f"{self._label} {text}"}

    def show(self, done: int) -> None:
        """Say how many steps have ended."""
        self._place.update(self._page(done), raw=True)

    def stop(self) -> None:
        """Take the bar away."""
        self._place.update({"text/html": "", "text/plain": ""}, raw=True)
