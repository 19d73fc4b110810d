"""Graphs of nested lists, tuples and dicts: the same on every backend, and without one."""

import itertools
import threading
import time
import weakref
from pathlib import Path

import graph_functions as g
import numpy as np
import pytest

from interrupts import interrupt
from parallactic import DependencyFailed, Future, InvalidSpec
from parallactic.rsexecute import Node, RSExecute, rsexecute

# -- The same everywhere ------------------------------------------------------------------------------------


def test_a_graph_of_lists_tuples_and_dicts(anywhere: RSExecute):
    e = anywhere.execute
    one = e(g.inc)(0)
    graph = {"a": [one, (e(g.inc)(one), 7)], "b": e(g.total)([one, e(g.inc)(one), 10]), "c": "text"}
    assert anywhere.compute(graph, sync=True) == {"a": [1, (2, 7)], "b": 13, "c": "text"}


def test_arguments_keep_their_shape(anywhere: RSExecute):
    e = anywhere.execute
    two = e(g.inc)(1)
    node = e(g.parcel)((two, [two, {"k": two}]), named={"z": [two], "y": 5})
    expected = ("tuple", (2, [2, {"k": 2}]), [("y", 5), ("z", [2])])
    assert anywhere.compute(node, sync=True) == expected


def test_what_a_function_returns_can_be_taken_apart(anywhere: RSExecute):
    half, quarter = anywhere.execute(g.halves, nout=2)(8.0)
    both = anywhere.execute(g.halves, nout=2)(4.0)
    graph = [anywhere.execute(g.add)(half, quarter), both[1], len(both)]
    assert anywhere.compute(graph, sync=True) == [6.0, 1.0, 2]


def test_lambdas_closures_and_methods(anywhere: RSExecute):
    factor = 3
    scaled = anywhere.execute(lambda x: factor * x)(anywhere.execute("abc".upper)())
    assert anywhere.compute(scaled, sync=True) == "ABCABCABC"


def test_arrays(anywhere: RSExecute):
    sky = np.arange(300_000.0)
    parts = [anywhere.execute(np.multiply)(sky, k) for k in range(3)]
    result = anywhere.compute(anywhere.execute(np.sum)(parts, axis=0), sync=True)
    np.testing.assert_array_equal(result, 3 * sky)


def test_scatter_and_gather_keep_the_shape(anywhere: RSExecute):
    data = {"sky": np.arange(5.0), "cells": [1, (2, "x")]}
    there = anywhere.scatter(data, broadcast=True)
    total = anywhere.execute(np.sum)(there["sky"])
    assert anywhere.compute(total, sync=True) == 10.0
    back = anywhere.gather(there)
    np.testing.assert_array_equal(back["sky"], data["sky"])
    assert back["cells"] == data["cells"]


def test_persist_keeps_the_shape_and_runs_once(anywhere: RSExecute, tmp_path: Path):
    node = anywhere.execute(g.note)(str(tmp_path), "once")
    kept = anywhere.persist([node, {"again": node}])
    assert anywhere.compute(kept, sync=True) == ["once", {"again": "once"}]
    assert anywhere.compute(anywhere.execute(g.parcel)(kept[0], named={}), sync=True)[1] == "once"
    assert g.times_run(tmp_path, "once") == 1


def test_a_value_that_is_no_graph_is_its_own_value(anywhere: RSExecute):
    assert anywhere.compute(5, sync=True) == 5
    assert anywhere.compute([1, "a", None]) == [1, "a", None]
    assert anywhere.compute(anywhere.execute([1, 2]), sync=True) == [1, 2]


def test_an_error_keeps_its_type(anywhere: RSExecute):
    def build() -> object:
        return anywhere.compute(anywhere.execute(g.inc)(anywhere.execute(g.fail)("luck")), sync=True)

    with pytest.raises(LookupError, match="no luck"):
        build()


def test_optimize_returns_the_graph(anywhere: RSExecute):
    graph = [anywhere.execute(g.inc)(1)]
    assert anywhere.compute(anywhere.optimize(graph), sync=True) == [2]
    with pytest.raises(InvalidSpec, match="traverse"):
        anywhere.optimize(graph, traversal=True)
    with pytest.raises(InvalidSpec, match="needs a graph"):
        anywhere.optimize()


# -- Nodes --------------------------------------------------------------------------------------------------


