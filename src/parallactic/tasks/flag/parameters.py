"""What a call of flag asks for, and what of it cannot be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from parallactic.errors import InvalidSpec
from parallactic.kernels.flagging.expression import split_expression
from parallactic.kernels.flagging.tfcrop import TfcropParameters
from parallactic.tasks.quantity import quantity

__all__ = [
    "Action",
    "Column",
    "Cutoff",
    "DataColumn",
    "FlagParameters",
    "Mode",
    "Share",
    "check_call",
    "seconds",
]

_LATER = ("shadow", "elevation", "rflag", "sumthreshold", "extend", "list")


def _known_mode(mode: Any) -> Any:
    if mode in _LATER:
        raise ValueError(f"this mode is not there yet; there are {', '.join(get_args(_ModeName))}.")
    return mode


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


_ModeName = Literal["manual", "clip", "quack", "tfcrop", "unflag", "summary"]
Mode = Annotated[_ModeName, BeforeValidator(_known_mode)]
Action = Literal["apply", "calculate"]
Column = Literal["DATA", "CORRECTED", "MODEL", "RESIDUAL", "RESIDUAL_DATA"]
DataColumn = Annotated[Column, BeforeValidator(_upper)]
Cutoff = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "DATA": ("DATA",),
    "CORRECTED": ("CORRECTED_DATA",),
    "MODEL": ("MODEL_DATA",),
    "RESIDUAL": ("CORRECTED_DATA", "MODEL_DATA"),
    "RESIDUAL_DATA": ("DATA", "MODEL_DATA"),
}
"""The columns of the main table that each `datacolumn` reads; the second is subtracted from the first."""

_OF_MODE: Mapping[str, tuple[str, ...]] = {
    "autocorr": ("manual",),
    "datacolumn": ("clip", "tfcrop"),
    "clipminmax": ("clip",),
    "clipoutside": ("clip",),
    "clipzeros": ("clip",),
    "quackinterval": ("quack",),
    "quackmode": ("quack",),
    "quackincrement": ("quack",),
    **dict.fromkeys(
        (
            "ntime", "combinescans", "timecutoff", "freqcutoff", "timefit", "freqfit", "maxnpieces",
            "flagdimension", "usewindowstats", "halfwin", "extendflags",
        ),
        ("tfcrop",),
    ),
    **dict.fromkeys(
        ("name", "spwchan", "spwcorr", "basecnt", "fieldcnt", "minrel", "maxrel", "minabs", "maxabs"),
        ("summary",),
    ),
}  # fmt: skip
"""Which modes a parameter belongs to; those not here belong to all."""


@dataclass(frozen=True)
class FlagParameters:
    """What the workers need to know of a call.

    Parameters
    ----------
    mode, action, datacolumn
        As in the call.
    correlation
        The expression of clip and tfcrop.
    clipminmax
        The range, or None.
    clipoutside, clipzeros, extendflags
        As in the call.
    tfcrop
        What the kernel takes.
    details
        Which further counts the summary holds: of ``channel``, ``correlation``, ``baseline``, ``field``.
    """

    mode: str
    action: Action = "apply"
    datacolumn: Column = "DATA"
    correlation: str = ""
    clipminmax: tuple[float, float] | None = None
    clipoutside: bool = True
    clipzeros: bool = False
    extendflags: bool = True
    tfcrop: TfcropParameters = field(default_factory=TfcropParameters)
    details: frozenset[str] = frozenset()

    @property
    def writes(self) -> bool:
        """Whether flags are changed on disk."""
        return self.mode != "summary" and self.action == "apply"

    @property
    def columns(self) -> tuple[str, ...]:
        """The data columns that are read."""
        return COLUMNS[self.datacolumn] if self.mode in ("clip", "tfcrop") else ()


def check_call(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Check what can be checked without looking at the data.

    Parameters
    ----------
    defaults
        The default of every parameter that has one.
    given
        The complete parameters of the call.

    Raises
    ------
    InvalidSpec
        If a parameter belongs to another mode, or its value cannot be.
    """
    mode = given["mode"]
    for name, modes in _OF_MODE.items():
        value = tuple(given[name]) if isinstance(given[name], list) else given[name]
        if mode not in modes and value != defaults[name]:
            raise InvalidSpec(
                f"flag: {name}={given[name]!r} belongs to mode={' or '.join(map(repr, modes))}, "
                f"not to mode={mode!r}; leave it out."
            )
    if mode == "clip":
        _check_clip(given["clipminmax"])
    if mode in ("clip", "tfcrop"):
        function, _ = split_expression(given["correlation"])
        if mode == "tfcrop" and function not in ("ABS", "NORM"):
            raise InvalidSpec(
                f"flag: correlation={given['correlation']!r}: tfcrop fits the shape of what cannot be "
                "negative; use ABS or NORM."
            )
    if mode == "quack" and quantity(given["quackinterval"], "time") < 0:
        raise InvalidSpec(f"flag: quackinterval={given['quackinterval']!r} must not be negative.")
    if mode == "tfcrop":
        seconds(given["ntime"])


def _check_clip(clipminmax: Sequence[float]) -> None:
    if len(clipminmax) not in (0, 2):
        raise InvalidSpec(
            f"flag: clipminmax={list(clipminmax)!r} must be a range [least, greatest], or empty."
        )
    if any(math.isnan(limit) for limit in clipminmax) or list(clipminmax) != sorted(clipminmax):
        raise InvalidSpec(
            f"flag: clipminmax={list(clipminmax)!r} must rise from the least to the greatest value."
        )


def seconds(ntime: str | float) -> float | None:
    """Return the length of a chunk in seconds; None for whole scans.

    Raises
    ------
    InvalidSpec
        If it is neither ``"scan"`` nor a positive time.
    """
    if ntime == "scan":
        return None
    try:
        length = quantity(ntime, "time")
    except InvalidSpec as error:
        raise InvalidSpec(f"flag: ntime must be 'scan' or a time such as '90s': {error}") from None
    if not length > 0:
        raise InvalidSpec(f"flag: ntime={ntime!r} must be longer than nothing.")
    return length
