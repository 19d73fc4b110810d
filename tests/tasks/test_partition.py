"""The task partition: every selected row once, whole or not at all, and CASA takes the product."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table

from known_sets import MIXED, Plan, make
from parallactic import Executor
from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet, Selection, add_columns
from parallactic.tasks import partition
from parallactic.tasks.base import StepFailed

AXES = ("auto", "scan", "spw", "scan,spw", "baseline", "time")
EVERYTHING = Plan(columns=("WEIGHT_SPECTRUM", "MODEL_DATA"))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> MeasurementSet:
    return make(tmp_path_factory.mktemp("source") / "source.ms", EVERYTHING)


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
def test_every_row_once_and_unchanged(source, tmp_path, axis, nothing_left):
    result = partition(source.path, str(tmp_path / "o.mms"), separationaxis=axis, executor="serial")
    product = MeasurementSet(tmp_path / "o.mms")
    assert product.is_multi
    assert_same(product, source)
    rows = [int((product.index.subset == k).sum()) for k in range(len(product.subsets))]
    assert rows == [subset["rows"] for subset in result.subsets]
    assert sum(rows) == result.counts["rows"] == len(source)
    assert result.counts["visibilities"] == 300 * 16 * 4 + 300 * 8 * 4
    assert result.products == [str(tmp_path / "o.mms")]


def test_the_same_product_everywhere(source, tmp_path, executor):
    partition(source.path, str(tmp_path / "o.mms"), separationaxis="auto", numsubms=3, executor=executor)
    product = MeasurementSet(tmp_path / "o.mms")
    assert_same(product, source)
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
def test_scans_in_consecutive_groups(source, tmp_path, axis, numsubms, expected):
    result = partition(
        source.path, str(tmp_path / "o.mms"), separationaxis=axis, numsubms=numsubms, executor="serial"
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


def test_a_multi_ms_can_be_partitioned_again(source, tmp_path):
    partition(source.path, str(tmp_path / "a.mms"), separationaxis="baseline", numsubms=4, executor="serial")
    partition(str(tmp_path / "a.mms"), str(tmp_path / "b.mms"), separationaxis="scan", executor="serial")
    assert_same(MeasurementSet(tmp_path / "b.mms"), source)


def test_one_plain_set(source, tmp_path, nothing_left):
    result = partition(source.path, str(tmp_path / "o.ms"), createmms=False, field="3C48", executor="serial")
    product = MeasurementSet(tmp_path / "o.ms")
    assert not product.is_multi
    assert len(product) == result.counts["rows"] == 150
    assert result.counts["sub-MSs"] == 0
    assert [f.name for f in product.fields] == ["3C48"]
    assert set(product.index.field) == {0}


def test_channels_and_windows_are_cut_in_data_and_sub_tables(source, tmp_path):
    path = tmp_path / "o.mms"
    partition(source.path, str(path), separationaxis="scan", spw="1:2~3;6", executor="serial")
    product = MeasurementSet(path)
    assert [spw.name for spw in product.spws] == ["band1"]
    assert np.array_equal(product.spws[0].frequencies, source.spws[1].frequencies[[2, 3, 6]])
    assert product.spws[0].bandwidth == 3e6
    assert product.spws[0].reference == source.spws[1].frequencies[2]
    assert [(d.spw, d.polarization) for d in product.data_descriptions] == [(0, 0)]
    kept = source.select(Selection(spw="1")).rows
    for column in ("DATA", "FLAG", "WEIGHT_SPECTRUM", "MODEL_DATA"):
        assert np.array_equal(product.read(None, column), source.read(kept, column)[:, [2, 3, 6]]), column
    assert np.array_equal(product.read(None, "WEIGHT"), source.read(kept, "WEIGHT"))


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


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"field": "3C84"}, "there is no field '3C84'"),
        ({"field": "3C48", "scan": "1"}, "no row of .* fits field='3C48', scan='1'; nothing was written"),
        ({"chanbin": 4}, "chanbin=4: channel averaging is not there yet"),
        ({"timebin": "30s"}, "timebin='30s': time averaging is not there yet"),
        ({"numsubms": 0}, "numsubms=0 must be 'auto' or at least 1"),
        ({"datacolumn": "corrected"}, "no column CORRECTED_DATA"),
        ({"separationaxis": "scans"}, "separationaxis"),
        ({"feild": "0"}, "did you mean 'field'"),
    ],
)  # fmt: skip
def test_bad_parameters_leave_nothing(source, tmp_path, parameters, message, nothing_left):
    with pytest.raises(InvalidSpec, match=message):
        partition(source.path, str(tmp_path / "o.mms"), executor="serial", **parameters)
    assert list(tmp_path.iterdir()) == []


def test_bad_places_are_found_before_any_work(source, tmp_path, nothing_left):
    taken = tmp_path / "taken.mms"
    taken.mkdir()
    (taken / "mine").write_text("mine")
    with pytest.raises(InvalidSpec, match="exists already"):
        partition(source.path, str(taken), executor="serial")
    assert (taken / "mine").read_text() == "mine"
    with pytest.raises(InvalidSpec, match="does not exist"):
        partition(source.path, str(tmp_path / "no" / "o.mms"), executor="serial")
    with pytest.raises(InvalidSpec, match="there is no MeasurementSet"):
        partition(str(tmp_path / "none.ms"), str(tmp_path / "o.mms"), executor="serial")
    with pytest.raises(InvalidSpec, match="not a MeasurementSet"):
        partition(str(Path(source.path) / "FIELD"), str(tmp_path / "o.mms"), executor="serial")
    assert list(tmp_path.iterdir()) == [taken]


def test_an_unwritable_folder_is_named(source):
    # /proc refuses even root, whom a folder without write permission would let in.
    with pytest.raises(InvalidSpec, match="cannot be written: the folder /proc is not writable"):
        partition(source.path, "/proc/o.mms", executor="serial")


def _broken(piece, ms, layout):
    from parallactic.measurementset.extract import write_main

    if piece.name.endswith("0002.ms"):
        write_main(ms, piece.rows[:3], piece.path, layout)
        raise RuntimeError("the third one broke")
    return write_main(ms, piece.rows, piece.path, layout)


def test_a_unit_that_fails_is_named_and_nothing_stays(source, tmp_path, monkeypatch, nothing_left):
    monkeypatch.setattr(sys.modules["parallactic.tasks.partition"], "_write", _broken)
    with pytest.raises(StepFailed, match=r"1 of 4 units failed.*o\.mms\.0002\.ms.*the third one broke"):
        partition(source.path, str(tmp_path / "o.mms"), separationaxis="scan", executor="serial")
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import sys
from parallactic.errors import ParallacticError
from parallactic.tasks import partition
vis, output, backend, blind = sys.argv[1:]
if blind == "blind":
    sys.modules[partition.__module__]._check_space = lambda *_: None
try:
    partition(vis, output, separationaxis="baseline", executor=backend)
except ParallacticError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def run_script(vis: Path, output: Path, backend: str, blind: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(vis), str(output), backend, blind],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"only root may mount a small disk: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_what_a_disk_cannot_hold_is_refused_at_once(evla_original, small_disk, backend):
    done = run_script(evla_original, small_disk / "o.mms", backend)
    assert done.returncode == 1
    assert "DiskFull: partition: the product needs at least" in done.stderr
    assert "Nothing was written" in done.stderr
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_a_disk_that_fills_up_while_writing_is_one_clear_error(evla_original, small_disk, backend):
    """The check before the work is taken out, as if others had filled the disk since."""
    done = run_script(evla_original, small_disk / "o.mms", backend, "blind")
    assert done.returncode == 1, done.stderr
    assert "DiskFull: partition: the disk is full" in done.stderr
    assert list(small_disk.iterdir()) == []


def test_a_write_that_fails_amid_a_table_does_not_end_the_process(source, tmp_path):
    """casacore ends the process when it closes a table it could not write; ours must not let it."""
    script = """
