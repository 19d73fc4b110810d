"""Selecting in CASA's syntax: against the known set, and against CASA's own parser row by row."""

from __future__ import annotations

import numpy as np
import pytest

from known_sets import MIXED, START, Plan, make
from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet, Selection
from parallactic.measurementset.baselines import antenna_ids
from parallactic.measurementset.ranges import format_time

CASA_NAMES = {
    "antenna": "baseline",
    "timerange": "time",
    "uvrange": "uvdist",
    "correlation": "polarization",
    "intent": "scanintent",
    "msselect": "taql",
}


@pytest.fixture(scope="module")
def ms(tmp_path_factory) -> MeasurementSet:
    return make(tmp_path_factory.mktemp("selection") / "known.ms", MIXED)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> MeasurementSet:
    """Antennas whose names are numbers, and not their ids."""
    names = ["1", "2", "4", "3", "", "0"]
    return make(tmp_path_factory.mktemp("numbered") / "numbered.ms", Plan(names=names, nscan=1, ntime=1))


def clock(seconds: float) -> str:
    return format_time(START + seconds)


def hours(seconds: float) -> str:
    return clock(seconds)[11:]


COMPARED = [
    *({"antenna": text} for text in (
        "ea01", "ea01&&", "ea01&&&", "ea01&ea02", "ea01&*", "ea01&&*", "*&", "*&*", "*&&", "*&&&", "!ea01",
        "!ea01&&&", "!*&&&", "ea01,ea02", "ea01,ea02&", "ea01,ea02&ea03", "ea01;ea02", "!ea01;!ea02",
        "ea01;!ea02",
        "!ea01;ea02", "ea0*", "ea0?&", "0", "0~2", "0~2&", "1&2;3&4", "W01", "ea01@W00", "@W01", "*@W01",
        ">300m",
        "<200m", ">0.3km", "!ea01,ea02", "0~9", "/ea0[12]/", "W0*", "ea01 & ea02", "ea01&&ea02",
        "ea01,ea02&&ea02",
    )),
    *({"field": text} for text in (
        "0", "0,1", "0~1", "0~9", "3C*", "3C286", "J1008+07", ">0", "<2", "*", "3C286,2", "/3C.*/",
        '"3C286"',
    )),
    *({"scan": text} for text in ("1", "1~3", ">2", "<2", ">=2", "<=3", "1~99", "1,2~3", ">2 & <4")),
    *({"spw": text} for text in (
        "0", "1", "*", "0:3", "0:3~7", "0:3~7^2", "0:2~4;6~9", "0,1:2~4", "0:2~4,1:1", "0,0:5", "*:3~5",
        "0~1:3~5",
        "band0", "band*", "0:5~99", "0:1.403~1.406GHz", "1400~1600MHz", "1.405~1.409GHz", "1.408~1.6GHz",
        "<1",
        ">0", "band0:2~4", "0:3~7^3;9", "0:5,0:7", ">1.45GHz", "<1.41GHz", ">1.405GHz",
    )),
    *({"correlation": text} for text in ("RR", "RR,LL", "XX", "rr", "XX,YY")),
    *({"intent": text} for text in (
        "*TARGET*", "OBSERVE_TARGET*", "CALIBRATE_FLUX*", "*CALIBRATE_FLUX*", "OBSERVE_TARGET#UNSPECIFIED",
        "0",
        "*FLUX*,*TARGET*", ">0", "CALIBRATE_FLUX#UNSPECIFIED", "/.*TARGET.*/", "*FLUX*&*BAND*",
        "CALIBRATE_BANDPASS#UNSPECIFIED,CALIBRATE_FLUX#UNSPECIFIED",
    )),
    *({"observation": text} for text in ("0", "0~1")),
    *({"uvrange": text} for text in (
        ">300m", "<300", "100~400m", ">1klambda", "<1klambda", "0.5~1klambda", ">300m,<100m", "0~300",
        ">0.3km",
        ">300 m", "500~1500lambda", "0.1~0.3km", ">0", ">1Mlambda", "<0.001Mlambda", ">0.5klambda,<200m",
    )),
    *({"timerange": text} for text in (
        clock(0), clock(3), clock(6), clock(5.1), f"{clock(0)}~{clock(20)}", f"{clock(0)}~{hours(20)}",
        f">{clock(300)}", f"<{clock(300)}", f"{hours(0)}~{hours(20)}", f">{hours(300)}",
        f"{clock(0)}+0:0:15",
        f"{clock(0)}+00:05:00", f"{clock(0)}+20", f"{clock(1)}~{clock(19)}", f"{clock(0)},{clock(10)}",
        f"{clock(0)}~{clock(10)},{clock(300)}~{clock(310)}", f"<{clock(0)}", f">{clock(40)}", hours(300),
        "2000/01/01/00:00:00~2001/01/01/00:00:00",
    )),
    {"msselect": "ANTENNA1 < 2 && SCAN_NUMBER == 3"},
    {"field": "3C286", "spw": "1:2~5", "antenna": "*&&&"},
    {"field": "3C48", "scan": "1"},
    {"intent": "*TARGET*", "timerange": f">{clock(500)}", "uvrange": "<400m"},
]  # fmt: skip


