"""Dask's own objects in our graphs, and our nodes in Dask's."""

from pathlib import Path

import graph_functions as g
import numpy as np
import pytest

from parallactic import DependencyFailed
from parallactic.rsexecute import Node, RSExecute

dask = pytest.importorskip("dask", reason="the [dask] extra")


def test_a_delayed_object_in_a_graph(anywhere: RSExecute):
    three = dask.delayed(g.add)(dask.delayed(g.inc)(0), 2)
    if not anywhere.deferred:
        assert anywhere.compute([three]) == [3]
        return
    graph = {
        "x": [three, anywhere.execute(g.inc)(three)],
        "y": anywhere.execute(g.total)([three, (three,)[0]]),
    }
    assert anywhere.compute(graph, sync=True) == {"x": [3, 4], "y": 6}


def test_each_of_dasks_tasks_is_a_task_of_ours_and_runs_once(rs: RSExecute, tmp_path: Path):
    first = dask.delayed(g.note)(str(tmp_path), "first")
    second = dask.delayed(g.note)(str(tmp_path), "second", first)
    users = [rs.execute(g.parcel)(second, named={}) for _ in range(3)]
    rs.compute([users, first, second], sync=True)
    assert [g.times_run(tmp_path, name) for name in ("first", "second")] == [1, 1]


def test_our_node_in_dasks_graph_in_our_graph_runs_once(rs: RSExecute, tmp_path: Path):
    ours = rs.execute(g.note)(str(tmp_path), "ours")
    theirs = dask.delayed(g.parcel)(ours, named={"k": [ours]})
    assert rs.compute([ours, theirs], sync=True) == ["ours", ("str", "ours", [("k", ["ours"])])]
    assert g.times_run(tmp_path, "ours") == 1


def test_arrays_of_dasks_are_arguments(rs: RSExecute):
    array = pytest.importorskip("dask.array")
    sky = array.arange(1000, chunks=100)
    graph = [rs.execute(g.mean)(sky), (sky + 1).sum(), sky[:3]]
    mean, total, first = rs.compute(graph, sync=True)
    assert mean == 499.5
    assert total == 500_500
    np.testing.assert_array_equal(first, [0, 1, 2])


def test_a_long_chain_of_dasks_tasks(rs: RSExecute):
    # Longer than Python recurses, where a link takes less than milliseconds.
    length = 300 if rs.executor.capabilities.several_hosts else 1_200
    node = dask.delayed(g.inc)(0)
    for _ in range(length - 1):
        node = dask.delayed(g.inc)(node)
    assert rs.compute(node, sync=True) == length


def test_a_delayed_object_that_fails(rs: RSExecute):
    bad = dask.delayed(g.fail)("luck")
    with pytest.raises(LookupError, match="no luck"):
        rs.compute(rs.execute(g.inc)(bad), sync=True)
    assert isinstance(rs.compute(rs.execute(g.inc)(bad)).exception(30), DependencyFailed)


def test_persisted_delayed_objects(rs: RSExecute, tmp_path: Path):
    kept = rs.persist([dask.delayed(g.note)(str(tmp_path), "kept")])
    assert isinstance(kept[0], Node)
    assert rs.gather(kept) == rs.gather(kept) == ["kept"]
    assert g.times_run(tmp_path, "kept") == 1


# -- In Dask's hands ----------------------------------------------------------------------------------------


def test_dask_computes_our_nodes(rs: RSExecute):
    five = rs.execute(g.inc)(4)
    half, quarter = rs.execute(g.halves, nout=2)(five)
    node = rs.execute(g.parcel)([half, {"q": quarter}], named={"z": five})
    expected = "list", [2.5, {"q": 1.25}], [("z", 5)]
    for scheduler in ("synchronous", "threads"):
        assert dask.compute(node, five, scheduler=scheduler) == (expected, 5)
    assert dask.compute(node, scheduler=rs.executor) == (expected,)
    assert dask.is_dask_collection(node)


def test_dask_computes_nodes_that_hold_their_values(rs: RSExecute):
    kept = rs.persist(rs.execute(g.inc)(4))
    listed = rs.persist(rs.execute(g.parcel)(1, named={}))
    assert dask.compute(rs.execute(g.add)(kept, 1), kept, listed, scheduler="synchronous") == (
        6,
        5,
        ("int", 1, []),
    )


def test_dask_persists_our_nodes(rs: RSExecute):
    (kept,) = dask.persist(rs.execute(g.inc)(4), scheduler="synchronous")
    assert kept.compute(scheduler="synchronous") == 5


def test_a_dask_client_computes_our_nodes(rs: RSExecute):
    distributed = pytest.importorskip("distributed", reason="the [dask] extra")
    node = rs.execute(g.total)([rs.execute(g.inc)(n) for n in range(3)])
    with distributed.Client(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as client:
        assert client.compute(node).result(60) == 6
        assert client.compute([node, node + 1], sync=True) == [6, 7]


def test_datasets_with_and_without_dask_inside(rs: RSExecute):
    """RASCIL's data models are xarray datasets: plain ones are plain values, others are computed."""
    xarray = pytest.importorskip("xarray", reason="the data models of RASCIL")
    plain = xarray.Dataset({"vis": ("row", np.arange(6.0))})
    chunked = plain.chunk({"row": 2})
    graph = [rs.execute(g.total_of)(plain), rs.execute(g.total_of)(chunked), [plain, chunked + 1]]
    first, second, (same, more) = rs.compute(graph, sync=True)
    assert first == ("ndarray", 15.0)
    assert second == ("ndarray", 15.0)
    assert same is plain
    xarray.testing.assert_identical(more, plain + 1)
