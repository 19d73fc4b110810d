"""Several items of a map in one task."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cloudpickle

from parallactic.errors import InvalidSpec
from parallactic.wire.codec import is_plain
from parallactic.wire.payload import Payload
from parallactic.worker.execute import Interrupted, encode_failure

__all__ = ["Chunk", "Failure"]


class Failure(NamedTuple):
    """What one item raised."""

    payload: Payload


class Chunk:
    """Calls a function for each of several items; each has its own outcome, a result or a `Failure`.

    With `raises` the first error is that of the task, which may then be run again.
    """

    def __init__(self, function: Callable[..., Any], name: str, *, raises: bool = False) -> None:
        self.function = function
        self.raises = raises
        self.__name__ = name

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> tuple[float, list[Any]]:
        """Return the seconds that all items took, and their results."""
        begin = time.perf_counter()
        results = [self._one(item) for item in items]
        seconds = time.perf_counter() - begin
        if not is_plain(results):
            results = [self._checked(result) for result in results]
        return seconds, results

    def _one(self, item: tuple[Any, ...]) -> Any:
        try:
            return self.function(*item)
        except (Interrupted, KeyboardInterrupt):
            raise
        except BaseException as error:
            if self.raises:
                raise
            return Failure(encode_failure(error, self.__name__))

    def _checked(self, result: Any) -> Any:
        """Keep a result that cannot be pickled from spoiling those of the other items."""
        if is_plain(result) or type(result) is Failure:
            return result
        try:
            cloudpickle.dumps(result, protocol=5)
        except Exception as error:  # noqa: BLE001  (pickling runs user code)
            refusal = InvalidSpec(
                f"a result of {self.__name__}, a {type(result).__name__}, cannot be pickled: {error}"
            )
            return Failure(encode_failure(refusal, self.__name__))
        return result
