"""A distribution of somebody else, as pip would install it: modules and an entry point."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from parallactic import registry


@contextlib.contextmanager
def installed(folder: Path, name: str, target: str, source: Path) -> Iterator[None]:
    """Install the backend `name` from a source file, for this process and for those it starts."""
    shutil.copy(source, folder)
    information = folder / f"parallactic_{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: parallactic-{name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[parallactic.backends]\n{name} = {target}\n")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    sys.path.insert(0, str(folder))
    registry.backends.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
        registry.backends.cache_clear()
