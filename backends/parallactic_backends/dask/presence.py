"""How a run comes into a Dask cluster, and leaves it as it was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from parallactic.errors import BackendUnavailable
from parallactic_backends.dask.pilot import Pilot, pilot_name
from parallactic_backends.dask.versions import compare, versions_of
from parallactic_backends.dask.watcher import Watcher

__all__ = ["install", "remove", "watch"]

_log = logging.getLogger(__name__)
_ANSWER_SECONDS = 10.0
_PING_SECONDS = 5.0
_LOAD_SECONDS = 60.0
"""On a cold network disk a first import takes long."""

_DEATHS = 5
"""Dask workers that may die one after the other while all of them are asked something."""


def install(client: Any, run: str, threads: int, *, one_host: bool) -> bool:
    """Bring what a run needs into the scheduler and into all Dask workers.

    Returns
    -------
    bool
        Whether all have it. Dask workers that do not answer get it when they do.

    Raises
    ------
    BackendUnavailable
        If their versions are not the client's, or they cannot load this library.
    """
    all_answer = one_host or _check_versions(client)
    pilot = Pilot(run, threads, one_host=one_host)
    try:
        _ask(client, _LOAD_SECONDS, lambda: client.register_plugin(Watcher(run), name=pilot_name(run)))
        seconds = _LOAD_SECONDS if all_answer else _ANSWER_SECONDS
        _ask(client, seconds, lambda: client.register_plugin(pilot, name=pilot_name(run)))
    except TimeoutError:
        return False
    except Exception as error:
        who = _who_cannot(client, run)
        remove(client, run)
        raise BackendUnavailable(
            f"{who} cannot load Parallactic: {error}. Install parallactic[dask], in the same version, where "
            "the scheduler and the workers of Dask run."
        ) from error
    return True


def _check_versions(client: Any) -> bool:
    """Refuse a cluster with other versions; return whether all of it has told its own."""
    try:
        told = versions_of(client, _ANSWER_SECONDS)
    except TimeoutError:
        return False
    differences = compare(told)
    breaking = [str(difference) for difference in differences if difference.breaking]
    if breaking:
        raise BackendUnavailable(
            f"the Dask cluster at {client.scheduler.address} has not the versions of this process: "
            f"{'; '.join(breaking)}. Start its scheduler and workers from the environment of this process, "
            "or install the same versions where they run."
        )
    for difference in differences:
        _log.warning("in the Dask cluster at %s %s", client.scheduler.address, difference)
    return True


def _who_cannot(client: Any, run: str) -> str:
    """Name the Dask workers that have not said that they serve a run, or the scheduler."""
    joined = {event.get("joined") for _, event in client.get_events(pilot_name(run))}
    workers = client.scheduler_info(n_workers=-1)["workers"]
    silent = sorted(address for address in workers if address not in joined)
    if not joined and len(silent) > 1:
        return f"the Dask scheduler at {client.scheduler.address} or one of its workers"
    return f"the Dask worker {silent[0]}" if silent else f"the Dask scheduler at {client.scheduler.address}"


def _ask(client: Any, seconds: float, ask: Callable[[], Awaitable[Any]]) -> Any:
    """Call a function of the client on its own loop, where it does not block, and wait for the answer."""

    async def wait() -> Any:
        return await asyncio.wait_for(ask(), seconds)

    for _ in range(_DEATHS):
        try:
            return asyncio.run_coroutine_threadsafe(wait(), client.loop.asyncio_loop).result()
        except TimeoutError:
            raise
        except OSError as error:
            _log.debug("a Dask worker died while all of them were asked: %r", error)
    return asyncio.run_coroutine_threadsafe(wait(), client.loop.asyncio_loop).result()


async def watch(client: Any) -> None:
    """Tell when the scheduler stands still: no task without a target begins, and nothing else shows it."""
    silent = False
    while client.status != "closed":
        await asyncio.sleep(_PING_SECONDS)
        try:
            await asyncio.wait_for(client.scheduler.identity(n_workers=0), _PING_SECONDS)
        except TimeoutError:
            if not silent:
                _log.warning(
                    "the Dask scheduler at %s does not answer; tasks without a target wait for it",
                    client.scheduler.address,
                )
            silent = True
        except (OSError, RuntimeError):
            continue  # it is gone, or comes again: the client sees to that
        else:
            if silent:
                _log.warning("the Dask scheduler at %s answers again", client.scheduler.address)
            silent = False


def remove(client: Any, run: str) -> None:
    """Leave a cluster as it was."""
    name = pilot_name(run)
    for ask in (lambda: client.unregister_worker_plugin(name), getattr(client.scheduler, f"{name}-leave")):
        try:
            _ask(client, _ANSWER_SECONDS, ask)
        except Exception as error:  # noqa: BLE001  (whatever Dask raises: what is gone or refused us keeps nothing)
            _log.debug(
                "the Dask scheduler at %s was left without a word: %r", client.scheduler.address, error
            )
