"""The whole contract on a backend that somebody else wrote: the example of docs/writing-a-backend.md."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from third_party import installed

from parallactic import registry
from parallactic.testing import BackendContract

SOURCE = Path(__file__).with_name("threads_backend.py")
PAGE = Path(__file__).parents[2] / "docs" / "writing-a-backend.md"


@pytest.fixture(scope="module", autouse=True)
def threads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("site")
    with installed(folder, "threads", "threads_backend:ThreadsBackend", SOURCE):
        yield


class TestThreads(BackendContract):
    backend = "threads"


def test_it_is_registered_like_the_others() -> None:
    assert "threads" in registry.backends()
    assert registry.load("threads").name == "threads"
    assert registry.availability("threads").ok


def test_the_page_shows_the_backend_that_is_tested() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert SOURCE.read_text() in blocks
