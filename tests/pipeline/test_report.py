"""The report page: every number, every picture, a verdict, and nothing that breaks the page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from parallactic.pipeline.report import Bar, Picture, Section, Table, write_report
from parallactic.tasks.result import render


class Page(HTMLParser):
    """The texts, links and pictures of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def section(folder: Path, *, met: bool = True) -> Section:
    return Section(
        title="A <title> & more",
        text="Why.",
        bars=[Bar("peak", "1.003", "1.00 ± 0.02", True), Bar("noise", "9 mJy", "< 5 mJy", met)],
        tables=[Table("Sources", ("source", "flux"), [("1", "0.5"), ("<2>", "0.7")])],
        pictures=[Picture(folder / "half" / "a.png", 'A "picture"')],
        products=[(folder / "half" / "image.fits", "Image")],
    )


def test_the_page_holds_what_it_was_given(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, "Demo", "Said.", [section(tmp_path)]).read_text())
    assert page.open == []
    for text in ("Demo", "A <title> & more", "1.003", "9 mJy", "<2>", 'A "picture"', "Sources"):
        assert text in page.texts
    assert set(page.links) == {"half/a.png", "half/image.fits"}
    assert page.texts.count("met") == 2


def test_a_missed_bar_is_missed_everywhere(tmp_path: Path) -> None:
    bad = section(tmp_path, met=False)
    page = Page(write_report(tmp_path, "Demo", "Said.", [section(tmp_path), bad]).read_text())
    assert not bad.ok
    assert page.texts.count("missed") == 1
    assert "MISSED" in render(bad)
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert numbers["ok"] is False
    assert [entry["ok"] for entry in numbers["sections"]] == [True, False]
    assert numbers["sections"][1]["bars"][1] == {
        "name": "noise",
        "value": "9 mJy",
        "bar": "< 5 mJy",
        "met": False,
    }
    assert numbers["sections"][0]["tables"][0]["rows"] == [["1", "0.5"], ["<2>", "0.7"]]


def test_a_half_that_broke_is_not_ok_even_without_bars(tmp_path: Path) -> None:
    broken = Section(title="T", text="", error="step 3 failed: <why>")
    page = Page(write_report(tmp_path, "Demo", "", [broken]).read_text())
    assert not broken.ok
    assert "step 3 failed: <why>" in page.texts
    assert "step 3 failed" in render(broken)


def test_writing_twice_replaces(tmp_path: Path) -> None:
    write_report(tmp_path, "One", "", [])
    write_report(tmp_path, "Two", "", [])
    assert "Two" in (tmp_path / "report.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_columns_of_words_stand_to_the_left_and_numbers_to_the_right(tmp_path: Path) -> None:
    table = Table("Steps", ("step", "task", "seconds"), [("edges", "flag", "0.50"), ("image", "tclean", "9")])
    assert table.left == [True, True, False]
    text = write_report(tmp_path, "T", "", [Section(title="S", text="", tables=[table])]).read_text()
    assert '<td class="left">tclean</td><td>9</td>' in text
    assert Table("None", ("a", "b"), []).left == [True, True]
