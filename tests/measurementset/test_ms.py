"""Reading and writing rows, in a plain set and in a multi-MS."""

from __future__ import annotations

import itertools
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table

from known_sets import MIXED, Plan, make, visibility
from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet, add_columns, tables
from parallactic.tasks import partition


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> MeasurementSet:
    return make(tmp_path_factory.mktemp("ms") / "plain.ms", MIXED)


@pytest.fixture(scope="module", params=["plain", "multi"])
def mixed(request, plain, tmp_path_factory) -> MeasurementSet:
    """The same rows as one MeasurementSet and as a multi-MS separated across the canonical order."""
    if request.param == "plain":
        return plain
    path = tmp_path_factory.mktemp("mms") / "multi.mms"
    partition(plain.path, str(path), separationaxis="time", numsubms=3, executor="serial")
    return MeasurementSet(path)


def expected(ms: MeasurementSet, rows: np.ndarray) -> np.ndarray:
    index = ms.index
    ddid = int(index.ddid[rows[0]])
    return visibility(index.time[rows], index.antenna1[rows], index.antenna2[rows], ddid, ms.shape(ddid))


def test_index_is_in_canonical_order(mixed):
    index = mixed.index
    keys = np.stack([index.ddid, index.antenna1, index.antenna2, index.time])
    order = np.lexsort(keys[::-1])
    assert np.array_equal(order, np.arange(len(index)))
    assert len(index) == len(mixed) == 2 * 21 * 4 * 5


def test_multi_ms_has_the_same_index(plain, mixed):
    for name in ("time", "antenna1", "antenna2", "ddid", "field", "scan", "state"):
        assert np.array_equal(getattr(plain.index, name), getattr(mixed.index, name)), name


@pytest.mark.parametrize("ddid", [0, 1])
@pytest.mark.parametrize("how", ["all", "one baseline", "every third", "backwards", "random with repeats"])
def test_rows_come_in_the_order_asked(mixed, ddid, how):
    mine = np.flatnonzero(mixed.index.ddid == ddid)
    rows = {
        "all": mine,
        "one baseline": mine[40:60],
        "every third": mine[::3],
        "backwards": mine[::-1],
        "random with repeats": np.random.default_rng(1).choice(mine, 300),
    }[how]
    assert np.array_equal(mixed.read(rows, "DATA"), expected(mixed, rows))
    assert np.array_equal(mixed.read(rows, "TIME"), mixed.index.time[rows])


@pytest.mark.parametrize(
    "channels", [slice(3, 9), slice(None), slice(0, 16, 5), slice(7, 8), slice(-4, None)]
)
def test_channels(mixed, channels):
    rows = np.flatnonzero(mixed.index.ddid == 0)[5:200:7]
    assert np.array_equal(mixed.read(rows, "DATA", channels), expected(mixed, rows)[:, channels])
    assert np.array_equal(mixed.read(rows, "FLAG", channels), mixed.read(rows, "FLAG")[:, channels])


def test_no_rows_have_the_right_dtype(mixed):
    assert mixed.read([], "DATA").dtype == np.complex64
    assert mixed.read([], "UVW").shape == (0, 3)


def test_rows_of_two_shapes_are_refused(mixed):
    with pytest.raises(InvalidSpec, match="one data description"):
        mixed.read(None, "DATA")


def test_channels_beyond_the_end_are_refused(mixed):
    with pytest.raises(InvalidSpec, match="none of 16 channels"):
        mixed.read([0], "DATA", slice(20, 30))


def test_unknown_column_is_named_with_the_near_match(mixed):
    with pytest.raises(InvalidSpec, match=r"no column CORRECTED_DAT.*; did you mean|no column CORRECTED_DAT"):
        mixed.read([0], "CORRECTED_DAT")
    with pytest.raises(InvalidSpec, match="did you mean 'WEIGHT'"):
        mixed.require("WEIGTH")


