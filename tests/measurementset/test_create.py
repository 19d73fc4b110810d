"""Sets made from arrays: what is written is read, and CASA takes them."""

from __future__ import annotations

import numpy as np
import pytest
from casacore.tables import table

from known_sets import Plan, make
from parallactic.errors import InvalidSpec
from parallactic.measurementset import Antenna, Field, MeasurementSet, Rows, SpectralWindow, create_ms

LINEAR = Plan(polarizations=(("XX", "XY", "YX", "YY"),), nscan=3, columns=("WEIGHT_SPECTRUM", "MODEL_DATA"))
TABLES = (
    "ANTENNA", "DATA_DESCRIPTION", "FEED", "FIELD", "FLAG_CMD", "HISTORY", "OBSERVATION", "POINTING",
    "POLARIZATION", "PROCESSOR", "SOURCE", "SPECTRAL_WINDOW", "STATE",
)  # fmt: skip


@pytest.fixture(scope="module")
def linear(tmp_path_factory) -> MeasurementSet:
    return make(tmp_path_factory.mktemp("create") / "linear.ms", LINEAR)


def parts(**changes):
    """Return the arguments of the smallest set."""
    rows = {
        "ddid": 0,
        "time": [5e9],
        "antenna1": [0],
        "antenna2": [1],
        "uvw": np.array([[100.0, 0.0, 0.0]]),
        "data": np.ones((1, 4, 4), np.complex64),
        "interval": 10.0,
    }
    given = {
        "antennas": [Antenna(i, f"a{i}", np.array([6.4e6, 100.0 * i, 0.0])) for i in range(2)],
        "fields": [Field.at(0, "here", 0.0, 0.0)],
        "spws": [SpectralWindow.regular(0, "s", 1e9, 1e6, 4)],
    }
    for name, value in changes.items():
        (given if name in (*given, "polarizations", "data_descriptions", "columns") else rows)[name] = value
    return {"rows": [Rows(**rows)], **given}


def test_all_required_sub_tables(linear):
    with table(linear.path, ack=False) as handle:
        assert set(TABLES) <= set(handle.keywordnames())
    feed = table(f"{linear.path}/FEED", ack=False)
    assert feed.nrows() == 6
    assert feed.getcell("POLARIZATION_TYPE", 0) == ["X", "Y"]
    feed.close()


def test_weights_are_inverse_variances_and_flag_row_is_all_flagged(linear):
    rows = np.flatnonzero(linear.index.ddid == 0)
    # WEIGHT is kept in single precision.
    assert np.allclose(linear.read(rows, "WEIGHT"), linear.read(rows, "SIGMA") ** -2.0, rtol=1e-6)
    assert np.array_equal(linear.read(rows, "FLAG_ROW"), linear.read(rows, "FLAG").all(axis=(1, 2)))
    assert np.array_equal(linear.read(rows, "MODEL_DATA"), 2 * linear.read(rows, "DATA"))


def test_uvw_is_antenna2_minus_antenna1(linear):
    rows = np.arange(len(linear))
    positions = np.array([a.position for a in linear.antennas])
    expected = positions[linear.index.antenna2] - positions[linear.index.antenna1]
    assert np.array_equal(linear.read(rows, "UVW"), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.ones((1, 5, 4), np.complex64)}, r"data of shape \(5, 4\), not \(4, 4\)"),
        ({"time": [5e9, 5e9]}, r"shape \(2,\) was given where one value or 1 are needed"),
        ({"uvw": np.zeros((2, 3))}, "UVW has shape"),
        ({"polarizations": (("RR", "QQ"),)}, "QQ is no set of correlations"),
        ({"data_descriptions": [(1, 0)]}, "names no spw or no polarization"),
        ({"columns": ["WEIGHT_SPECTRUM"]}, "WEIGHT_SPECTRUM must be in both or in neither"),
        ({"model": np.ones((1, 4, 4), np.complex64)}, "MODEL_DATA must be in both or in neither"),
        ({"columns": ["MODEL"]}, "does not make the columns MODEL"),
    ],
)
def test_what_does_not_agree_is_refused_and_nothing_stays(tmp_path, changes, message):
    with pytest.raises(InvalidSpec, match=message):
        create_ms(tmp_path / "o.ms", **parts(**changes))
    assert list(tmp_path.iterdir()) == []


def test_existing_is_refused(tmp_path):
    create_ms(tmp_path / "o.ms", **parts())
    with pytest.raises(InvalidSpec, match="exists already"):
        create_ms(tmp_path / "o.ms", **parts())
    assert len(MeasurementSet(tmp_path / "o.ms")) == 1


@pytest.mark.casa
def test_casa_takes_it(casa, linear, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = casa.listobs(linear.path)
    assert listed["nfields"] == 3
    assert listed["field_0"]["name"] == "3C286"
    assert listed["scan_1"]["0"]["IntegrationTime"] == 10.0
    summary = casa.flagdata(linear.path, mode="summary")
    flags = [linear.read(np.flatnonzero(linear.index.ddid == d), "FLAG") for d in (0, 1)]
    assert summary["total"] == sum(f.size for f in flags)
    assert summary["flagged"] == sum(int(f.sum()) for f in flags)
    assert set(summary["correlation"]) == {"XX", "XY", "YX", "YY"}


@pytest.mark.casa
def test_a_source_lies_where_its_phases_say_in_casas_image(casa, tmp_path, monkeypatch):
    """V = S exp(+2πi(ul + vm)/λ) with UVW = antenna 2 − antenna 1: east is left, north is up."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    positions = np.zeros((12, 3))
    positions[:, :2] = rng.uniform(-2000.0, 2000.0, (12, 2))
    a1, a2 = np.triu_indices(12, 1)
    uvw = positions[a2] - positions[a1]
    arcsec = np.pi / 180 / 3600
    l, m = 20 * arcsec, 30 * arcsec  # noqa: E741 - the direction cosines
    phase = 2j * np.pi * (uvw[:, 0] * l + uvw[:, 1] * m) * 1e9 / 299792458.0
    data = np.broadcast_to(np.exp(phase)[:, None, None], (66, 1, 2)).astype(np.complex64)
    earth = np.array([-1601185.4, -5041977.5, 3554875.9])
    create_ms(
        tmp_path / "point.ms",
        antennas=[Antenna(i, f"a{i}", earth + p) for i, p in enumerate(positions)],
        fields=[Field.at(0, "here", 1.0, 0.5)],
        spws=[SpectralWindow.regular(0, "s", 1e9, 1e6, 1)],
        polarizations=(("RR", "LL"),),
        rows=[Rows(ddid=0, time=5e9, antenna1=a1, antenna2=a2, uvw=uvw, data=data, interval=10.0)],
    )
    casa.tclean(
        "point.ms", imagename="im", imsize=[128], cell="2arcsec", datacolumn="data", niter=0, pblimit=-1.0
    )
    found = casa.imstat("im.image")
    # Right ascension grows to the left: 10 pixels left and 15 up of the centre (64, 64).
    assert found["maxpos"][:2].tolist() == [54, 79]
    # The peak lies on a pixel; CASA's gridder is good to about a percent.
    assert abs(found["max"][0] - 1.0) < 0.02