import resource, signal, sys
import numpy as np
from parallactic.errors import ParallacticError
from parallactic.measurementset import MeasurementSet, Selection
from parallactic.measurementset.extract import write_main
from parallactic.measurementset.layout import make_layout
import parallactic.measurementset.extract as extract
extract.ensure_room = lambda *_: None
ms = MeasurementSet(sys.argv[1])
everything = ms.select(Selection())
layout = make_layout(ms, Selection(), everything)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000,) * 2)
try:
    write_main(ms, everything.rows, sys.argv[2], layout)
except ParallacticError as error:
    print("refused:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, source.path, str(tmp_path / "o.ms")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "refused:" in done.stdout
    assert "write error" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_ctrl_c_leaves_nothing(tmp_path, backend):
    """Interrupted while it writes: no product, nothing half-built, no process."""
    source = make(
        tmp_path / "big.ms", Plan(nant=16, ntime=40, nchan=(64, 64), data_descriptions=((0, 0), (1, 0)))
    )
    output = tmp_path / "out"
    output.mkdir()
    running = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, source.path, str(output / "o.mms"), backend, ""],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not list(output.glob("o.mms.partial-*/SUBMSS/*/table.f*")):
        assert time.monotonic() < deadline, "it never began to write"
        assert running.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert list(output.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)


