from __future__ import annotations

import numpy as np

from parallactic.kernels.flagging import count_axes


def test_counts_along_every_axis() -> None:
    flags = np.random.default_rng(1).random((11, 7, 4)) < 0.3
    rows, channels, correlations = count_axes(flags)
    assert np.array_equal(rows, flags.sum(axis=1))
    assert np.array_equal(channels, flags.sum(axis=(0, 2)))
    assert np.array_equal(correlations, flags.sum(axis=(0, 1)))


def test_nothing_to_count() -> None:
    rows, channels, correlations = count_axes(np.zeros((0, 3, 2), dtype=bool))
    assert rows.shape == (0, 2)
    assert channels.tolist() == [0, 0, 0]
    assert correlations.tolist() == [0, 0]