def test_what_is_done_to_a_node_is_done_to_its_value(rs: RSExecute):
    five = rs.execute(g.inc)(4)
    text = rs.execute("a b".split)()
    graph = [
        five + 1,
        1 - five,
        five**2,
        -five,
        abs(-five),
        five > 4,
        five == 5,
        five.real,
        text[1],
        text.count("a"),
    ]
    assert rs.compute(graph, sync=True) == [6, -4, 25, -5, 5, True, True, 5, "b", 1]
    assert five.compute() == 5
    assert five.persist().compute() == 5


def test_nodes_have_no_truth_no_length_and_do_not_travel(rs: RSExecute):
    import copy
    import pickle

    node = rs.execute(g.inc)(1)
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(node)
    with pytest.raises(TypeError, match="nout=N"):
        len(node)
    with pytest.raises(TypeError, match="nout=N"):
        list(node)
    with pytest.raises(InvalidSpec, match="inside a list, tuple or dict"):
        pickle.dumps(node)
    with pytest.raises(AttributeError):
        _ = node._nothing
    assert copy.deepcopy([node])[0] is node
    with pytest.raises(InvalidSpec, match="inside a list, tuple or dict"):
        rs.compute(rs.execute(g.inc)({node}))


def test_persisted_nodes_can_be_taken_apart(rs: RSExecute):
    half, quarter = rs.persist(rs.execute(g.halves, nout=2)(2.0))
    assert rs.gather((half, quarter)) == (1.0, 0.5)


def test_names_and_options(rs: RSExecute):
    node = rs.execute(g.inc, name="one more", retries=1, timeout="60s")(1)
    assert repr(node) == "<node one more>"
    assert rs.compute(node, sync=True) == 2
    with pytest.raises(InvalidSpec, match="did you mean 'retries'"):
        rs.execute(g.inc, retrys=1)
    with pytest.raises(InvalidSpec, match="nout=-1"):
        rs.execute(g.inc, nout=-1)


def test_a_deferred_function_may_be_an_argument(rs: RSExecute):
    assert rs.compute(rs.execute(map)(rs.execute(g.inc), [1]).__class__ is Node) is True
    applied = rs.execute(lambda function, x: function(x))(rs.execute(g.inc), 1)
    assert rs.compute(applied, sync=True) == 2


def test_not_traversed_arguments_are_left_alone(rs: RSExecute):
    node = rs.execute(g.inc, traverse=False)(rs.execute(g.inc)(1))
    assert rs.compute(node, sync=True) == 3
    with pytest.raises(InvalidSpec, match="has not been computed"):
        rs.compute(rs.execute(g.total, traverse=False)([rs.execute(g.inc)(1)]))


# -- Once ---------------------------------------------------------------------------------------------------


def test_a_shared_node_runs_once(rs: RSExecute, tmp_path: Path):
    shared = rs.execute(g.note)(str(tmp_path), "shared")
    users = [rs.execute(g.parcel)(shared, named={"k": shared}) for _ in range(5)]
    rs.compute([users, shared, {"again": shared}], sync=True)
    assert g.times_run(tmp_path, "shared") == 1


def test_what_is_not_needed_does_not_run(rs: RSExecute, tmp_path: Path):
    rs.execute(g.note)(str(tmp_path), "never")
    assert rs.compute(rs.execute(g.inc)(1), sync=True) == 2
    assert g.times_run(tmp_path, "never") == 0


def test_a_node_whose_future_is_held_is_not_run_again(rs: RSExecute, tmp_path: Path):
    node = rs.execute(g.note)(str(tmp_path), "held")
    future = rs.compute(node)
    assert rs.compute(node) is future
    assert rs.compute(rs.execute(g.parcel)(node, named={}), sync=True)[1] == "held"
    assert g.times_run(tmp_path, "held") == 1


def test_equal_calls_run_once_if_they_are_pure(rs: RSExecute, tmp_path: Path):
    def graph(name: str, pure: bool | None) -> list[object]:
        return [rs.execute(g.note, pure=pure)(str(tmp_path), name, x) for x in (0.0, 0.0, -0.0, False, 0)]

    rs.compute(graph("pure", pure=True), sync=True)
    assert g.times_run(tmp_path, "pure") == 4
    rs.compute(graph("impure", pure=None), sync=True)
    assert g.times_run(tmp_path, "impure") == 5