@pytest.mark.casa
class TestCasa:
    """What CASA says of our multi-MS, and what its own partition holds."""

    @pytest.mark.parametrize(
        "selection",
        [
            {},
            {"spw": "0:3~9"},
            {"field": "3C48", "spw": "1"},
            {"scan": "2~3", "antenna": "!ea02"},
            {"correlation": "RR,LL"},
        ],
        ids=str,
    )
    def test_same_totals_as_casas_partition(self, casa, source, tmp_path, selection):
        ours, theirs = str(tmp_path / "ours.mms"), str(tmp_path / "theirs.mms")
        partition(source.path, ours, separationaxis="scan", executor="serial", **selection)
        casa.partition(
            source.path, theirs, separationaxis="scan", flagbackup=False, datacolumn="all", **selection
        )
        mine, other = MeasurementSet(ours), MeasurementSet(theirs)
        assert len(mine.subsets) == len(other.subsets)
        assert [
            np.unique(mine.index.scan[mine.index.subset == k]).tolist() for k in range(len(mine.subsets))
        ] == [
            np.unique(other.index.scan[other.index.subset == k]).tolist() for k in range(len(other.subsets))
        ]
        for ddid in np.unique(mine.index.ddid):
            a, b = np.flatnonzero(mine.index.ddid == ddid), np.flatnonzero(other.index.ddid == ddid)
            for column in ("TIME", "FIELD_ID", "UVW", "DATA", "FLAG", "MODEL_DATA", "WEIGHT_SPECTRUM"):
                assert np.array_equal(mine.read(a, column), other.read(b, column)), column
        for spw, spw_casa in zip(mine.spws, other.spws, strict=True):
            assert np.array_equal(spw.frequencies, spw_casa.frequencies)
            assert spw.reference == spw_casa.reference
            assert spw.bandwidth == spw_casa.bandwidth
        assert [f.name for f in mine.fields] == [f.name for f in other.fields]

    def test_a_virtual_model_is_said_not_to_come_along(self, casa, source, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        make(tmp_path / "s.ms", Plan(nscan=2))
        casa.setjy("s.ms", standard="manual", fluxdensity=[2, 0, 0, 0], field="0", usescratch=False)
        ms = MeasurementSet("s.ms")
        assert ms.has_virtual_model
        with pytest.raises(InvalidSpec, match="virtual model"):
            ms.require("MODEL_DATA")
        result = partition("s.ms", "o.mms", executor="serial")
        assert ["virtual model" in warning for warning in result.warnings] == [True]
        assert casa.flagdata("o.mms", mode="summary")["total"] == result.counts["visibilities"]

    @pytest.mark.parametrize("axis", ["spw", "baseline"])
    def test_same_sub_mss_as_casa(self, casa, source, tmp_path, axis):
        ours, theirs = str(tmp_path / "ours.mms"), str(tmp_path / "theirs.mms")
        partition(source.path, ours, separationaxis=axis, numsubms=4, executor="serial")
        casa.partition(source.path, theirs, separationaxis=axis, numsubms=4, flagbackup=False)
        mine, other = MeasurementSet(ours), MeasurementSet(theirs)
        for name in ("antenna1", "antenna2", "ddid", "time", "subset"):
            assert np.array_equal(getattr(mine.index, name), getattr(other.index, name)), name

    @pytest.mark.parametrize("axis", ["auto", "baseline", "time"])
    def test_casa_takes_it_as_one_set(self, casa, evla_original, tmp_path, axis):
        from casatools import ms as mstool

        path = str(tmp_path / "o.mms")
        partition(str(evla_original), path, separationaxis=axis, executor="serial")
        tool = mstool()
        assert tool.open(path)
        assert tool.ismultims()
        assert tool.nrow() == 1360
        tool.close()
        assert casa.listobs(path)["nfields"] == 1
        ours, theirs = (casa.flagdata(p, mode="summary") for p in (path, str(evla_original)))
        assert (ours["total"], ours["flagged"]) == (theirs["total"], theirs["flagged"])

    def test_casas_tasks_work_on_it(self, casa, source, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        plain, multi = str(tmp_path / "plain.ms"), str(tmp_path / "multi.mms")
        shutil.copytree(source.path, plain)
        partition(source.path, multi, separationaxis="auto", datacolumn="all", executor="serial")
        totals = {}
        for path in (plain, multi):
            casa.flagdata(path, mode="manual", antenna="ea02", scan="2", flagbackup=False)
            casa.setjy(path, standard="manual", fluxdensity=[2, 0, 0, 0], field="0", usescratch=True)
            casa.gaincal(path, caltable=f"{path}.G", field="0", solint="inf", refant="ea01", minsnr=0.0)
            casa.applycal(path, gaintable=[f"{path}.G"], flagbackup=False)
            casa.tclean(path, imagename=f"{path}.im", imsize=[64], cell="5arcsec", field="0", niter=0)
            totals[path] = casa.flagdata(path, mode="summary")
        assert totals[plain]["flagged"] == totals[multi]["flagged"] > 0
        assert totals[plain]["total"] == totals[multi]["total"]
        for name in ("plain.ms", "multi.mms"):
            assert (tmp_path / f"{name}.im.image").is_dir()
        ours, theirs = MeasurementSet(multi), MeasurementSet(plain)
        mine, other = (ms.read(np.flatnonzero(ms.index.ddid == 0), "CORRECTED_DATA") for ms in (ours, theirs))
        # CASA solves in single precision over rows in another order.
        assert np.allclose(mine, other, rtol=1e-4, atol=1e-3)
