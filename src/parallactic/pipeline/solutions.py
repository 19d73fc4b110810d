"""Calibration tables as arrays, to draw and to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from casacore.tables import table

__all__ = ["Solutions"]


@dataclass(frozen=True)
class Solutions:
    """The rows of a calibration table of complex solutions.

    Attributes
    ----------
    time
        In seconds of MJD, (nrow,).
    spw, antenna
        Numbers, (nrow,).
    values, flag
        (nrow, nchan, nfeed), nchan being 1 for gains and that of the widest window for a bandpass.
    names
        Of all antennas.
    frequencies
        Of every window's solutions, in Hz, (nchan,).
    reference
        Number of the reference antenna of the first row.
    """

    time: npt.NDArray[np.float64]
    spw: npt.NDArray[np.int32]
    antenna: npt.NDArray[np.int32]
    values: npt.NDArray[np.complex128]
    flag: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    frequencies: tuple[npt.NDArray[np.float64], ...]
    reference: int

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read the table at `path`."""
        with table(str(path), ack=False) as main:
            time, spw, antenna = (main.getcol(name) for name in ("TIME", "SPECTRAL_WINDOW_ID", "ANTENNA1"))
            reference = int(main.getcell("ANTENNA2", 0))
            cells = [np.asarray(main.getcell("CPARAM", row)) for row in range(len(time))]
            flags = [np.asarray(main.getcell("FLAG", row)) for row in range(len(time))]
            with table(str(main.getkeyword("ANTENNA")), ack=False) as antennas:
                names = tuple(antennas.getcol("NAME"))
            with table(str(main.getkeyword("SPECTRAL_WINDOW")), ack=False) as windows:
                frequencies = tuple(
                    np.asarray(windows.getcell("CHAN_FREQ", row)).ravel() for row in range(windows.nrows())
                )
        widest = max(len(cell) for cell in cells)
        values = np.zeros((len(cells), widest, cells[0].shape[1]), dtype=np.complex128)
        flag = np.ones(values.shape, dtype=np.bool_)
        for row, (cell, mask) in enumerate(zip(cells, flags, strict=True)):
            values[row, : len(cell)], flag[row, : len(cell)] = cell, mask
        return cls(time, spw, antenna, values, flag, names, frequencies, reference)

    @property
    def spws(self) -> Sequence[int]:
        """The windows that have solutions."""
        return [int(spw) for spw in np.unique(self.spw)]

    @property
    def antennas(self) -> Sequence[int]:
        """The antennas that have at least one good solution."""
        return [int(antenna) for antenna in np.unique(self.antenna[~self.flag.all(axis=(1, 2))])]