def test_chunks_cover_every_row_once_and_keep_to_their_bound(mixed):
    seen = []
    for rows, part in mixed.chunks(None, ["DATA", "flags", "weights", "UVW"], max_bytes=20_000):
        seen.append(rows)
        assert len(np.unique(mixed.index.ddid[rows])) == 1
        assert np.array_equal(part["DATA"], expected(mixed, rows))
        assert part["flags"].shape == part["weights"].shape == part["DATA"].shape
        assert part["DATA"].nbytes <= 20_000
        assert part["UVW"].shape == (len(rows), 3)
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(len(mixed)))


def test_effective_flags_join_flag_row(tmp_path):
    ms = make(tmp_path / "a.ms", Plan(nscan=1))
    with table(ms.path, readonly=False, ack=False) as handle:
        handle.putcell("FLAG_ROW", 3, True)
        assert not handle.getcell("FLAG", 3).all()
    ms = MeasurementSet(ms.path)
    rows = np.flatnonzero(ms.index.ddid == 0)
    flags = ms.flags(rows)
    here = ms.index.row[rows] == 3
    assert flags[here].all()
    assert np.array_equal(flags[~here], ms.read(rows, "FLAG")[~here])


def test_weights_without_a_spectrum_are_those_of_the_row(mixed):
    rows = np.flatnonzero(mixed.index.ddid == 1)
    weights = mixed.weights(rows, slice(2, 5))
    sigma = mixed.read(rows, "SIGMA")
    # WEIGHT is written as 1/sigma² in single precision.
    assert np.allclose(weights, np.broadcast_to(sigma[:, None, :] ** -2.0, weights.shape), rtol=1e-6)


def test_weights_follow_the_spectrum_where_it_is_defined(tmp_path):
    ms = make(tmp_path / "a.ms", Plan(nscan=1, columns=("WEIGHT_SPECTRUM",)))
    rows = np.flatnonzero(ms.index.ddid == 0)
    assert np.array_equal(ms.weights(rows), ms.read(rows, "WEIGHT_SPECTRUM"))


def test_weights_where_some_spectra_are_undefined(tmp_path):
    ms = make(tmp_path / "a.ms", Plan(nscan=1))
    add = table(ms.path, readonly=False, ack=False)
    from casacore.tables import makearrcoldesc, maketabdesc

    add.addcols(maketabdesc([makearrcoldesc("WEIGHT_SPECTRUM", 0.0, ndim=2, valuetype="float")]))
    add.putcell("WEIGHT_SPECTRUM", 0, np.full((16, 4), 9.0, dtype=np.float32))
    add.close()
    ms = MeasurementSet(ms.path)
    rows = np.flatnonzero(ms.index.ddid == 0)
    weights = ms.weights(rows)
    first = ms.index.row[rows] == 0
    assert (weights[first] == 9.0).all()
    assert np.array_equal(weights[~first, 0], ms.read(rows[~first], "WEIGHT"))


def test_write_gives_back_what_was_written(tmp_path):
    ms = make(tmp_path / "a.ms", Plan(nscan=2))
    rng = np.random.default_rng(3)
    rows = rng.permutation(np.flatnonzero(ms.index.ddid == 0))[:50]
    values = (rng.normal(size=(50, 16, 4)) + 1j * rng.normal(size=(50, 16, 4))).astype(np.complex64)
    ms.write(0, ms.index.row[rows], "DATA", values)
    assert np.array_equal(ms.read(rows, "DATA"), values)
    others = np.setdiff1d(np.flatnonzero(ms.index.ddid == 0), rows)
    assert np.array_equal(ms.read(others, "DATA"), expected(ms, others))
    ms.write(0, ms.index.row[rows], "DATA", np.zeros((50, 3, 4), np.complex64), slice(2, 5))
    values[:, 2:5] = 0
    assert np.array_equal(ms.read(rows, "DATA"), values)


