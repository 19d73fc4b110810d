"""What a run leaves to be read later: its folder, its log, and the record of steps done.

::

    <output>/logs/steps.jsonl           every step of every run, appended, never rewritten
    <output>/logs/<date>-<time>/        one run: plan.json, result.json, run.log, executor/ (its journal)
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from parallactic.errors import InvalidSpec

__all__ = ["Record", "log_to", "made_products", "run_folder", "write_json"]


def run_folder(output: Path) -> Path:
    """Make the folder of a new run.

    Parameters
    ----------
    output
        The folder of the products.

    Raises
    ------
    InvalidSpec
        If it cannot be made or written to.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    logs = output / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = logs / (stamp if number == 1 else f"{stamp}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise InvalidSpec(
            f"the output folder {str(output)!r} cannot be written: {error.strerror}; choose another."
        ) from error
    raise InvalidSpec(f"{str(logs)!r} holds too many runs of this second; choose another output folder.")


def write_json(path: Path, content: Any) -> None:
    """Write JSON aside, then give it its name, so that a reader never sees half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Write what Parallactic logs meanwhile, from INFO up, to a file."""
    logger = logging.getLogger("parallactic")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    before = logger.level
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


class Record:
    """The append-only record of the steps of all runs into one output folder.

    One line of JSON an event: ``at, run, event ("started", "done", "failed", "interrupted", "removed"), step,
    task, digest`` and, at the end of a step, ``seconds, units, products, made`` (the products that were not
    there before) or ``error``. A line is on disk before :meth:`add` returns; a last line cut short by a crash
    is ignored by readers.

    Parameters
    ----------
    output
        The folder of the products.
    run
        The name of the run that writes; its folder's name.
    """

    def __init__(self, output: Path, run: str) -> None:
        self.path = output / "logs" / "steps.jsonl"
        self._output = output
        self._run = run

    def add(self, event: str, **content: Any) -> None:
        """Append one event."""
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "run": self._run,
            "event": event,
            **content,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> list[dict[str, Any]]:
        """Return every event, oldest first."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return found

    def remove_products(self, step: str) -> list[str]:
        """Remove what earlier runs of a step made here, and only that.

        A product is removed if the record says that the step made it, and it lies inside the output folder.
        With a MeasurementSet go the flags that were saved beside it: they are of no other.
        """
        made: dict[str, None] = {}
        for event in self.events():
            if event.get("step") == step:
                for path in event.get("made", []):
                    made.update({path: None, f"{path}.flagversions": None})
        root = self._output.resolve()
        gone = []
        for name in made:
            path = Path(name)
            if not os.path.lexists(path) or not path.resolve().is_relative_to(root) or path.resolve() == root:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            gone.append(name)
        if gone:
            self.add("removed", step=step, products=gone)
        return gone


def made_products(products: list[str], parameters: Mapping[str, Any]) -> list[str]:
    """Return the products that a step made, leaving out the data it was given and changed in place."""
    given = parameters.get("vis")
    changed = Path(given).resolve() if isinstance(given, str) else None
    made = (Path(path).absolute() for path in products)
    return [str(path) for path in made if path.resolve() != changed]
