"""What the `correlation` parameter of the automatic modes says: which real numbers are judged.

``"ABS_ALL"``, ``"REAL_RR,LL"``, ``"RR"`` (its amplitude), ``"ABS_I"``: a function, an underscore, and
correlations. Nothing else is judged for it: CASA reads the I of ``IMAG_RR`` as Stokes I and clips that too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.spec import near_match

__all__ = ["FUNCTIONS", "Expression", "split_expression"]

FUNCTIONS = ("ABS", "REAL", "IMAG", "ARG", "NORM")
"""Amplitude, parts, phase in radians, and squared amplitude."""

_NAMES = ("RR", "RL", "LR", "LL", "XX", "XY", "YX", "YY")
_SPLIT = re.compile(r"[,;\s]+")


def split_expression(text: str) -> tuple[str, tuple[str, ...]]:
    """Split ``"REAL_RR,LL"`` into ``("REAL", ("RR", "LL"))``.

    Parameters
    ----------
    text
        The parameter; empty means ``"ABS_ALL"``. The function may be repeated before each correlation.

    Returns
    -------
    tuple
        The function, and the names of the correlations, ``("ALL",)`` for all.

    Raises
    ------
    InvalidSpec
        If a function or a correlation is unknown, or functions are mixed.
    """
    functions: list[str] = []
    names: list[str] = []
    for part in _SPLIT.split(text.strip().upper()):
        function, underscore, name = part.rpartition("_")
        if underscore:
            if function not in FUNCTIONS:
                raise InvalidSpec(
                    f"correlation={text!r}: {function!r} is no function of visibilities"
                    f"{near_match(function, FUNCTIONS)} There are {', '.join(FUNCTIONS)}."
                )
            functions.append(function)
        if name in FUNCTIONS:
            raise InvalidSpec(
                f"correlation={text!r} says what to compute but not of which correlation; write {name}_ALL."
            )
        if name in ("Q", "U", "V"):
            raise InvalidSpec(
                f"correlation={text!r}: of the Stokes parameters only I can be judged; "
                "name the correlations for the others, such as ABS_RL,LR."
            )
        if name and name not in ("ALL", "I", *_NAMES):
            known = ("ALL", "I", *_NAMES)
            raise InvalidSpec(
                f"correlation={text!r}: there is no correlation {name!r}{near_match(name, known)} "
                f"There are {', '.join(known)}."
            )
        if name:
            names.append(name)
    if len(set(functions)) > 1:
        raise InvalidSpec(f"correlation={text!r} mixes {' and '.join(dict.fromkeys(functions))}; name one.")
    return functions[0] if functions else "ABS", tuple(dict.fromkeys(names)) or ("ALL",)


@dataclass(frozen=True)
class Expression:
    """Real numbers computed from visibilities, and the correlations each of them speaks for.

    Parameters
    ----------
    function
        One of `FUNCTIONS`.
    products
        For each number the indices of the correlations it is the mean of: one, or the two parallel hands of
        Stokes I. What is found bad there is flagged in all of them.
    """

    function: str
    products: tuple[tuple[int, ...], ...]

    @classmethod
    def parse(cls, text: str, correlations: Sequence[str]) -> Expression:
        """Read the parameter for data that hold `correlations`; those the data lack are left out.

        Raises
        ------
        InvalidSpec
            If the text cannot be read.
        """
        function, names = split_expression(text)
        products: list[tuple[int, ...]] = []
        for name in names:
            if name == "ALL":
                products += [(i,) for i in range(len(correlations))]
            elif name == "I" and "I" not in correlations:
                for pair in (("RR", "LL"), ("XX", "YY")):
                    if all(hand in correlations for hand in pair):
                        products.append((correlations.index(pair[0]), correlations.index(pair[1])))
            elif name in correlations:
                products.append((correlations.index(name),))
        return cls(function, tuple(dict.fromkeys(products)))

    def values(self, data: NDArray[np.complexfloating] | NDArray[np.floating]) -> NDArray[np.float32]:
        """Compute the numbers.

        Parameters
        ----------
        data
            Visibilities, (nrow, nchan, ncorr); complex, or real as in FLOAT_DATA.

        Returns
        -------
        ndarray
            float32, (nrow, nchan, number of products); the arithmetic is single precision throughout.
        """
        result = np.empty((*data.shape[:2], len(self.products)), dtype=np.float32)
        for place, product in enumerate(self.products):
            mean = data[..., product[0]]
            if len(product) == 2:
                mean = (mean + data[..., product[1]]) / data.real.dtype.type(2)
            result[..., place] = _FUNCTION[self.function](mean)
        return result

    def gather(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the flags of the numbers: one is flagged if any correlation in it is."""
        result = np.empty((*flags.shape[:2], len(self.products)), dtype=np.bool_)
        for place, product in enumerate(self.products):
            result[..., place] = flags[..., list(product)].any(axis=-1)
        return result

    def scatter(self, found: NDArray[np.bool_], flags: NDArray[np.bool_]) -> None:
        """Add what was `found` in the numbers to the `flags` of the correlations, in place."""
        for place, product in enumerate(self.products):
            for corr in product:
                flags[..., corr] |= found[..., place]


def _amplitude(values: NDArray[Any]) -> NDArray[np.floating]:
    # numpy's abs of complex64 is off by a rounding now and then; a limit must fall as it does in CASA.
    return np.asarray(np.hypot(values.real, values.imag))


def _norm(values: NDArray[np.complexfloating]) -> NDArray[np.floating]:
    return np.asarray(values.real * values.real + values.imag * values.imag)


_FUNCTION: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "ABS": _amplitude,
    "REAL": np.real,
    "IMAG": np.imag,
    "ARG": np.angle,
    "NORM": _norm,
}