def test_writing_flags_sets_flag_row_on_the_rows_written_alone(tmp_path):
    ms = make(tmp_path / "a.ms", Plan(nscan=1))
    with table(ms.path, readonly=False, ack=False) as handle:
        handle.putcol("FLAG_ROW", np.ones(handle.nrows(), dtype=bool))
    rows = np.flatnonzero(ms.index.ddid == 0)[:10]
    flags = np.zeros((10, 16, 4), dtype=bool)
    flags[2] = True
    ms.write(0, ms.index.row[rows], "FLAG", flags)
    assert ms.read(rows, "FLAG_ROW").tolist() == [k == 2 for k in range(10)]
    assert ms.read(np.flatnonzero(ms.index.ddid == 0)[10:], "FLAG_ROW").all()
    # Part of the channels: the row is flagged once the rest was.
    ms.write(0, ms.index.row[rows], "FLAG", np.ones((10, 8, 4), bool), channels=slice(0, 8))
    assert ms.read(rows, "FLAG_ROW").tolist() == [k == 2 for k in range(10)]
    ms.write(0, ms.index.row[rows], "FLAG", np.ones((10, 8, 4), bool), channels=slice(8, 16))
    assert ms.read(rows, "FLAG_ROW").all()


def test_bad_writes_are_refused(tmp_path):
    ms = make(tmp_path / "a.ms", Plan(nscan=1))
    one = np.zeros((2, 16, 4), dtype=bool)
    with pytest.raises(InvalidSpec, match="twice"):
        ms.write(0, np.array([0, 0]), "FLAG", one)
    with pytest.raises(InvalidSpec, match="2 values of FLAG were given for 3 rows"):
        ms.write(0, np.array([0, 1, 2]), "FLAG", one)
    with pytest.raises(InvalidSpec, match="subset=1 is none of the 1"):
        ms.write(1, np.array([0, 1]), "FLAG", one)
    with pytest.raises(InvalidSpec, match="no column FLAGS"):
        ms.write(0, np.array([0, 1]), "FLAGS", one)


def test_a_set_made_anew_under_the_same_path_is_read_anew(tmp_path):
    first = make(tmp_path / "a.ms", Plan(nscan=1))
    assert len(first) == 150
    first.read([0], "DATA")
    shutil.rmtree(first.path)
    second = make(tmp_path / "a.ms", Plan(nscan=3, nant=4))
    assert len(second) == 180
    assert len(second.antennas) == 4
    rows = np.flatnonzero(second.index.ddid == 1)
    assert np.array_equal(second.read(rows, "DATA"), expected(second, rows))


def test_a_column_changed_by_others_is_seen_by_the_next_opening(tmp_path):
    ms = make(tmp_path / "a.ms", Plan(nscan=1))
    assert set(ms.index.scan) == {1}
    with table(ms.path, readonly=False, ack=False) as handle:
        handle.putcol("SCAN_NUMBER", np.full(handle.nrows(), 7, dtype=np.int32))
    assert set(MeasurementSet(ms.path).index.scan) == {7}


def test_it_travels_by_its_path(mixed):
    again = pickle.loads(pickle.dumps(mixed))
    assert again.path == mixed.path
    assert len(pickle.dumps(mixed)) < 500
    assert np.array_equal(again.read([3], "DATA"), mixed.read([3], "DATA"))


def test_what_is_no_measurement_set_is_refused(tmp_path, plain):
    (tmp_path / "real.ms").mkdir()
    with pytest.raises(InvalidSpec, match=r"no MeasurementSet .*reel.ms; did you mean 'real.ms'"):
        MeasurementSet(tmp_path / "reel.ms")
    with pytest.raises(InvalidSpec, match="not a casacore table"):
        MeasurementSet(tmp_path / "real.ms")
    with pytest.raises(InvalidSpec, match="not a MeasurementSet: it lacks"):
        MeasurementSet(Path(plain.path) / "ANTENNA")


