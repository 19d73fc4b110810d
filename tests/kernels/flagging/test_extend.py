from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parallactic.kernels.flagging import extend_blocks

NTIME, NCHAN = 30, 64
ONE = np.array([0, NTIME])


def empty() -> NDArray[np.bool_]:
    return np.zeros((NTIME, NCHAN, 4), dtype=bool)


def test_a_channel_flagged_half_of_the_time_is_flagged_all_the_time() -> None:
    for count, expected in ((14, 14), (15, 30), (16, 30)):
        flags = empty()
        flags[:count, 5, 0] = True
        extend_blocks(flags, ONE, extendpols=False)
        assert flags[:, 5, 0].sum() == expected
        assert flags.sum() == expected


def test_a_time_flagged_in_most_channels_is_flagged_in_all() -> None:
    for count, expected in ((51, 51), (52, 64)):  # 80 % of 64 are 51.2
        flags = empty()
        flags[3, :count, 2] = True
        extend_blocks(flags, ONE, extendpols=False)
        assert flags.sum() == expected


def test_both_are_judged_on_the_flags_as_they_came() -> None:
    flags = empty()
    flags[:16, :34, 0] = True
    extend_blocks(flags, ONE, growfreq=50.0, extendpols=False)
    # 34 channels all the time and 16 times in all channels; the other 14 times had no flag of their own.
    assert flags[..., 0].sum() == 34 * 30 + 16 * 64 - 34 * 16


def test_correlations_come_last() -> None:
    flags = empty()
    flags[:10, 5, 0] = flags[10:20, 5, 3] = True
    extend_blocks(flags, ONE)
    assert flags[:, 5].sum(axis=0).tolist() == [20, 20, 20, 20]


def test_blocks_do_not_touch_each_other() -> None:
    flags = empty()
    flags[:5, 7, 1] = True
    extend_blocks(flags, np.array([0, 10, 30]), extendpols=False)
    assert flags[:10, 7, 1].all()
    assert flags.sum() == 10


def test_zero_and_hundred_percent_mean_not_at_all() -> None:
    for percent in (0.0, 100.0):
        flags = empty()
        flags[:29, 5, 0] = flags[4, :, 0] = True
        before = flags.copy()
        extend_blocks(flags, ONE, growtime=percent, growfreq=percent, extendpols=False)
        assert np.array_equal(flags, before)