@pytest.fixture(scope="module")
def casa_rows(casa):
    from casatools import ms as mstool

    def rows(path: str, selection: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
        tool = mstool()
        tool.open(path)
        try:
            found = tool.msselect({CASA_NAMES.get(name, name): text for name, text in selection.items()})
            numbers = tool.range(["rows"])["rows"] if found else []
            channels = tool.msselectedindices()["channel"]
        finally:
            tool.close()
        return np.sort(np.asarray(numbers, dtype=np.int64)), np.asarray(channels)

    return rows


@pytest.mark.casa
@pytest.mark.parametrize("selection", COMPARED, ids=lambda s: " ".join(f"{k}={v}" for k, v in s.items()))
def test_same_rows_and_channels_as_casa(ms, casa_rows, selection):
    rows, channels = casa_rows(ms.path, selection)
    selected = ms.select(Selection(**selection))
    assert np.array_equal(np.sort(ms.index.row[selected.rows]), rows)
    if "spw" in selection:
        theirs: dict[int, set[int]] = {}
        for spw, first, last, step in channels:
            theirs.setdefault(int(spw), set()).update(range(first, last + 1, step))
        assert {spw: set(ours.tolist()) for spw, ours in selected.channels.items()} == theirs


@pytest.mark.casa
@pytest.mark.parametrize("antenna", ["1", "2", "3", "4", "0", "5", "3~4", "1~2&", "?", "W05", "1&2"])
def test_numbers_are_names_first_as_in_casa(numbered, casa_rows, antenna):
    rows, _ = casa_rows(numbered.path, {"antenna": antenna})
    assert np.array_equal(np.sort(numbered.index.row[numbered.select(Selection(antenna=antenna)).rows]), rows)


@pytest.mark.casa
def test_wavelengths_are_those_of_the_reference_frequency_as_in_casa(casa_rows, tmp_path):
    """The bound lies between the distances by the reference frequency and by the middle of the window."""
    ms = make(tmp_path / "wide.ms", Plan(nchan=(64, 64), nscan=1))
    uvw = ms.read(None, "UVW")
    lengths = np.unique(np.round(np.hypot(uvw[:, 0], uvw[:, 1]), 6))
    for length in lengths[[2, 7, 11]]:
        bound = length * (ms.spws[0].reference + 0.5 * (ms.spws[0].bandwidth / 2)) / 299792458.0
        selection = {"uvrange": f">{bound:.6f}lambda", "spw": "0"}
        rows, _ = casa_rows(ms.path, selection)
        assert np.array_equal(np.sort(ms.index.row[ms.select(Selection(**selection)).rows]), rows)


def test_nothing_asked_for_is_everything(ms):
    selected = ms.select(Selection())
    assert np.array_equal(selected.rows, np.arange(len(ms)))
    assert {spw: len(channels) for spw, channels in selected.channels.items()} == {0: 16, 1: 8}
    assert str(Selection()) == "everything"
    assert str(Selection(field="0", scan="3")) == "field='0', scan='3'"


def test_rows_hold_to_what_was_asked(ms):
    """Independent of CASA: the index itself is the truth."""
    index = ms.index
    a1, a2 = index.antenna1, index.antenna2
    cases = {
        "ea02": ((a1 == 1) | (a2 == 1)) & (a1 != a2),
        "*&&&": a1 == a2,
        "ea01&ea03": (a1 == 0) & (a2 == 2),
        "!ea02&&*": (a1 != 1) & (a2 != 1),
    }
    for text, truth in cases.items():
        assert np.array_equal(ms.select(Selection(antenna=text)).rows, np.flatnonzero(truth)), text
    truth = (index.field == 0) & (index.scan >= 2) & (index.ddid == 1)
    chosen = ms.select(Selection(field="3C286", scan=">=2", spw="band1", correlation="YY"))
    assert np.array_equal(chosen.rows, np.flatnonzero(truth))
    assert {k: v.tolist() for k, v in chosen.correlations.items()} == {1: [1]}
    assert chosen.correlation_mask(1, 2).tolist() == [False, True]


def test_channels_as_slices_and_mask(ms):
    chosen = ms.select(Selection(spw="0:2~4;6~9;11"))
    assert chosen.channel_slices(0) == [slice(2, 5), slice(6, 10), slice(11, 12)]
    assert np.flatnonzero(chosen.channel_mask(0, 16)).tolist() == [2, 3, 4, 6, 7, 8, 9, 11]
    assert not chosen.channel_mask(1, 8).any()


def test_what_exists_but_never_together_is_empty(ms):
    selected = ms.select(Selection(field="3C48", scan="1"))
    assert len(selected) == 0
    assert len(ms.select(Selection(uvrange=">100km"))) == 0
    assert len(ms.select(Selection(msselect="ANTENNA1 > 90"))) == 0


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"field": "3C268"}, r"there is no field '3C268'; did you mean '3C286'\? There are 0 '3C286'"),
        ({"field": "7"}, r"there is no field '7'.* There are 0 '3C286', 1 'J1008\+07', 2 '3C48'"),
        ({"field": "0,,1"}, "empty part"),
        ({"scan": "9"}, "scan='9': there is no scan 9; there are 1, 2, 3, 4"),
        ({"scan": "1,9"}, "there is no scan 9"),
        ({"scan": "3~1"}, "runs backwards"),
        ({"scan": "one"}, "cannot be read at 'one'"),
        ({"observation": "1"}, "there is no observation 1; there are 0"),
        ({"spw": "7"}, r"there is no spectral window '7'.* There are 0 'band0' \(16 channels at 1.4 GHz\)"),
        ({"spw": "bond0"}, "did you mean 'band0'"),
        ({"spw": "0~7"}, "there is no spectral window '0~7'"),
        ({"spw": "0:99"}, "spectral window 0 has no channels 99; it has 16 channels"),
        ({"spw": "0:9~3"}, "run backwards"),
        ({"spw": "0:five"}, "cannot be read at 'five'"),
        ({"spw": "0:2.0~2.1GHz"}, "has no channels 2.0~2.1GHz"),
        ({"antenna": "ea11"}, r"there is no antenna 'ea11'; did you mean 'ea01'\? There are 0 'ea01'"),
        ({"antenna": "42"}, "there is no antenna '42'"),
        ({"antenna": "ea01&&&ea02"}, "cannot be read"),
        ({"antenna": "&ea01"}, "cannot be read"),
        ({"antenna": "/ea[/"}, "not a regular expression"),
        ({"timerange": "yesterday"}, "cannot be read at 'yesterday'; write hh:mm:ss"),
        ({"timerange": "2017/13/01/00:00:00"}, "is no date"),
        ({"timerange": "2017/04/27"}, "cannot be read"),
        ({"timerange": "10:00:00~09:00:00"}, "ends before it begins"),
        ({"uvrange": ">3furlong"}, "cannot be read at '>3furlong'"),
        ({"uvrange": "9~3km"}, "ends before it begins"),
        ({"correlation": "RX"}, r"there is no 'RX'; did you mean .*\? There are LL, LR, RL, RR, XX, YY"),
        ({"intent": "*BANDPAS"}, r"no state has '\*BANDPAS'.*There are CALIBRATE_BANDPASS"),
        ({"msselect": "ANTENNA9 == 1"}, "is not a TaQL condition"),
        ({"scan": 3}, "scan=3 must be text"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_clear_sentence(ms, selection, message):
    with pytest.raises(InvalidSpec, match=message):
        ms.select(Selection(**selection))


def test_a_set_without_intents_says_so(evla_original):
    with pytest.raises(InvalidSpec, match="This set has no intents at all"):
        MeasurementSet(evla_original).select(Selection(intent="*TARGET*"))


def test_antenna_ids_for_a_reference_antenna(numbered):
    assert antenna_ids("4", numbered.antennas).tolist() == [2]
    assert antenna_ids("5", numbered.antennas).tolist() == [5]
    assert antenna_ids("W01,1", numbered.antennas).tolist() == [0, 1]


@pytest.mark.parametrize("seconds", [0.0, 86399.96, 123456.7, 4.77896896e9, START])
def test_times_are_written_so_that_they_can_be_read(ms, seconds):
    from parallactic.measurementset.ranges import times

    written = format_time(seconds)
    # Written to a tenth of a second, so within 0.05 s of the truth; half an interval of 0.2 s allows that.
    assert times(written, np.array([seconds]), np.array([0.2]))[0], written
