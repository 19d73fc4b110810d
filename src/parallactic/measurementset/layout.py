"""What a selection keeps of a set, and under which ids: the plan that all sub-MSs of one product share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset import expressions
from parallactic.measurementset.metadata import VISIBILITIES
from parallactic.measurementset.ms import MeasurementSet
from parallactic.measurementset.selection import Selected, Selection

__all__ = ["DataColumn", "Layout", "make_layout"]

DataColumn = Literal["all", "data", "model", "corrected"]

_DERIVED = ("FLAG_CATEGORY",)


@dataclass(frozen=True)
class Layout:
    """What is kept and what it is called in the product.

    As in CASA's partition, spectral windows, data descriptions and fields that an expression leaves out are
    removed from the sub-tables and the others are numbered anew; antennas and states keep their ids.

    Attributes
    ----------
    spws, ddids, fields
        The old ids that are kept, in the order of their new ids.
    channels
        Per old spectral window the channels that are kept.
    correlations
        Per old polarization the places that are kept.
    columns
        (source, target) of every column of the main table that is copied.
    """

    spws: tuple[int, ...]
    ddids: tuple[int, ...]
    fields: tuple[int, ...]
    channels: dict[int, NDArray[np.int64]]
    correlations: dict[int, NDArray[np.int64]]
    columns: tuple[tuple[str, str], ...]

    def new_ids(self, kind: Literal["spws", "ddids", "fields"], old: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the new ids of `old` ones; what is not kept, and −1, becomes −1."""
        kept = np.array(getattr(self, kind), dtype=np.int64)
        table = np.full(max(int(old.max(initial=0)), int(kept.max(initial=0))) + 2, -1, dtype=np.int32)
        table[kept] = np.arange(len(kept), dtype=np.int32)
        return table[np.where(old < 0, len(table) - 1, old)]


def make_layout(
    ms: MeasurementSet, selection: Selection, selected: Selected, datacolumn: DataColumn = "all"
) -> Layout:
    """Plan a product that holds `selected`.

    Parameters
    ----------
    ms
        The source.
    selection, selected
        What was asked for, and what it found in `ms`.
    datacolumn
        ``"all"`` keeps every column of visibilities under its name; another one alone, as DATA.

    Raises
    ------
    InvalidSpec
        If the data column does not exist.
    """
    fields = tuple(range(len(ms.fields)))
    if selection.field.strip():
        names = [f.name for f in ms.fields]
        fields = tuple(int(i) for i in expressions.ids_or_names(selection.field, names, "field"))
    ddids = tuple(
        d.id
        for d in ms.data_descriptions
        if d.spw in selected.channels and d.polarization in selected.correlations
    )
    return Layout(
        spws=tuple(selected.channels),
        ddids=ddids,
        fields=fields,
        channels=selected.channels,
        correlations=selected.correlations,
        columns=_columns(ms, datacolumn),
    )


def _columns(ms: MeasurementSet, datacolumn: DataColumn) -> tuple[tuple[str, str], ...]:
    source = {"data": "DATA", "model": "MODEL_DATA", "corrected": "CORRECTED_DATA"}.get(datacolumn)
    if source is None and datacolumn != "all":
        raise InvalidSpec(f"datacolumn={datacolumn!r} is unknown; known are all, data, model and corrected.")
    if source is not None:
        ms.require(source)
    chosen = []
    for name in ms.columns:
        if name in _DERIVED:
            continue
        if source is None or name not in VISIBILITIES:
            chosen.append((name, name))
        elif name == source:
            chosen.append((name, "DATA"))
    return tuple(chosen)
