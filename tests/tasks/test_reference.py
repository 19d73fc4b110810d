"""The page of all tasks is the one that their signatures give."""

from pathlib import Path

from parallactic.tasks.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tasks.md"


def test_page_is_up_to_date() -> None:
    hint = "python -m parallactic.tasks.reference > docs/tasks.md writes it anew"
    assert PAGE.read_text(encoding="utf-8") == reference(), hint