def test_sub_tables(mixed):
    assert [a.name for a in mixed.antennas] == ["ea01", "ea02", "ea03", "ea04", "ea05", "ea06"]
    assert mixed.antennas[2].station == "W02"
    assert mixed.fields[1].name == "J1008+07"
    assert np.allclose(mixed.fields[1].direction, [2.653, 0.131], rtol=1e-15)
    assert mixed.shape(0) == (16, 4)
    assert mixed.shape(1) == (8, 2)
    assert mixed.correlations(1) == ("XX", "YY")
    assert np.allclose(mixed.frequencies(1), 1.5e9 + 1e6 * np.arange(8), rtol=1e-15)
    assert mixed.states[0].intents == ("CALIBRATE_BANDPASS#UNSPECIFIED", "CALIBRATE_FLUX#UNSPECIFIED")
    assert mixed.observations[0].telescope == "EVLA"


def test_untidy_set(evla_original):
    """The real set: antennas without a name, no states, several TIMEs in an integration."""
    ms = MeasurementSet(evla_original)
    assert len(ms) == 1360
    assert sum(not a.name for a in ms.antennas) == 9
    assert ms.states == ()
    assert set(ms.index.state) == {-1}
    rows = np.arange(len(ms))
    assert ms.weights(rows).shape == (1360, 64, 4)
    # FLAG_ROW is part of the effective flag.
    row_flags = ms.read(rows, "FLAG_ROW")
    assert np.array_equal(ms.flags(rows).all(axis=(1, 2)), row_flags)


@pytest.mark.parametrize("kind", ["plain", "multi"])
def test_added_columns_begin_as_in_casa(tmp_path, kind):
    ms = make(tmp_path / "a.ms", MIXED)
    if kind == "multi":
        partition(ms.path, str(tmp_path / "a.mms"), separationaxis="scan", executor="serial")
        ms = MeasurementSet(tmp_path / "a.mms")
    assert add_columns(ms, ["MODEL_DATA", "CORRECTED_DATA", "WEIGHT_SPECTRUM"]) == [
        "MODEL_DATA",
        "CORRECTED_DATA",
        "WEIGHT_SPECTRUM",
    ]
    assert add_columns(ms, ["MODEL_DATA"]) == []
    ms = MeasurementSet(ms.path)
    for ddid, unit in ((0, [1, 0, 0, 1]), (1, [1, 1])):
        rows = np.flatnonzero(ms.index.ddid == ddid)
        assert np.array_equal(ms.read(rows, "CORRECTED_DATA"), expected(ms, rows))
        model = ms.read(rows, "MODEL_DATA")
        assert model.dtype == np.complex64
        assert (model == np.array(unit)).all()
        assert (ms.read(rows, "WEIGHT_SPECTRUM") == ms.read(rows, "WEIGHT")[:, None, :]).all()
    with pytest.raises(InvalidSpec, match="did you mean 'MODEL_DATA'"):
        add_columns(ms, ["MODELDATA"])


_WRITER = """
import sys
from casacore.tables import table
handle = table(sys.argv[1], readonly=False, ack=False, lockoptions="user")
handle.lock(True)
print("locked", flush=True)
sys.stdin.readline()
"""


@pytest.mark.timeout(60)
def test_index_does_not_wait_for_a_writer(known, tmp_path):
    path = tmp_path / "beside.ms"
    shutil.copytree(known.path, path)
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "locked\n"
        # With a lock this would wait until the writer has ended, which waits for us.
        index = MeasurementSet(path).index
        assert writer.poll() is None
        writer.communicate("\n")
    np.testing.assert_array_equal(index.time, known.index.time)


def test_glance_waits_for_a_writer_who_goes_on(known, monkeypatch):
    states = itertools.count()
    monkeypatch.setattr(tables, "_state", lambda _: next(states))  # as if files changed all the time
    locks = []
    opened = tables.opened
    monkeypatch.setattr(tables, "opened", lambda path: locks.append(path) or opened(path))
    assert tables.glance(known.path, lambda handle: handle.nrows()) == len(known)
    assert locks == [known.path]
