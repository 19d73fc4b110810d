from __future__ import annotations

import numpy as np
import pytest

from parallactic.errors import InvalidSpec
from parallactic.kernels.flagging import Expression
from parallactic.kernels.flagging.expression import split_expression

CIRCULAR = ("RR", "RL", "LR", "LL")


@pytest.mark.parametrize(
    ("text", "function", "names"),
    [
        ("", "ABS", ("ALL",)),
        ("ABS_ALL", "ABS", ("ALL",)),
        ("real_rr", "REAL", ("RR",)),
        ("REAL_RR,LL", "REAL", ("RR", "LL")),
        ("REAL_RR,REAL_LL", "REAL", ("RR", "LL")),
        ("RR LL", "ABS", ("RR", "LL")),
        ("ARG_XX", "ARG", ("XX",)),
        ("NORM_I", "NORM", ("I",)),
        ("IMAG_", "IMAG", ("ALL",)),
    ],
)
def test_reads(text: str, function: str, names: tuple[str, ...]) -> None:
    assert split_expression(text) == (function, names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ABSS_RR", "did you mean 'ABS'"),
        ("ABS_RP", "there is no correlation 'RP'"),
        ("ABS_RR,REAL_LL", "mixes ABS and REAL"),
        ("REAL", "write REAL_ALL"),
        ("ABS_V", "only I can be judged"),
    ],
)
def test_refuses(text: str, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        split_expression(text)


def test_products_are_places_of_correlations() -> None:
    assert Expression.parse("ABS_ALL", CIRCULAR).products == ((0,), (1,), (2,), (3,))
    assert Expression.parse("LL,RR", CIRCULAR).products == ((3,), (0,))
    assert Expression.parse("ABS_I", CIRCULAR).products == ((0, 3),)
    assert Expression.parse("ABS_I", ("XX", "YY")).products == ((0, 1),)
    assert Expression.parse("ABS_I", ("I",)).products == ((0,),)
    assert Expression.parse("ABS_XX", CIRCULAR).products == ()


def test_values_are_the_functions_of_the_visibilities() -> None:
    rng = np.random.default_rng(1)
    data = (rng.normal(size=(5, 3, 4)) + 1j * rng.normal(size=(5, 3, 4))).astype(np.complex64)
    exact = data.astype(np.complex128)
    expected = {
        "ABS": np.abs(exact),
        "REAL": exact.real,
        "IMAG": exact.imag,
        "ARG": np.arctan2(exact.imag, exact.real),
        "NORM": np.abs(exact) ** 2,
    }
    for function, values in expected.items():
        found = Expression.parse(f"{function}_ALL", CIRCULAR).values(data)
        assert found.dtype == np.float32
        # A few roundings of single precision.
        assert np.allclose(found, values, rtol=4e-7, atol=0)


def test_amplitudes_are_rounded_once() -> None:
    """A limit falls between two neighbouring amplitudes: the nearest single to the exact one decides."""
    rng = np.random.default_rng(2)
    data = (rng.normal(size=(200, 50, 1)) + 1j * rng.normal(size=(200, 50, 1))).astype(np.complex64)
    exact = np.hypot(data.real.astype(np.float64), data.imag.astype(np.float64))
    assert np.array_equal(Expression.parse("", ("RR",)).values(data), exact.astype(np.float32))


def test_stokes_i_speaks_for_both_hands() -> None:
    data = np.zeros((1, 2, 4), dtype=np.complex64)
    data[0, 0] = [3, 100, 100, 1]
    expression = Expression.parse("REAL_I", CIRCULAR)
    assert expression.values(data)[0, 0, 0] == 2
    flags = np.zeros((1, 2, 4), dtype=bool)
    flags[0, 1, 3] = True
    assert expression.gather(flags).tolist() == [[[False], [True]]]
    expression.scatter(np.array([[[True], [False]]]), flags)
    assert flags[0].tolist() == [[True, False, False, True], [False, False, False, True]]


def test_real_data_have_amplitudes_too() -> None:
    data = np.array([[[-2.0, 3.0]]], dtype=np.float32)
    assert Expression.parse("", ("XX", "YY")).values(data).tolist() == [[[2.0, 3.0]]]