def test_equal_calls_run_each_without_optimisation(backend: str, tmp_path: Path):
    with RSExecute() as session:
        session.set_client(backend=backend, workers=1, optim=False)
        assert not session.optimizing
        session.compute(
            [session.execute(g.note, pure=True)(str(tmp_path), "each") for _ in range(2)], sync=True
        )
    assert g.times_run(tmp_path, "each") == 2


def test_an_array_that_several_nodes_need_is_sent_once(rs: RSExecute, monkeypatch: pytest.MonkeyPatch):
    sent = []
    put = rs.executor.put
    monkeypatch.setattr(rs.executor, "put", lambda value: sent.append(value) or put(value))
    sky, alone = np.ones(1 << 18), np.ones(1 << 18)
    nodes = [rs.execute(g.mean)(sky) for _ in range(4)] + [rs.execute(g.mean)(alone)]
    assert rs.compute(nodes, sync=True) == [1.0] * 5
    assert [value is sky for value in sent] == [True]
    assert rs.compute([sky, rs.execute(g.mean)(sky), rs.execute(g.mean)(sky)])[0] is sky


# -- Not waiting --------------------------------------------------------------------------------------------


def test_compute_returns_futures_in_the_shape_of_the_graph(rs: RSExecute):
    node = rs.execute(g.inc)(1)
    futures = rs.compute({"a": [node, 3], "b": (node,)})
    assert isinstance(futures["a"][0], Future)
    assert futures["a"][1] == 3
    assert futures["b"][0] is futures["a"][0]
    assert rs.gather(futures) == {"a": [2, 3], "b": (2,)}


def test_futures_are_inputs_of_other_graphs(rs: RSExecute):
    future = rs.compute(rs.execute(g.inc)(1))
    assert rs.compute([future, rs.execute(g.total)([future, {"x": 1}["x"]])], sync=True) == [2, 3]


def test_compute_does_not_wait(backend: str, tmp_path: Path):
    with RSExecute() as session:
        session.set_client(backend=backend, workers=1)
        if session.executor.capabilities.inline:
            pytest.skip("an inline backend runs tasks inside submit")
        gate = tmp_path / "gate"
        future = session.compute(session.execute(g.wait_for)(str(gate)))
        assert not future.done()
        gate.touch()
        assert future.result(30) == str(gate)


def test_threads_that_share_nodes_run_them_once(rs: RSExecute, tmp_path: Path):
    shared = [rs.execute(g.note)(str(tmp_path), f"shared {n}") for n in range(20)]
    kept, start = [], threading.Barrier(4)

    def compute() -> None:
        start.wait(30)
        # Whoever holds the futures shares them.
        kept.append(rs.compute(shared))

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert rs.gather(kept) == [[f"shared {n}" for n in range(20)]] * 4
    assert [g.times_run(tmp_path, f"shared {n}") for n in range(20)] == [1] * 20


def test_an_interrupt_stops_what_runs(rs: RSExecute, backend: str, tmp_path: Path):
    if not rs.executor.capabilities.isolation:
        pytest.skip("the interrupt of a backend of this process is the executor's own")
    after = interrupt(
        backend,
        tmp_path,
        setup="from parallactic.rsexecute import RSExecute\n"
        "session = RSExecute()\n"
        "session.set_client(ex)\n"
        "nodes = [session.execute(tasks.spin)(started), session.execute(abs)(-1)]",
        wait="session.compute(nodes, sync=True)",
        after="def everywhere():\n"
        "    try:\n"
        "        return session.run(abs, -1)\n"
        "    except plx.StateLost:\n"
        "        return None  # a worker that was stopped is being replaced at this moment\n"
        "until(lambda: everywhere() == {0: 1, 1: 1}, 20.0, 'every worker is free again')\n"
        "session.close()",
    )
    assert after == ""


# -- Failure ------------------------------------------------------------------------------------------------


def test_each_future_has_its_own_end(rs: RSExecute):
    bad = rs.execute(g.fail)("luck")
    futures = rs.compute([bad, rs.execute(g.inc)(bad), rs.execute(g.inc)(1)])
    assert isinstance(futures[0].exception(30), LookupError)
    assert isinstance(futures[1].exception(30), DependencyFailed)
    assert isinstance(futures[1].exception().__cause__, LookupError)
    assert futures[2].result(30) == 2


