"""README and docs: every link leads somewhere, every Python example is Python."""

import ast
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])

FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", flags=re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
ABROAD = re.compile(r"^(https?|mailto|doi):")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that a page's headings get when they are rendered."""
    headings = re.findall(
        r"^#+ +(.+?) *#*$", FENCE.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE
    )
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in plain}


def dead_links(page: Path) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading of it."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    dead = []
    for link in LINK.findall(text):
        if ABROAD.match(link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page):
    assert dead_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_examples_compile(page):
    for indent, language, code in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in {"python", "py"}:
            source = textwrap.dedent(code) if indent else code
            try:
                # As in a notebook: a page may await at the top level.
                compile(source, name_of(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            except SyntaxError as error:
                pytest.fail(f"{name_of(page)}: {error.msg} in the example\n{source}")


def test_pages_exist():
    assert {"README.md", "docs/development.md"} <= {name_of(page) for page in PAGES}


def test_dead_links_are_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A heading\n\n[here](#a-heading) [gone](#b) [none](none.md) [me](page.md#a-heading)\n")
    assert dead_links(page) == ["#b", "none.md"]
