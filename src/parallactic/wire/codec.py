"""Functions, arguments and results as bytes: pickle 5, with large buffers out of band."""

from __future__ import annotations

import concurrent.futures
import io
import pickle
import sys
import types
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import cloudpickle

from parallactic.errors import InvalidSpec
from parallactic.wire.payload import Buffer, DataPlane, Payload
from parallactic.wire.ref import Collecting, Placeholder, Ref

__all__ = ["INLINE_LIMIT", "Function", "decode", "encode", "encode_arguments", "encode_function", "is_plain"]

INLINE_LIMIT = 1 << 20
"""Bytes above which an object stays in the data plane."""

_OUT_OF_BAND = 1 << 14
_ALIGN = 64
_PLAIN = frozenset({int, float, complex, bool, str, bytes, bytearray, type(None)})


class Function(NamedTuple):
    """A function on its way: by reference (`module`, `qualname`) or by value (`digest`, `body`)."""

    module: str | None
    qualname: str
    digest: bytes | None = None
    body: bytes | None = None


def encode_function(function: Callable[..., Any]) -> Function:
    """Turn a function into a reference if a worker can import it, else into bytes.

    Bytes are named by their digest, never by the function's identity: a function of a notebook may keep its
    identity while its globals change. Plain pickle is not tried first: it stores ``__main__`` by reference,
    in vain.

    Raises
    ------
    InvalidSpec
        If the function cannot be pickled.
    """
    module = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    if isinstance(module, str) and isinstance(qualname, str) and _importable(function, module, qualname):
        return Function(module, qualname)
    name = getattr(function, "__name__", None) or type(function).__name__
    try:
        body = cloudpickle.dumps(function, protocol=5)
    except InvalidSpec:
        raise
    except Exception as error:
        raise InvalidSpec(f"the function {name!r} cannot be pickled: {error}") from error
    return Function(None, name, blake2b(body, digest_size=16).digest(), body)


def _importable(function: Any, module: str, qualname: str) -> bool:
    if module == "__main__" or "<" in qualname:
        return False
    home: Any = sys.modules.get(module)
    if home is None or getattr(home, "__spec__", None) is None:
        return False
    if cloudpickle.list_registry_pickle_by_value() and _registered_by_value(module):
        return False
    for part in qualname.split("."):
        home = getattr(home, part, None)
    return home is function and not isinstance(function, types.MethodType)


def _registered_by_value(module: str) -> bool:
    registered = cloudpickle.list_registry_pickle_by_value()
    return any(module == name or module.startswith(name + ".") for name in registered)


def encode_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], plane: DataPlane
) -> tuple[Payload, list[Any]]:
    """Pickle the arguments of a task, and list the futures and the inputs of Refs among them.

    Futures are found in exact lists, tuples and dicts at any depth.

    Raises
    ------
    InvalidSpec
        If something among them cannot be pickled or does not travel.
    """
    if not args and not kwargs:
        return _NO_ARGUMENTS, []
    inputs: list[Any] = []
    plain_args, plain = _walk(args)
    if kwargs:
        plain_kwargs, also_plain = _walk(kwargs)
        plain = plain and also_plain
    else:
        plain_kwargs = kwargs
    value = (plain_args, plain_kwargs)
    try:
        with Collecting(inputs):
            return encode(value, plane, plain=plain), inputs
    except InvalidSpec:
        raise
    except Exception as error:
        raise InvalidSpec(f"an argument cannot be pickled: {_culprit(args, kwargs)}{error}") from error


def _culprit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    for name, value in [*enumerate(args), *kwargs.items()]:
        try:
            with Collecting([]):
                cloudpickle.dumps(_walk(value)[0], protocol=5)
        except Exception:  # noqa: BLE001  (whatever it is, this is the argument that cannot travel)
            return f"argument {name!r}, a {type(value).__name__}: "
    return ""


def _walk(value: Any) -> tuple[Any, bool]:
    """Replace futures by placeholders; tell whether plain pickle is safe for all that is left."""
    kind = type(value)
    if kind in _PLAIN:
        return value, True
    if kind is list or kind is tuple:
        if set(map(type, value)) <= _PLAIN:
            return value, True
        parts = [_walk(part) for part in value]
        changed = any(new is not old for (new, _), old in zip(parts, value, strict=True))
        plain = all(plain for _, plain in parts)
        return (kind(new for new, _ in parts) if changed else value), plain
    if kind is dict:
        keys_plain = set(map(type, value)) <= _PLAIN
        if keys_plain and set(map(type, value.values())) <= _PLAIN:
            return value, True
        walked = {key: _walk(part) for key, part in value.items()}
        changed = any(walked[key][0] is not value[key] for key in value)
        plain = keys_plain and all(plain for _, plain in walked.values())
        return ({key: new for key, (new, _) in walked.items()} if changed else value), plain
    if kind.__name__ == "ndarray" and kind.__module__ == "numpy":
        return value, not value.dtype.hasobject
    if isinstance(value, concurrent.futures.Future):
        return Placeholder(value), True
    return value, kind is Ref


def is_plain(value: Any) -> bool:
    """Tell whether plain pickle is safe: for numbers, strings, numeric arrays, containers of them."""
    return _walk(value)[1]


def encode(value: Any, plane: DataPlane, *, plain: bool = False) -> Payload:
    """Pickle `value`; what is larger than `INLINE_LIMIT` goes to the data plane.

    Parameters
    ----------
    value
        Any object.
    plane
        Where large parts are kept.
    plain
        True if plain pickle is known to be safe, which is ten times as fast for small values.
    """
    views: list[memoryview] = []
    callback = partial(_divert, views)
    if plain or type(value) in _PLAIN:
        head = pickle.dumps(value, 5, buffer_callback=callback)
    else:
        stream = io.BytesIO()
        cloudpickle.Pickler(stream, 5, callback).dump(value)
        head = stream.getvalue()
    if not views and len(head) < INLINE_LIMIT:
        return Payload(head)
    total = len(head) + sum(view.nbytes for view in views)
    if total < INLINE_LIMIT:
        return Payload(head, tuple(bytearray(view) for view in views))
    in_block = len(head) >= _OUT_OF_BAND
    parts: list[Buffer] = [head, *views] if in_block else [*views]
    offsets, spans, end = [], [], 0
    for part in parts:
        length = memoryview(part).nbytes
        offsets.append(end)
        spans.append((end, length))
        end += -(-length // _ALIGN) * _ALIGN
    return Payload(b"" if in_block else head, (), plane.put(parts, end, offsets), tuple(spans))


def _divert(views: list[memoryview], buffer: pickle.PickleBuffer) -> bool:
    raw = buffer.raw()
    if raw.nbytes < _OUT_OF_BAND:
        return True
    views.append(raw)
    return False


def decode(payload: Payload, plane: DataPlane) -> Any:
    """Return the object that `encode` pickled; its arrays are writable and nobody else's."""
    if payload.block is None:
        if not payload.buffers:
            return pickle.loads(payload.head)
        # Copies: the same payload may be unpickled again, for another task or for the client.
        return pickle.loads(payload.head, buffers=[bytearray(buffer) for buffer in payload.buffers])
    whole = plane.get(payload.block)
    views: list[Buffer] = [whole[start : start + length] for start, length in payload.spans]
    head: Buffer = payload.head or views.pop(0)
    return pickle.loads(head, buffers=views)


_NO_ARGUMENTS = Payload(pickle.dumps(((), {}), 5))