def test_a_failure_does_not_wait_for_the_rest_and_cancels_it(backend: str, tmp_path: Path):
    with RSExecute() as session:
        session.set_client(backend=backend, workers=2)
        if session.executor.capabilities.inline:
            pytest.skip("an inline backend has run everything when submit returns")
        gate = str(tmp_path / "gate")
        first = session.execute(g.fail)("luck")
        slow = session.execute(g.wait_for)(gate)
        after = session.execute(g.note)(str(tmp_path), "after", slow)
        with pytest.raises(LookupError, match="no luck"):
            session.compute([slow, after, first], sync=True)
        Path(gate).touch()
        assert session.compute(session.execute(g.inc)(1), sync=True) == 2
    assert g.times_run(tmp_path, "after") == 0


def test_a_failed_node_may_be_computed_again(rs: RSExecute, tmp_path: Path):
    def once(path: str) -> str:
        if not Path(path).exists():
            Path(path).touch()
            raise OSError("the disk was full")
        return "written"

    node = rs.execute(once)(str(tmp_path / "mark"))
    future = rs.compute(node)
    assert isinstance(future.exception(30), OSError)
    assert rs.compute(node, sync=True) == "written"


# -- Size ---------------------------------------------------------------------------------------------------


def test_a_chain_and_a_fan_of_ten_thousand(rs: RSExecute):
    """Longer than Python recurses. Engines of several hosts need milliseconds for each link."""
    length = 1_100 if rs.executor.capabilities.several_hosts else 10_000
    node = rs.execute(g.inc)(0)
    for _ in range(length - 1):
        node = rs.execute(g.inc)(node)
    fan = rs.execute(g.total)([rs.execute(g.inc)(0) for _ in range(length)])
    assert rs.compute([node, fan], sync=True) == [length, length]


def test_a_wide_graph_is_planned_in_proportion_to_its_size():
    """Twice the nodes take about twice the time, not four times: measured without running anything."""
    from parallactic.rsexecute.graph import Plan

    def seconds(size: int) -> float:
        middle = [rsexecute.execute(g.inc)(n) for n in range(size)]
        pairs = [rsexecute.execute(g.add)(a, b) for a, b in itertools.pairwise(middle)]
        root = rsexecute.execute(g.total)([*pairs, *middle])
        best = []
        for _ in range(3):
            begin = time.process_time()
            assert len(Plan(root, lambda _: None).order) == 2 * size
            best.append(time.process_time() - begin)
        return min(best)

    # 16 times the nodes: 16 if linear, 256 if quadratic.
    assert seconds(16_000) < 60 * seconds(1_000)


def test_what_only_nodes_need_is_not_opened_on_the_client(rs: RSExecute):
    if not rs.executor.capabilities.isolation:
        pytest.skip("client and worker are one process")
    g.Stay.opened_in.clear()
    big = rs.execute(g.Stay.make)(300_000)
    sizes = [rs.execute(g.size_of)(big) for _ in range(3)]
    assert rs.compute(sizes, sync=True) == [300_000] * 3
    assert g.Stay.opened_in == []


def test_what_nobody_needs_any_more_is_freed(rs: RSExecute):
    """Only results are held; what is between them goes when its last user has it."""
    middle = rs.execute(g.ones)(200_000)
    end = rs.execute(g.mean)(middle)
    future = rs.compute(end)
    assert future.result(60) == 1.0
    reference = middle._running[1]
    assert isinstance(reference, weakref.ref)
    deadline = time.monotonic() + 10
    while reference() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reference() is None


def test_what_is_used_up_is_freed_while_the_rest_is_being_submitted(monkeypatch: pytest.MonkeyPatch):
    """A submit may wait for room for hours; results that have been used must not wait with it."""
    with RSExecute() as session:
        session.set_client(backend="serial", workers=1)
        futures: list[weakref.ref[Future]] = []
        alive: list[int] = []
        submit = session.executor.submit

        def watched(*args: object) -> Future:
            alive.append(sum(future() is not None for future in futures))
            futures.append(weakref.ref(new := submit(*args)))
            return new

        monkeypatch.setattr(session.executor, "submit", watched)
        node = session.execute(g.ones)(10)
        for _ in range(9):
            node = session.execute(g.inc)(node)
        assert session.compute(session.execute(g.mean)(node), sync=True) == 10.0
        # The one that is an argument just now, and the one before it until its task is forgotten.
        assert max(alive) <= 2
