"""From nodes in lists, tuples and dicts to calls: which are needed, in which order, and making them.

Nothing here recurses over nodes: a chain of any length may be computed. The order is depth first, so that
what one branch of a graph needs is freed before the next one begins.
"""

from __future__ import annotations

import concurrent.futures
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from parallactic.future import Future
from parallactic.rsexecute.node import Call, Deferred, Node
from parallactic.wire.ref import Ref

if TYPE_CHECKING:
    from parallactic.executor import Executor

__all__ = ["Plan", "cancel", "exchange", "leaves", "run_here", "submit", "value_of"]

_PLAIN = frozenset({int, float, complex, bool, str, bytes, bytearray, type(None)})
_SHARED_BYTES = 1 << 20
"""An array of so many bytes that several nodes need is sent once."""

_collections: dict[type, bool] = {}


def leaves(value: Any, *, traverse: bool = True) -> Iterator[Any]:
    """Yield what stands in lists, tuples and dicts at any depth, except numbers and strings."""
    kind = type(value)
    if kind in _PLAIN:
        return
    if traverse and (kind is list or kind is tuple):
        if not set(map(type, value)) <= _PLAIN:
            for part in value:
                yield from leaves(part)
    elif traverse and kind is dict:
        for part in value.values():
            yield from leaves(part)
    else:
        yield value


def exchange(value: Any, swap: Callable[[Any], Any], *, traverse: bool = True) -> Any:
    """Return `value` with every leaf replaced by what `swap` gives for it; what does not change is kept."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if traverse and (kind is list or kind is tuple):
        if set(map(type, value)) <= _PLAIN:
            return value
        parts = [exchange(part, swap) for part in value]
        return kind(parts) if any(new is not old for new, old in zip(parts, value, strict=True)) else value
    if traverse and kind is dict:
        changed = {key: exchange(part, swap) for key, part in value.items()}
        return changed if any(changed[key] is not value[key] for key in value) else value
    return swap(value)


def is_dask(value: Any) -> bool:
    """Tell whether something is a collection of Dask's: a delayed object, an array, a dataset of such."""
    kind = type(value)
    known = _collections.get(kind)
    if known is None:
        known = _collections[kind] = callable(getattr(kind, "__dask_graph__", None)) and kind is not Node
    return known and value.__dask_graph__() is not None


class Plan:
    """The nodes that some value needs.

    Parameters
    ----------
    value
        Lists, tuples and dicts of nodes, and anything else.
    found
        Gives the future of a node that need not be computed, or None.
    merge
        Whether equal calls that are `pure` are made once.
    """

    def __init__(self, value: Any, found: Callable[[Node], Future | None], *, merge: bool = True) -> None:
        self.order: list[Node] = []
        """Every node to compute, after all that it needs."""
        self.futures: dict[int, Future] = {}
        """Those that need not be computed, by the identity of the node."""
        self.needs: dict[int, list[Node]] = {}
        self.uses: Counter[int] = Counter()
        """How many arguments and results each node is."""
        self.arrays: Counter[int] = Counter()
        """How many arguments each large array is, by its identity."""
        self._found = found
        self._stands_for: dict[int, Node] = {}
        self._dask: dict[Any, Node] = {}
        self._kept: list[Any] = []
        self._pure: dict[Any, Node] | None = {} if merge else None
        roots = [self._node(leaf) for leaf in leaves(value) if self._is_node(leaf)]
        for root in roots:
            self._add(root)
        for root in roots:
            self.uses[id(self.node(root))] += 1

    def node(self, leaf: Any) -> Node:
        """Return the node that is computed for a node or a collection of Dask's."""
        node = self._stands_for.get(id(leaf), leaf)
        return self._stands_for.get(id(node), node)  # type: ignore[no-any-return]

    def _is_node(self, leaf: Any) -> bool:
        # Dask may take long to answer; it is asked once.
        return isinstance(leaf, Node) or id(leaf) in self._stands_for or is_dask(leaf)

    def _node(self, leaf: Any) -> Node:
        if isinstance(leaf, Node):
            return leaf
        known = self._stands_for.get(id(leaf))
        if known is None:
            from parallactic.rsexecute.dask_graphs import nodes_of

            known = self._stands_for[id(leaf)] = nodes_of(leaf, self._dask)
            self._kept.append(leaf)
        return known

    def _add(self, root: Node) -> None:
        stack, done = [root], self.needs
        visited: dict[int, list[Node]] = {}
        while stack:
            node = stack[-1]
            if id(node) in done or id(node) in self.futures or id(node) in self._stands_for:
                stack.pop()
                continue
            needed = visited.get(id(node))
            if needed is None:
                future = self._found(node)
                if future is not None:
                    self.futures[id(node)] = future
                    self._kept.append(node)
                    continue
                needed = visited[id(node)] = self._inputs(node)
                stack += reversed(needed)
                continue
            stack.pop()
            self._settle(node, [self.node(each) for each in needed])

    def _inputs(self, node: Node) -> list[Node]:
        call = _call(node)
        found = []
        for part in (call.args, call.kwargs):
            for leaf in _arguments(part, traverse=call.traverse):
                if self._is_node(leaf):
                    found.append(self._node(leaf))
                elif getattr(leaf, "nbytes", 0) >= _SHARED_BYTES and _is_array(leaf):
                    self.arrays[id(leaf)] += 1
        return found

    def _settle(self, node: Node, needed: list[Node]) -> None:
        call = _call(node)
        if call.pure and self._pure is not None:
            same = self._pure.setdefault(self._signature(call), node)
            if same is not node:
                self._stands_for[id(node)] = same
                self._kept.append(node)
                return
        self.needs[id(node)] = needed
        self.order.append(node)
        for each in needed:
            self.uses[id(each)] += 1

    def _signature(self, call: Call) -> Any:
        """Return what is equal for equal calls: the same objects, the same numbers and strings."""

        def sign(value: Any) -> Any:
            kind = type(value)
            if kind in _PLAIN and kind is not bytearray:
                # 0.0 and -0.0 are equal and not the same.
                return kind, repr(value) if kind is float or kind is complex else value
            if call.traverse and (kind is list or kind is tuple):
                return kind, tuple(map(sign, value))
            if call.traverse and kind is dict:
                return kind, tuple((key, sign(part)) for key, part in value.items())
            return id(self.node(value))

        keywords = tuple(sorted((key, sign(part)) for key, part in call.kwargs.items()))
        return id(call.function), call.name, tuple(map(sign, call.args)), keywords


