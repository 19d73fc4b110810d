"""What flag returns: counts by antenna, field, scan and so on, as a table and as CASA's dictionary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parallactic.measurementset import MeasurementSet
from parallactic.tasks.base import TaskResult
from parallactic.tasks.flag.tally import Tally

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Counts", "FlagSummary", "Limits", "named_counts"]

Counts = dict[str, dict[str, dict[str, int]]]
"""Per axis and per name the ``flagged`` samples and the ``total``."""

_SHOWN = ("field", "spw", "scan", "correlation", "antenna")


@dataclass(frozen=True)
class Limits:
    """Which entries a summary keeps: by the fraction of samples flagged, and by their number.

    Parameters
    ----------
    minrel, maxrel
        Least and greatest fraction.
    minabs, maxabs
        Least and greatest number; a negative `maxabs` is no limit.
    """

    minrel: float = 0.0
    maxrel: float = 1.0
    minabs: int = 0
    maxabs: int = -1

    def keep(self, flagged: int, total: int) -> bool:
        """Tell whether an entry is kept."""
        fraction = flagged / total if total else 0.0
        most = flagged if self.maxabs < 0 else self.maxabs
        return self.minrel <= fraction <= self.maxrel and self.minabs <= flagged <= most


@dataclass(kw_only=True)
class FlagSummary(TaskResult):
    """The flags of the selected data after the task, or as they would be for ``action="calculate"``.

    The counts are those of the column FLAG, as in CASA; a warning says how many more samples FLAG_ROW flags.

    Parameters
    ----------
    mode
        What was done.
    name
        What the summary is called.
    flagged, total
        Flagged and all selected samples (a sample is one correlation of one channel of one row).
    changed
        Samples that the task flagged or unflagged anew.
    axes
        By ``antenna``, ``field``, ``scan``, ``spw``, ``correlation``, ``observation``, ``array``; if asked
        for ``spw:channel``, ``spw:correlation``, ``baseline``, ``antenna:scan``.
    by_field
        If asked for, the axes of each field by its name.
    """

    mode: str = ""
    name: str = "Summary"
    flagged: int = 0
    total: int = 0
    changed: int = 0
    axes: Counts = field(default_factory=dict, repr=False)
    by_field: dict[str, Counts] = field(default_factory=dict, repr=False)

    @property
    def fraction(self) -> float:
        """The flagged fraction of the selected samples; 0 if none were selected."""
        return self.flagged / self.total if self.total else 0.0

    def casa(self) -> dict[str, Any]:
        """Return the dictionary that CASA's ``flagdata(mode="summary")`` returns."""
        if self.by_field:
            parts: dict[str, Any] = {field: _casa(counts) for field, counts in self.by_field.items()}
            return parts | {"name": self.name, "type": "summary"}
        whole = {"flagged": float(self.flagged), "total": float(self.total)}
        return _casa(self.axes) | whole | {"name": self.name, "type": "summary"}

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        head = f"flag {self.mode}  {self.flagged:,} of {self.total:,} samples flagged ({self.fraction:.2%})"
        if self.mode != "summary":
            head += f", {self.changed:,} changed"
        table = Table(title=f"{head}  {self.seconds:.2f} s", title_justify="left")
        for title in ("", "name"):
            table.add_column(title)
        for title in ("flagged", "total", "%"):
            table.add_column(title, justify="right")
        for axis in (*_SHOWN, *sorted(self.axes.keys() - {*_SHOWN, "array", "observation"})):
            for number, (name, entry) in enumerate(self.axes.get(axis, {}).items()):
                share = entry["flagged"] / entry["total"] if entry["total"] else 0.0
                first = axis if number == 0 else ""
                table.add_row(
                    first, Text(name), f"{entry['flagged']:,}", f"{entry['total']:,}", f"{share:.2%}"
                )
            table.add_section()
        for path in self.products:
            table.add_row("saved", Text(path), "", "", "")
        for warning in self.warnings:
            table.add_row(Text("warning", style="yellow"), Text(warning), "", "", "")
        return table


def named_counts(ms: MeasurementSet, tally: Tally, limits: Limits) -> Counts:
    """Turn the ids of a tally into the names that CASA uses, and leave out what `limits` leaves out.

    An antenna or a field without a name is called by its number.
    """
    antennas = [antenna.name or str(antenna.id) for antenna in ms.antennas]
    fields = [entry.name or str(entry.id) for entry in ms.fields]
    result: Counts = {}
    for axis, entries in tally.axes.items():
        named: dict[str, dict[str, int]] = {}
        for key in sorted(entries):
            ids = list(key)
            if axis == "antenna":
                label = antennas[int(ids[0])]
            elif axis == "field":
                label = fields[int(ids[0])]
            elif axis == "baseline":
                label = "&&".join(antennas[int(number)] for number in ids)
            elif axis == "antenna:scan":
                label = f"{antennas[int(ids[0])]}:{ids[1]}"
            else:
                label = ":".join(map(str, ids))
            entry = named.setdefault(label, {"flagged": 0, "total": 0})
            entry["flagged"] += entries[key][0]
            entry["total"] += entries[key][1]
        result[axis] = {
            label: entry for label, entry in named.items() if limits.keep(entry["flagged"], entry["total"])
        }
    return result


def _casa(counts: Counts) -> dict[str, Any]:
    result: dict[str, Any] = {
        axis: {
            label: {"flagged": float(entry["flagged"]), "total": float(entry["total"])}
            for label, entry in entries.items()
        }
        for axis, entries in counts.items()
    }
    spws = counts.get("spw", {}).values()
    result["flagged"] = float(sum(entry["flagged"] for entry in spws))
    result["total"] = float(sum(entry["total"] for entry in spws))
    return result
