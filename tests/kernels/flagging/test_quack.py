from __future__ import annotations

import numpy as np
import pytest

from parallactic.kernels.flagging import quack, scan_bounds
from parallactic.kernels.flagging.quack import QuackMode

# Two scans of five integrations of 10 s, two baselines each, in no order.
TIME = np.array([0, 10, 20, 30, 40, 100, 110, 120, 130, 140] * 2, dtype=np.float64)
SCAN = np.array([1] * 5 + [2] * 5 + [1] * 5 + [2] * 5)


def flagged(mode: QuackMode, interval: float, use: np.ndarray | None = None) -> list[str]:
    order = np.random.default_rng(1).permutation(len(TIME))
    time, scan = TIME[order], SCAN[order]
    scans, first, last = scan_bounds(time, scan, None if use is None else use[order])
    place = np.searchsorted(scans, scan)
    bad = np.empty(len(time), dtype=bool)
    bad[order] = quack(time, first[place], last[place], interval, mode)
    assert np.array_equal(bad[:10], bad[10:])
    return ["".join("X" if b else "." for b in bad[k : k + 5]) for k in (0, 5)]


@pytest.mark.parametrize(
    ("mode", "interval", "expected"),
    [
        ("beg", 1.0, "X...."),
        ("beg", 9.9, "X...."),
        ("beg", 10.0, "XX..."),
        ("beg", 15.0, "XX..."),
        ("endb", 1.0, "....X"),
        ("endb", 10.0, "...XX"),
        ("tail", 1.0, ".XXXX"),
        ("tail", 10.0, "..XXX"),
        ("end", 1.0, "XXXX."),
        ("end", 10.0, "XXX.."),
        ("beg", 1000.0, "XXXXX"),
        ("tail", 1000.0, "....."),
    ],
)
def test_each_mode(mode: QuackMode, interval: float, expected: str) -> None:
    assert flagged(mode, interval) == [expected, expected]


def test_beg_and_tail_share_a_scan_between_them_and_so_do_endb_and_end() -> None:
    for interval in (0.0, 3.0, 10.0, 33.3):
        for one, other in (("beg", "tail"), ("endb", "end")):
            a, b = flagged(one, interval), flagged(other, interval)  # type: ignore[arg-type]
            assert all((x == "X") != (y == "X") for x, y in zip("".join(a), "".join(b), strict=True))


def test_counted_from_the_first_unflagged_data() -> None:
    use = np.ones(20, dtype=bool)
    use[[0, 1, 10, 11]] = False  # both baselines of the first two integrations of scan 1
    assert flagged("beg", 15.0, use) == ["XXXX.", "XX..."]
    use[10] = True  # one baseline has data at the very beginning
    assert flagged("beg", 15.0, use) == ["XX...", "XX..."]


def test_counted_back_from_the_last_unflagged_data() -> None:
    use = np.ones(20, dtype=bool)
    use[[4, 14]] = False
    assert flagged("endb", 10.0, use) == ["..XXX", "...XX"]


@pytest.mark.parametrize("mode", ["beg", "endb", "end", "tail"])
def test_a_scan_without_data_is_left_alone(mode: QuackMode) -> None:
    use = SCAN == 2
    assert flagged(mode, 10.0, use)[0] == "....."
