from __future__ import annotations

import numpy as np

from parallactic.kernels.flagging import clip

VALUES = np.array([0.0, 0.5, 1.0, 2.0, 2.5, np.nan, np.inf, -np.inf], dtype=np.float32)
NO_NUMBER = [False] * 5 + [True] * 3


def test_the_limits_belong_to_the_range() -> None:
    assert clip(VALUES, (0.5, 2.0)).tolist() == [True, False, False, False, True, True, True, True]
    inside = clip(VALUES, (0.5, 2.0), clipoutside=False)
    assert inside.tolist() == [False, True, True, True, False, True, True, True]


def test_limits_are_compared_in_single_precision() -> None:
    values = np.array([0.7, 1.3], dtype=np.float32)
    assert not clip(values, (0.7, 1.3)).any()


def test_without_a_range_only_what_is_no_number() -> None:
    assert clip(VALUES).tolist() == NO_NUMBER


def test_zeros_if_asked() -> None:
    assert clip(VALUES, clipzeros=True).tolist() == [True, *NO_NUMBER[1:]]
    assert clip(VALUES, (0.0, 9.0), clipzeros=True).tolist() == [True, *NO_NUMBER[1:]]


def test_any_shape() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert np.array_equal(clip(values, (5, 10)), (values < 5) | (values > 10))
