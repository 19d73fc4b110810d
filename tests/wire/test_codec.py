"""Functions, arguments and results as bytes."""

import concurrent.futures
import math
import threading
from functools import partial

import numpy as np
import pytest

from parallactic.errors import InvalidSpec
from parallactic.wire.codec import (
    INLINE_LIMIT,
    decode,
    encode,
    encode_arguments,
    encode_function,
    is_plain,
)
from parallactic.wire.memory import HeapPlane, SharedMemoryPlane
from parallactic.wire.payload import DataPlane, Input
from parallactic.wire.ref import Ref, Resolving, next_key


@pytest.fixture(params=[HeapPlane, SharedMemoryPlane])
def plane(request: pytest.FixtureRequest) -> DataPlane:
    return request.param()


def local(x: float) -> float:
    return x


class Thing:
    def method(self) -> int:
        return 1

    @staticmethod
    def static() -> int:
        return 2


@pytest.mark.parametrize("function", [math.sqrt, np.linalg.norm, local, Thing.static, Thing, len])
def test_importable_goes_by_reference(function) -> None:
    encoded = encode_function(function)
    assert encoded.module is not None
    assert encoded.body is None


@pytest.mark.parametrize("function", [lambda x: x, partial(local, 1), Thing().method])
def test_others_go_by_value(function) -> None:
    encoded = encode_function(function)
    assert encoded.module is None
    assert encoded.body


def test_same_bytes_have_the_same_digest_whatever_the_identity() -> None:
    def make():
        return lambda x: x + 1

    assert encode_function(make()).digest == encode_function(make()).digest


def test_changed_globals_change_the_digest() -> None:
    space: dict[str, object] = {"__name__": "__main__", "offset": 1}
    exec("def shifted(x): return x + offset", space)
    before = encode_function(space["shifted"]).digest
    space["offset"] = 2
    assert encode_function(space["shifted"]).digest != before


@pytest.mark.parametrize("size", [10, INLINE_LIMIT // 8 // 2, INLINE_LIMIT // 8 + 1])
def test_arrays_come_back_writable_and_private(plane: DataPlane, size: int) -> None:
    array = np.arange(size, dtype=np.float64)
    payload = encode({"a": array, "n": 3}, plane)
    assert (payload.block is not None) == (array.nbytes >= INLINE_LIMIT)
    first, second = decode(payload, plane), decode(payload, plane)
    np.testing.assert_array_equal(first["a"], array)
    first["a"][0] = 99
    assert second["a"][0] == 0
    assert decode(payload, plane)["a"][0] == 0
    assert payload.nbytes >= array.nbytes


def test_what_is_encoded_is_a_snapshot(plane: DataPlane) -> None:
    for size in (100, INLINE_LIMIT):
        array = np.zeros(size)
        payload = encode(array, plane)
        array[:] = 1
        assert not decode(payload, plane).any()


def test_large_things_without_buffers_go_to_the_plane(plane: DataPlane) -> None:
    text = "visibility" * INLINE_LIMIT
    payload = encode(text, plane)
    assert payload.block is not None
    assert decode(payload, plane) == text


def test_non_contiguous_and_fortran_arrays(plane: DataPlane) -> None:
    array = np.arange(60000.0).reshape(200, 300)
    for view in (array[::2, ::3], array.T, np.asfortranarray(array)):
        np.testing.assert_array_equal(decode(encode(view, plane), plane), view)


def test_futures_and_refs_are_found_and_resolved(plane: DataPlane) -> None:
    future: concurrent.futures.Future[int] = concurrent.futures.Future()
    entry = Input(encode(np.ones(3), plane), next_key())
    ref = Ref(entry, "ndarray", lambda payload: decode(payload, plane))
    payload, sources = encode_arguments(([future, {"k": (ref, 2)}],), {"again": future}, plane)
    assert sources == [future, entry, future]
    with Resolving(lambda index: ("value", index)):
        (args, kwargs) = decode(payload, plane)
    assert args == ([("value", 0), {"k": (("value", 1), 2)}],)
    assert kwargs == {"again": ("value", 2)}
    np.testing.assert_array_equal(ref.get(), np.ones(3))


def test_ref_does_not_travel_alone(plane: DataPlane) -> None:
    ref = Ref(Input(encode(1, plane)), "int", lambda payload: decode(payload, plane))
    with pytest.raises(InvalidSpec, match="travels only as an argument"):
        encode_function(lambda: ref)


def test_what_cannot_be_pickled_is_named(plane: DataPlane) -> None:
    with pytest.raises(InvalidSpec, match="argument 'lock', a lock"):
        encode_arguments((1,), {"lock": threading.Lock()}, plane)
    with pytest.raises(InvalidSpec, match="argument 1, a generator"):
        encode_arguments((1, (x for x in [1])), {}, plane)


def test_plain() -> None:
    assert is_plain([1, 2.0, "x", None, b"y", (1, [2]), {"a": np.zeros(3)}])
    assert not is_plain([Thing()])
    assert not is_plain(np.array([Thing()], dtype=object))
