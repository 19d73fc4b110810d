"""Dask's delayed objects, arrays and datasets as nodes of our graphs, and our nodes in Dask's."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any

from parallactic.errors import BackendUnavailable
from parallactic.rsexecute.graph import Plan, exchange
from parallactic.rsexecute.node import Call, Deferred, Node

__all__ = ["graph_of", "nodes_of"]


def nodes_of(collection: Any, nodes: dict[Any, Node]) -> Node:
    """Return the node of a collection of Dask's: one node for each task of its graph, and one for the whole.

    Parameters
    ----------
    collection
        Any object with Dask's collection protocol.
    nodes
        Those of other collections that are computed with it, by Dask's keys: equal keys are one node.

    Raises
    ------
    BackendUnavailable
        If the installed Dask is older than its present form of graphs.
    """
    try:
        dask: Any = import_module("dask")
        from dask._task_spec import convert_legacy_graph
        from dask.delayed import single_key
        from dask.utils import key_split
    except ImportError as error:
        raise BackendUnavailable(
            f"a {type(collection).__name__} of Dask's in a graph needs dask 2024.12 or later: {error}. "
            "To have it: pip install 'parallactic[dask]'."
        ) from error
    (collection,) = dask.optimize(collection)
    graph = convert_legacy_graph(dict(collection.__dask_graph__()))
    # Dask's tasks name what they need; theirs come first.
    for key in _in_order(graph):
        if key in nodes:
            continue
        task = graph[key]
        own = _own_node(task)
        if own is not None:
            nodes[key] = own
            continue
        needed = list(task.dependencies)
        values = [nodes[each] for each in needed]
        nodes[key] = Node(None, Call(_run_task, (task, needed, values), name=key_split(key)))
    finish, extra = collection.__dask_postcompute__()
    keys = collection.__dask_keys__()
    if finish is single_key and len(keys) == 1 and not extra:
        return nodes[keys[0]]
    return Node(None, Call(_finish, (finish, _nested(keys, nodes), *extra), name="finalize"))


def _own_node(task: Any) -> Node | None:
    """Return the node of ours that a task of Dask's stands for, if it is one.

    Keys do not tell: Dask renames what it copies, and has the copy return what the task inside it returns.
    """
    function = getattr(task, "func", None)
    while getattr(function, "__name__", "") == "_identity" and getattr(task, "args", ()):
        task = task.args[0]
        function = getattr(task, "func", None)
    return function.node() if isinstance(function, _Filling) else None


def _in_order(graph: Any) -> list[Any]:
    """Return the keys of a graph, each after those it depends on, without recursion."""
    order: list[Any] = []
    done: set[Any] = set()
    for root in graph:
        stack = [(root, False)]
        while stack:
            key, ready = stack.pop()
            if key in done:
                continue
            if ready:
                done.add(key)
                order.append(key)
                continue
            stack.append((key, True))
            stack += [(each, False) for each in graph[key].dependencies if each not in done]
    return order


def _nested(keys: Any, nodes: dict[Any, Node]) -> Any:
    return [_nested(each, nodes) for each in keys] if isinstance(keys, list) else nodes[keys]


def _run_task(task: Any, keys: list[Any], values: list[Any]) -> Any:
    return task(dict(zip(keys, values, strict=True)))


def _finish(finish: Callable[..., Any], results: Any, *extra: Any) -> Any:
    return finish(results, *extra)


class _Slot:
    """The place of a value in the arguments of a call."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


def _gone() -> None:
    """Return no node: this is another process."""


class _Filling:
    """A call with places for the values of other nodes, which Dask gives it."""

    def __init__(self, node: Node, call: Call, slots: dict[int, _Slot], plan: Plan) -> None:
        def swap(leaf: Any) -> Any:
            if isinstance(leaf, Deferred):
                return leaf.function
            return slots.get(id(plan.node(leaf)), leaf)

        self.node: Callable[[], Node | None] = weakref.ref(node)
        self.function = call.function
        self.args = [exchange(argument, swap, traverse=call.traverse) for argument in call.args]
        self.kwargs = {key: exchange(part, swap, traverse=call.traverse) for key, part in call.kwargs.items()}

    def __getstate__(self) -> dict[str, Any]:
        # A node does not travel.
        return self.__dict__ | {"node": _gone}

    def __call__(self, *values: Any) -> Any:
        def fill(leaf: Any) -> Any:
            return values[leaf.number] if type(leaf) is _Slot else leaf

        return self.function(*exchange(self.args, fill), **exchange(self.kwargs, fill))


class _Given:
    """A task that has its value: Dask does not look for tasks inside."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value


def graph_of(node: Node) -> dict[str, Any]:
    """Return the graph of a node as Dask wants it: tasks by key, each a function and the keys it needs."""
    plan = Plan([node], lambda each: each._held)
    graph: dict[str, Any] = {}
    if node._held is not None:
        graph[node.key] = (_Given(node._held.result()),)
    for each in plan.order:
        needed = {id(other): other for other in plan.needs[id(each)]}
        for other in needed.values():
            if other._held is not None:
                graph[other.key] = (_Given(other._held.result()),)
        slots = {identity: _Slot(number) for number, identity in enumerate(needed)}
        call = each._call
        if call is None:
            raise TypeError(f"{each!r} has a future and is not called.")
        graph[each.key] = (_Filling(each, call, slots, plan), *[other.key for other in needed.values()])
    return graph
