"""Futures of other executors as inputs of our tasks."""

from __future__ import annotations

import concurrent.futures
from typing import Any

from parallactic.dispatch.dispatcher import Dispatcher
from parallactic.future import Future
from parallactic.wire.codec import encode
from parallactic.wire.payload import Input
from parallactic.wire.ref import next_key

__all__ = ["own_future"]


def own_future(future: concurrent.futures.Future[Any], dispatcher: Dispatcher) -> Future:
    """Return a future of this run: `future` itself, or one that follows it if it is another executor's."""
    if isinstance(future, Future) and future.belongs_to(dispatcher):
        return future
    follower = Future(dispatcher, "the result of another executor")
    follower.set_running_or_notify_cancel()

    def follow(done: concurrent.futures.Future[Any]) -> None:
        try:
            payload = encode(done.result(), dispatcher.plane)
        except BaseException as error:  # noqa: BLE001  (it belongs to the task that needs the result)
            follower.fail(error)
        else:
            follower.succeed(payload, Input(payload, next_key(), dispatcher.release))
        dispatcher.resolved(follower)

    future.add_done_callback(follow)
    return follower
