"""Nodes of a graph: calls that have not been made yet."""

from __future__ import annotations

import operator
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from parallactic.errors import InvalidSpec
from parallactic.future import Future

if TYPE_CHECKING:
    from parallactic.executor import Executor
    from parallactic.rsexecute.session import RSExecute

__all__ = ["Call", "Deferred", "Node"]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call of a function, to be made later.

    Parameters
    ----------
    function, args, kwargs
        What is called. Nodes may stand anywhere in lists, tuples and dicts.
    nout
        Length of what it returns, None if it is not to be taken apart.
    name
        Its name in status, statistics and errors; an empty string: the function's.
    pure
        Whether equal calls may be made once.
    traverse
        Whether nodes are looked for inside lists, tuples and dicts.
    options
        Resources and rules, as of ``Executor.options``.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    nout: int | None = None
    name: str = ""
    pure: bool = False
    traverse: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


class Deferred:
    """What ``execute(function)`` returns: called, it makes a `Node` of the call."""

    __slots__ = ("__weakref__", "_owner", "_pattern")

    def __init__(self, owner: RSExecute, pattern: Call) -> None:
        self._owner = owner
        self._pattern = pattern

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself, which is what a node receives that is given this object."""
        return self._pattern.function

    def __call__(self, *args: Any, dask_key_name: str | None = None, **kwargs: Any) -> Node:
        """Return the node of a call with these arguments; `dask_key_name` names it, as in Dask."""
        p = self._pattern
        name = dask_key_name or p.name
        return Node(self._owner, Call(p.function, args, kwargs, p.nout, name, p.pure, p.traverse, p.options))

    def __repr__(self) -> str:
        return f"<deferred {_name_of(self.function)}>"

    def __reduce__(self) -> NoReturn:
        raise InvalidSpec(f"{self!r} does not travel: give the function itself.")


class Node:
    """The result of a call that has not been made yet; the value of other calls' arguments.

    Everything done to it makes another node: ``node[0]``, ``node.attribute``, ``node(argument)``,
    ``node + 1``. With ``execute(function, nout=2)`` it can be taken apart, ``image, weight = node``. The
    exceptions are `compute`, `persist`, `key` and `dask`, and what begins with an underscore.

    It is computed by `RSExecute.compute`. Nodes stand for values in lists, tuples and dicts of arguments.
    """

    __slots__ = ("__weakref__", "_call", "_held", "_key", "_owner", "_running")

    def __init__(self, owner: RSExecute | None, call: Call | None, held: Future | None = None) -> None:
        self._owner = owner
        self._call = call
        self._held = held
        self._key: str | None = None
        self._running: tuple[weakref.ref[Executor], weakref.ref[Future]] | None = None

    def compute(self) -> Any:
        """Return the value, waiting for it."""
        return self._session().compute(self, sync=True)

    def persist(self) -> Node:
        """Begin to compute the value; return a node that holds it, where it was made."""
        return self._session().persist(self)  # type: ignore[no-any-return]

    def _session(self) -> RSExecute:
        if self._owner is None:
            raise TypeError(f"{self!r} belongs to a graph of Dask's; compute that.")
        return self._owner

    @property
    def key(self) -> str:
        """A name that no other node has, as Dask wants it."""
        if self._key is None:
            self._key = f"{_label(self)}-{uuid.uuid4()}"
        return self._key

    @property
    def dask(self) -> dict[str, Any]:
        """The graph of Dask's that computes the same."""
        return self.__dask_graph__()

    # What is done to the value is done later.

    def _then(self, function: Callable[..., Any], *args: Any) -> Node:
        # What is asked for twice, like node[0], is taken once.
        return Node(self._owner, Call(function, (self, *args), pure=True))

    def __getattr__(self, name: str) -> Node:
        if name.startswith("_"):
            raise AttributeError(f"a node has no attribute {name!r}; what it stands for does not exist yet.")
        return self._then(getattr, name)

    def __getitem__(self, index: Any) -> Node:
        return self._then(operator.getitem, index)

    def __call__(self, *args: Any, **kwargs: Any) -> Node:
        """Return the node of calling the value."""
        return Node(self._owner, Call(operator.call, (self, *args), kwargs))

    def __iter__(self) -> Iterator[Node]:
        return iter([self[index] for index in range(len(self))])

    def __len__(self) -> int:
        if self._call is None or self._call.nout is None:
            raise TypeError(
                f"{self!r} cannot be taken apart: nobody knows yet how long it is; "
                "say so with execute(function, nout=N)."
            )
        return self._call.nout

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} is neither true nor false before it is computed.")

    def __eq__(self, other: object) -> Any:
        return self._then(operator.eq, other)

    def __ne__(self, other: object) -> Any:
        return self._then(operator.ne, other)

    __hash__ = object.__hash__

    # Dask's own functions and clients take a node for a collection of Dask's.

    def __dask_graph__(self) -> dict[str, Any]:
        from parallactic.rsexecute.dask_graphs import graph_of

        return graph_of(self)

    __dask_optimize__ = None

    def __dask_keys__(self) -> list[str]:
        return [self.key]

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _only, ()

    def __dask_postpersist__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuilt, (self.key,)

    def __dask_tokenize__(self) -> str:
        return self.key

    @staticmethod
    def __dask_scheduler__(dsk: Any, keys: Any, **options: Any) -> Any:
        from dask.threaded import get

        return get(dsk, keys, **options)

    # Copies and travels

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Node:
        return self

    def __reduce__(self) -> NoReturn:
        raise InvalidSpec(
            f"{self!r} has not been computed and does not travel: give it to another node as an argument, "
            "or inside a list, tuple or dict of arguments."
        )

    def __repr__(self) -> str:
        return f"<node {_label(self)}>"

    # For those who submit

    def _future_on(self, executor: Executor) -> Future | None:
        """Return the future of this node if it is there, or on its way, and has not failed."""
        if self._held is not None:
            return self._held
        if self._running is None or self._running[0]() is not executor:
            return None
        future = self._running[1]()
        if future is None or future.cancelled() or (future.done() and future.failure() is not None):
            return None
        return future

    def _remember(self, executor: Executor, future: Future) -> None:
        """Let others who compute this node find its future, as long as somebody holds it."""
        self._running = weakref.ref(executor), weakref.ref(future)


