"""Averaging: against sums written out, and the identity behind the scatter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parallactic.kernels.solving import BaselineSums, baseline_matrix, combine_ratios

NANT, NCHAN, NCORR = 4, 6, 4
RECEPTORS = np.array([0, -1, -1, 1])
GROUPS = np.array([0, 0, 1, 1, -1, 2])

# Sums of some twenty products of single precision numbers, added in double: the inputs are exact.
EXACT = 1e-12


@pytest.fixture
def rows() -> dict[str, Any]:
    rng = np.random.default_rng(11)
    pairs = [(p, q) for p in range(NANT) for q in range(p, NANT)] * 3
    nrow = len(pairs)
    shape = (nrow, NCHAN, NCORR)
    return {
        "data": (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64),
        "model": (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64),
        "weights": rng.uniform(0.5, 2.0, shape).astype(np.float32),
        "flags": rng.uniform(size=shape) < 0.3,
        "antenna1": np.array([p for p, _ in pairs], dtype=np.int32),
        "antenna2": np.array([q for _, q in pairs], dtype=np.int32),
        "times": rng.uniform(0, 10, nrow),
        "slots": np.repeat([0, 1, -1], nrow // 3).astype(np.int64),
    }


def added(rows: dict[str, Any]) -> BaselineSums:
    sums = BaselineSums(2, NANT, 3)
    sums.add(**rows, groups=GROUPS, receptors=RECEPTORS)
    return sums


def test_sums_are_those_written_out(rows: dict[str, Any]) -> None:
    sums = added(rows)
    for slot, group, receptor, p, q in np.ndindex(sums.products.shape):
        product = weight = 0.0
        if p < q:
            corr = {0: 0, 1: 3}[receptor]
            for row in np.flatnonzero(
                (rows["slots"] == slot) & (rows["antenna1"] == p) & (rows["antenna2"] == q)
            ):
                for chan in np.flatnonzero(group == GROUPS):
                    if rows["flags"][row, chan, corr]:
                        continue
                    V, M = complex(rows["data"][row, chan, corr]), complex(rows["model"][row, chan, corr])
                    w = float(rows["weights"][row, chan, corr])
                    product += w * V * M.conjugate()
                    weight += w * abs(M) ** 2
        assert sums.products[slot, group, receptor, p, q] == pytest.approx(product, rel=EXACT, abs=EXACT)
        assert sums.weights[slot, group, receptor, p, q] == pytest.approx(weight, rel=EXACT)


def test_antennas_in_the_other_order_are_conjugated(rows: dict[str, Any]) -> None:
    turned = dict(rows)
    turned["antenna1"], turned["antenna2"] = rows["antenna2"], rows["antenna1"]
    turned["data"], turned["model"] = rows["data"].conj(), rows["model"].conj()
    np.testing.assert_allclose(added(turned).products, added(rows).products, rtol=EXACT, atol=EXACT)


def test_cutting_the_rows_into_pieces_changes_no_bit(rows: dict[str, Any]) -> None:
    whole, pieces = added(rows), BaselineSums(2, NANT, 3)
    for start in range(0, len(rows["times"]), 7):
        part = {name: values[start : start + 7] for name, values in rows.items()}
        pieces.add(**part, groups=GROUPS, receptors=RECEPTORS)
    np.testing.assert_array_equal(pieces.products, whole.products)
    np.testing.assert_array_equal(pieces.times, whole.times)


@pytest.mark.parametrize("name", ["data", "model", "weights"])
def test_what_is_not_finite_is_left_out(rows: dict[str, Any], name: str) -> None:
    clean = added(rows)
    broken = {**rows, name: rows[name].copy()}
    broken[name][rows["flags"]] = np.nan
    np.testing.assert_array_equal(added(broken).products, clean.products)
    broken[name][...] = np.nan
    assert not added(broken).weights.any()


def test_a_model_of_zero_gives_no_weight(rows: dict[str, Any]) -> None:
    assert not added({**rows, "model": np.zeros_like(rows["model"])}).weights.any()


def test_the_matrix_is_hermitian(rows: dict[str, Any]) -> None:
    sums = added(rows)
    V, W = baseline_matrix(sums.products, sums.weights)
    np.testing.assert_array_equal(V, np.conj(np.swapaxes(V, -1, -2)))
    np.testing.assert_array_equal(W, np.swapaxes(W, -1, -2))
    assert not W[..., range(NANT), range(NANT)].any()


def test_scatter_turns_the_chi2_of_means_into_that_of_the_data() -> None:
    rng = np.random.default_rng(3)
    V = rng.normal(size=(5, 3, 3)) + 1j * rng.normal(size=(5, 3, 3))
    weights = rng.uniform(0, 2, (5, 3, 3)) * (rng.uniform(size=(5, 3, 3)) > 0.2)
    mean, total, scatter, count = combine_ratios(V, weights, axis=0)
    for x in (0.0, 1.0, -2.0 + 3.0j):
        chi2 = (weights * np.abs(V - x) ** 2).sum(axis=0)
        np.testing.assert_allclose(total * np.abs(mean - x) ** 2 + scatter, chi2, rtol=1e-12)
    np.testing.assert_array_equal(count, (weights > 0).sum(axis=0))
