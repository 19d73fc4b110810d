"""A report of a run: numbers against their bars, tables and pictures, as one HTML page."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

__all__ = ["Bar", "Picture", "Section", "Table", "bars_table", "write_report"]


@dataclass(frozen=True)
class Bar:
    """A number and what it has to be.

    Parameters
    ----------
    name
        What was measured.
    value
        The number, with its unit, as it is shown.
    bar
        What it has to be, in words.
    met
        Whether it is.
    """

    name: str
    value: str
    bar: str
    met: bool


@dataclass(frozen=True)
class Table:
    """Rows of texts under a header; the first column and those without a digit stand to the left."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def left(self) -> list[bool]:
        """Whether each column stands to the left; numbers stand to the right."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.header)
        return [
            number == 0 or not any(map(str.isdigit, "".join(cells))) for number, cells in enumerate(columns)
        ]


@dataclass(frozen=True)
class Picture:
    """A PNG file and what it shows."""

    path: Path
    caption: str


@dataclass
class Section:
    """A part of the report.

    Attributes
    ----------
    title, text
        Heading, and a paragraph below it.
    bars
        What has to be.
    tables, pictures
        What is shown.
    products
        What lies where: path and description.
    error
        Why the part is not whole; empty if it is.
    """

    title: str
    text: str
    bars: list[Bar] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    products: list[tuple[Path, str]] = field(default_factory=list)
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is whole and every bar is met."""
        return not self.error and all(bar.met for bar in self.bars)

    def __rich__(self) -> Group:
        parts: list[Any] = [Text(self.title, style="bold")]
        if self.bars:
            parts.append(bars_table(self.bars))
        for table in self.tables:
            shown = RichTable(title=table.title, title_justify="left")
            for name, left in zip(table.header, table.left, strict=True):
                shown.add_column(name, justify="left" if left else "right")
            for row in table.rows:
                shown.add_row(*(Text(cell) for cell in row))
            parts.append(shown)
        if self.error:
            parts.append(Text(self.error, style="red"))
        for path, description in self.products:
            parts.append(Text(f"{description}: {path}", overflow="fold"))
        return Group(*parts, Text(""))


def bars_table(bars: Sequence[Bar]) -> RichTable:
    """Return the bars as a table for the terminal."""
    table = RichTable(show_header=True)
    for name in ("measured", "value", "bar", ""):
        table.add_column(name, justify="right" if name == "value" else "left")
    for bar in bars:
        verdict = Text("met", style="green") if bar.met else Text("MISSED", style="bold red")
        table.add_row(Text(bar.name), Text(bar.value), Text(bar.bar), verdict)
    return table


def write_report(folder: str | Path, title: str, text: str, sections: Sequence[Section]) -> Path:
    """Write ``report.html``, and its numbers as ``report.json``, into `folder`; return the page's path.

    Parameters
    ----------
    folder
        Where; pictures and products are linked relative to it.
    title, text
        Heading of the page, and the paragraph below it.
    sections
        Its parts.
    """
    base = Path(folder).absolute()
    numbers = {
        "title": title,
        "ok": all(section.ok for section in sections),
        "sections": [
            {
                "title": section.title,
                "ok": section.ok,
                "error": section.error,
                "bars": [asdict(bar) for bar in section.bars],
                "tables": [
                    {
                        "title": table.title,
                        "header": list(table.header),
                        "rows": [list(row) for row in table.rows],
                    }
                    for table in section.tables
                ],
            }
            for section in sections
        ],
    }
    _write(base / "report.json", json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    return _write(base / "report.html", _page(base, title, text, sections))


def _write(path: Path, text: str) -> Path:
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
    return path


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 3rem; border-bottom: 1px solid #8886; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #8884; text-align: right; }
th:first-child, td:first-child, .left { text-align: left; }
.met { color: #16803c; font-weight: 600; } .missed { color: #c02626; font-weight: 600; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; background: white; border-radius: 4px; }
figcaption { font-size: .9rem; opacity: .8; } .error { color: #c02626; }
"""


def _page(base: Path, title: str, text: str, sections: Sequence[Section]) -> str:
    body = "".join(_section(base, section) for section in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>\n'
        f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(text)}</p>\n{body}</body></html>\n"
    )


def _section(base: Path, section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>\n<p>{html.escape(section.text)}</p>\n"]
    if section.error:
        parts.append(f'<p class="error">{html.escape(section.error)}</p>\n')
    if section.bars:
        rows = "".join(
            f"<tr><td>{html.escape(bar.name)}</td><td>{html.escape(bar.value)}</td>"
            f'<td class="left">{html.escape(bar.bar)}</td>'
            f'<td class="{"met" if bar.met else "missed"}">{"met" if bar.met else "missed"}</td></tr>\n'
            for bar in section.bars
        )
        parts.append(
            f"<table><tr><th>measured</th><th>value</th><th>bar</th><th></th></tr>\n{rows}</table>\n"
        )
    for table in section.tables:
        sides = [' class="left"' if left else "" for left in table.left]
        head = "".join(
            f"<th{side}>{html.escape(name)}</th>" for name, side in zip(table.header, sides, strict=True)
        )
        rows = "".join(
            "<tr>"
            + "".join(f"<td{side}>{html.escape(cell)}</td>" for cell, side in zip(row, sides, strict=True))
            + "</tr>\n"
            for row in table.rows
        )
        parts.append(f"<table><caption>{html.escape(table.title)}</caption><tr>{head}</tr>\n{rows}</table>\n")
    for picture in section.pictures:
        source = html.escape(_link(base, picture.path))
        caption = html.escape(picture.caption)
        parts.append(
            f'<figure><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>\n'
        )
    if section.products:
        items = "".join(
            f'<li>{html.escape(description)}: <a href="{html.escape(_link(base, path))}">'
            f"{html.escape(_link(base, path))}</a></li>\n"
            for path, description in section.products
        )
        parts.append(f"<ul>\n{items}</ul>\n")
    return "".join(parts)


def _link(base: Path, path: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()