def _call(node: Node) -> Call:
    call = node._call
    if call is None:
        raise TypeError(f"{node!r} has a future and is not called.")
    return call


def _arguments(part: Any, *, traverse: bool) -> Iterator[Any]:
    for argument in part.values() if isinstance(part, dict) else part:
        yield from leaves(argument, traverse=traverse)


def _is_array(value: Any) -> bool:
    kind = type(value)
    return kind.__name__ == "ndarray" and kind.__module__ == "numpy"


def submit(
    executor: Executor,
    value: Any,
    *,
    optimize: bool,
    wrap: Callable[[Any, Future], Any] = lambda _, future: future,
) -> tuple[Any, list[weakref.ref[Future]]]:
    """Submit what a value needs.

    Only futures that stand in the result are held: what only other nodes need is freed when they have it.

    Parameters
    ----------
    executor
        Where to.
    value
        Lists, tuples and dicts of nodes, and anything else.
    optimize
        Make equal calls once, and send large arrays once.
    wrap
        Given a node of `value` and its future, returns what stands in its place.

    Returns
    -------
    tuple
        `value` with futures in the place of nodes, and the futures that are new.
    """
    plan = Plan(value, lambda node: node._future_on(executor), merge=optimize)
    futures = plan.futures
    left = plan.uses
    shared: dict[int, Ref] = {}

    def swap(leaf: Any) -> Any:
        return leaf.function if isinstance(leaf, Deferred) else futures.get(id(plan.node(leaf)), leaf)

    def swap_argument(leaf: Any) -> Any:
        if optimize and plan.arrays.get(id(leaf), 0) > 1 and _is_array(leaf):
            if id(leaf) not in shared:
                shared[id(leaf)] = executor.put(leaf)
            return shared[id(leaf)]
        return swap(leaf)

    fresh: list[weakref.ref[Future]] = []
    try:
        for node in plan.order:
            call = _call(node)
            args = [exchange(argument, swap_argument, traverse=call.traverse) for argument in call.args]
            kwargs = {
                key: exchange(part, swap_argument, traverse=call.traverse)
                for key, part in call.kwargs.items()
            }
            options = dict(call.options) | ({"name": call.name} if call.name else {})
            runner = executor.options(**options) if options else executor
            future = runner.submit(call.function, *args, **kwargs)
            futures[id(node)] = future
            node._remember(executor, future)
            fresh.append(weakref.ref(future))
            for each in plan.needs[id(node)]:
                left[id(each)] -= 1
                if not left[id(each)]:
                    del futures[id(each)]
    except BaseException:
        cancel(fresh)
        raise

    def wrapped(leaf: Any) -> Any:
        new = swap(leaf)
        return wrap(leaf, new) if new is not leaf and isinstance(new, Future) else new

    return exchange(value, wrapped), fresh


def cancel(futures: list[weakref.ref[Future]], *, force: bool = False) -> None:
    """Cancel those of the futures that somebody still needs, the last ones first."""
    for reference in reversed(futures):
        future = reference()
        if future is not None:
            future.cancel(force=force)


def value_of(leaf: Any) -> Any:
    """Return the value of a node, a future, a reference or a deferred function; anything else as it is."""
    if isinstance(leaf, Node):
        return run_here(leaf)
    if isinstance(leaf, Deferred):
        return leaf.function
    if isinstance(leaf, concurrent.futures.Future):
        return leaf.result()
    return leaf.get() if isinstance(leaf, Ref) else leaf


def run_here(value: Any) -> Any:
    """Compute what `value` needs on this thread, one call after the other."""
    plan = Plan(value, lambda node: node._held)
    left = plan.uses
    results: dict[int, Any] = {}

    def swap(leaf: Any) -> Any:
        if not isinstance(leaf, Node) and (value := value_of(leaf)) is not leaf:
            return value
        key = id(plan.node(leaf))
        if key in plan.futures:
            return plan.futures[key].result()
        return results.get(key, leaf)

    for node in plan.order:
        call = _call(node)
        args = [exchange(argument, swap, traverse=call.traverse) for argument in call.args]
        kwargs = {key: exchange(part, swap, traverse=call.traverse) for key, part in call.kwargs.items()}
        results[id(node)] = call.function(*args, **kwargs)
        for each in plan.needs[id(node)]:
            left[id(each)] -= 1
            if not left[id(each)]:
                results.pop(id(each), None)
    return exchange(value, swap)
