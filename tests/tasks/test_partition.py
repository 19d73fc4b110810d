"""The task partition: every selected row once, whole or not at all, and CASA takes the product."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from casacore.tables import table

from known_sets import MIXED, Plan, make
from parallactic import Executor
from parallactic.measurementset import MeasurementSet, Selection, add_columns
from parallactic.tasks import partition

AXES = ("auto", "scan", "spw", "scan,spw", "baseline", "time")


@pytest.fixture(
    scope="module", params=["serial", "multiprocessing 1", "multiprocessing 2", "multiprocessing 4"]
)
def executor(request):
    backend, _, workers = request.param.partition(" ")
    with Executor(backend=backend, workers=int(workers or 1)) as ex:
        yield ex


def content(ms: MeasurementSet) -> dict[str, list[np.ndarray]]:
    """Return every column in canonical order, by data description where cells have its shape."""
    columns: dict[str, list[np.ndarray]] = {}
    for name in ms.columns:
        if name == "FLAG_CATEGORY":
            continue
        columns[name] = [
            ms.read(np.flatnonzero(ms.index.ddid == ddid), name) for ddid in np.unique(ms.index.ddid)
        ]
    return columns


def assert_same(ours: MeasurementSet, theirs: MeasurementSet) -> None:
    mine, other = content(ours), content(theirs)
    assert mine.keys() == other.keys()
    for name, parts in mine.items():
        assert len(parts) == len(other[name]), name
        for a, b in zip(parts, other[name], strict=True):
            assert np.array_equal(a, b), name


@pytest.mark.parametrize("axis", AXES)
def test_every_row_once_and_unchanged(known, tmp_path, axis, nothing_left):
    result = partition(known.path, str(tmp_path / "o.mms"), separationaxis=axis, executor="serial")
    product = MeasurementSet(tmp_path / "o.mms")
    assert product.is_multi
    assert_same(product, known)
    rows = [int((product.index.subset == k).sum()) for k in range(len(product.subsets))]
    assert rows == [subset["rows"] for subset in result.subsets]
    assert sum(rows) == result.counts["rows"] == len(known)
    assert result.counts["visibilities"] == 300 * 16 * 4 + 300 * 8 * 4
    assert result.products == [str(tmp_path / "o.mms")]


def test_the_same_product_everywhere(known, tmp_path, executor):
    partition(known.path, str(tmp_path / "o.mms"), separationaxis="auto", numsubms=3, executor=executor)
    product = MeasurementSet(tmp_path / "o.mms")
    assert_same(product, known)
    # Which rows lie in which sub-MS does not depend on the workers: the pairs of scan and spw, all equally
    # large within a window, go the largest first to the least loaded.
    shares = [
        sorted({(int(s), int(d)) for s, d in zip(scan, ddid, strict=True)})
        for scan, ddid in (
            (product.index.scan[product.index.subset == k], product.index.ddid[product.index.subset == k])
            for k in range(3)
        )
    ]
    assert shares == [[(1, 0), (4, 0)], [(1, 1), (2, 0), (3, 1)], [(2, 1), (3, 0), (4, 1)]]


@pytest.mark.parametrize(
    ("axis", "numsubms", "expected"),
    [
        ("scan", "auto", [{1}, {2}, {3}, {4}]),
        ("scan", 3, [{1}, {2, 3}, {4}]),
        ("scan", 1, [{1, 2, 3, 4}]),
        ("scan", 99, [{1}, {2}, {3}, {4}]),
    ],
)
def test_scans_in_consecutive_groups(known, tmp_path, axis, numsubms, expected):
    result = partition(
        known.path, str(tmp_path / "o.mms"), separationaxis=axis, numsubms=numsubms, executor="serial"
    )
    assert [set(subset["scans"]) for subset in result.subsets] == expected


def test_time_is_cut_between_integrations_of_an_untidy_set(evla, tmp_path):
    """The real set has several TIMEs in an integration of 10 s: no integration is torn."""
    result = partition(
        str(evla), str(tmp_path / "o.mms"), separationaxis="time", numsubms=4, executor="serial"
    )
    assert result.subsets[0]["baselines"] > 100
    product = MeasurementSet(tmp_path / "o.mms")
    spans = [
        (
            product.index.time[product.index.subset == k].min(),
            product.index.time[product.index.subset == k].max(),
        )
        for k in range(len(product.subsets))
    ]
    assert len(spans) > 1
    for (_, end), (begin, _) in pairwise(spans):
        assert begin - end > 5.0  # half of the 10 s between integrations


def test_a_multi_ms_can_be_partitioned_again(known, tmp_path):
    partition(known.path, str(tmp_path / "a.mms"), separationaxis="baseline", numsubms=4, executor="serial")
    partition(str(tmp_path / "a.mms"), str(tmp_path / "b.mms"), separationaxis="scan", executor="serial")
    assert_same(MeasurementSet(tmp_path / "b.mms"), known)


def test_one_plain_set(known, tmp_path, nothing_left):
    result = partition(known.path, str(tmp_path / "o.ms"), createmms=False, field="3C48", executor="serial")
    product = MeasurementSet(tmp_path / "o.ms")
    assert not product.is_multi
    assert len(product) == result.counts["rows"] == 150
    assert result.counts["sub-MSs"] == 0
    assert [f.name for f in product.fields] == ["3C48"]
    assert set(product.index.field) == {0}


def test_channels_and_windows_are_cut_in_data_and_sub_tables(known, tmp_path):
    path = tmp_path / "o.mms"
    partition(known.path, str(path), separationaxis="scan", spw="1:2~3;6", executor="serial")
    product = MeasurementSet(path)
    assert [spw.name for spw in product.spws] == ["band1"]
    assert np.array_equal(product.spws[0].frequencies, known.spws[1].frequencies[[2, 3, 6]])
    assert product.spws[0].bandwidth == 3e6
    assert product.spws[0].reference == known.spws[1].frequencies[2]
    assert [(d.spw, d.polarization) for d in product.data_descriptions] == [(0, 0)]
    kept = known.select(Selection(spw="1")).rows
    for column in ("DATA", "FLAG", "WEIGHT_SPECTRUM", "MODEL_DATA"):
        assert np.array_equal(product.read(None, column), known.read(kept, column)[:, [2, 3, 6]]), column
    assert np.array_equal(product.read(None, "WEIGHT"), known.read(kept, "WEIGHT"))


def test_correlations_are_cut_in_data_and_sub_tables(tmp_path):
    source = make(tmp_path / "mixed.ms", MIXED)
    partition(source.path, str(tmp_path / "o.mms"), correlation="RR,LL", executor="serial")
    product = MeasurementSet(tmp_path / "o.mms")
    assert product.correlations(0) == ("RR", "LL")
    assert product.polarizations[0].products.tolist() == [[0, 0], [1, 1]]
    kept = np.flatnonzero(source.index.ddid == 0)
    assert np.array_equal(product.read(None, "DATA"), source.read(kept, "DATA")[..., [0, 3]])
    assert np.array_equal(product.read(None, "WEIGHT"), source.read(kept, "WEIGHT")[..., [0, 3]])


@pytest.mark.parametrize(
    ("datacolumn", "column"), [("data", "DATA"), ("model", "MODEL_DATA"), ("corrected", "CORRECTED_DATA")]
)
def test_one_column_of_visibilities_becomes_data(tmp_path, datacolumn, column):
    source = make(tmp_path / "s.ms", Plan(nscan=2, columns=("MODEL_DATA",)))
    add_columns(source, ["CORRECTED_DATA"])
    source = MeasurementSet(source.path)
    partition(source.path, str(tmp_path / "o.mms"), datacolumn=datacolumn, executor="serial")
    product = MeasurementSet(tmp_path / "o.mms")
    assert not {"MODEL_DATA", "CORRECTED_DATA"} & set(product.columns)
    rows = np.flatnonzero(source.index.ddid == 1)
    assert np.array_equal(
        product.read(np.flatnonzero(product.index.ddid == 1), "DATA"), source.read(rows, column)
    )


def test_undefined_spectra_stay_undefined(tmp_path):
    from casacore.tables import makearrcoldesc, maketabdesc

    source = make(tmp_path / "s.ms", Plan(nscan=1))
    with table(source.path, readonly=False, ack=False) as handle:
        handle.addcols(maketabdesc([makearrcoldesc("WEIGHT_SPECTRUM", 0.0, ndim=2, valuetype="float")]))
        handle.putcell("WEIGHT_SPECTRUM", 7, np.full((16, 4), 3.0, dtype=np.float32))
    partition(source.path, str(tmp_path / "o.ms"), createmms=False, executor="serial")
    with table(str(tmp_path / "o.ms"), ack=False) as handle:
        defined = [handle.iscelldefined("WEIGHT_SPECTRUM", k) for k in range(handle.nrows())]
    assert sum(defined) == 1
    assert_weights = MeasurementSet(tmp_path / "o.ms").weights(np.arange(5))
    assert np.array_equal(assert_weights, MeasurementSet(source.path).weights(np.arange(5)))


def test_other_sub_tables_follow_the_new_numbers(tmp_path):
    from casacore.tables import makescacoldesc, maketabdesc

    source = make(tmp_path / "s.ms", Plan(nscan=2))
    columns = maketabdesc([makescacoldesc("SPECTRAL_WINDOW_ID", 0), makescacoldesc("POWER", 0.0)])
    for place in ("SYSPOWER", "FIELD/EPHEM0_Moon.tab"):
        with table(f"{source.path}/{place}", columns, nrow=4, readonly=False, ack=False) as handle:
            handle.putcol("SPECTRAL_WINDOW_ID", np.array([0, 1, -1, 1], dtype=np.int32))
            handle.putcol("POWER", np.arange(4.0))
    with table(source.path, readonly=False, ack=False) as handle:
        handle.putkeyword("SYSPOWER", f"Table: {source.path}/SYSPOWER")
        handle.sort("TIME desc", name=f"{source.path}/SORTED_TABLE").close()
    partition(source.path, str(tmp_path / "o.mms"), spw="1", field="0", executor="serial")
    with table(str(tmp_path / "o.mms"), ack=False) as handle:
        assert "SYSPOWER" in handle.keywordnames()
    with table(str(tmp_path / "o.mms" / "SYSPOWER"), ack=False) as handle:
        assert handle.getcol("SPECTRAL_WINDOW_ID").tolist() == [0, -1, 0]
        assert handle.getcol("POWER").tolist() == [1.0, 2.0, 3.0]
    assert (tmp_path / "o.mms" / "FIELD" / "EPHEM0_Moon.tab" / "table.dat").is_file()
    assert not list((tmp_path / "o.mms").rglob("SORTED_TABLE"))
