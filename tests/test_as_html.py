"""Tables of rich as HTML, as a notebook shows them."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from rich.console import Group
from rich.table import Table
from rich.text import Text

from parallactic.notebook import as_html, in_notebook
from parallactic.tasks.result import TaskResult


def _cells(page: str) -> list[list[str]]:
    root = ET.fromstring(f"<page>{page}</page>")  # well-formed, or this fails
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_rows_and_columns_in_order() -> None:
    table = Table("field", "flagged", title="one & [b]two[/b]", caption="in all 3")
    table.add_row("3C286", Text("[12] %"))
    table.add_row("J0<1>", "4")
    assert _cells(as_html(table)) == [["field", "flagged"], ["3C286", "[12] %"], ["J0<1>", "4"], ["in all 3"]]
    assert "<caption>one &amp; two</caption>" in as_html(table)


def test_numbers_stand_to_the_right() -> None:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("rows", "12")
    assert as_html(table).count("text-align:right") == 1


def test_tables_in_tables_and_groups() -> None:
    """A list of records is a table in its cell; what stands beside a table is a line of its own."""
    result = TaskResult(
        task="flag", counts={"by scan": [{"scan": 1, "flagged": 0.25}]}, warnings=["late\nby 3 s"]
    )
    page = as_html(Group(result, Text("products: a.fits")))
    assert page.count("<table>") == 2
    assert "late<br>by 3 s" in page
    assert page.endswith("<div>products: a.fits</div>")
    assert result._repr_html_() == as_html(result)


def test_these_tests_are_no_notebook() -> None:
    assert not in_notebook()