def _label(node: Node) -> str:
    if node._call is None:
        return "persisted"
    return node._call.name or _name_of(node._call.function)


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


def _only(results: Any) -> Any:
    return results[0]


def _rebuilt(graph: Mapping[Any, Any], key: str, *, rename: Mapping[str, str] | None = None) -> Any:
    """Return what Dask has persisted, as Dask's own delayed object."""
    delayed: Any = import_module("dask.delayed")
    return delayed.Delayed((rename or {}).get(key, key), graph)


def _binary(function: Callable[..., Any]) -> Callable[[Node, Any], Node]:
    return lambda self, other: self._then(function, other)


def _reflected(function: Callable[..., Any]) -> Callable[[Node, Any], Node]:
    return lambda self, other: Node(self._owner, Call(function, (other, self), pure=True))


def _unary(function: Callable[..., Any]) -> Callable[[Node], Node]:
    return lambda self: self._then(function)


_ARITHMETIC = "add sub mul matmul truediv floordiv mod pow and or xor lshift rshift"
for _word in _ARITHMETIC.split():
    _function = getattr(operator, f"__{_word}__")
    setattr(Node, f"__{_word}__", _binary(_function))
    setattr(Node, f"__r{_word}__", _reflected(_function))
for _word in ("lt", "le", "gt", "ge"):
    setattr(Node, f"__{_word}__", _binary(getattr(operator, _word)))
for _word in ("neg", "pos", "abs", "invert"):
    setattr(Node, f"__{_word}__", _unary(getattr(operator, _word)))
