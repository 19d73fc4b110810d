"""How a client comes to a scheduler, within a limit of time."""

from __future__ import annotations

import asyncio
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distributed import Client
from distributed.comm import connect
from distributed.security import Security

from parallactic.errors import BackendUnavailable

__all__ = ["join", "new_client"]


def join(address: str, name: str, seconds: float, security: Any) -> Any:
    """Return a client of a scheduler that runs already.

    Parameters
    ----------
    address
        Of the scheduler.
    name
        Of the run.
    seconds
        Within which the scheduler must answer.
    security
        The certificates; None for those of Dask's configuration.

    Raises
    ------
    BackendUnavailable
        If it does not answer in time, is none, or wants other certificates.
    """
    try:
        # Dask's client waits without a limit for one that takes the connection and says nothing.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _greet(address, seconds, security or Security())).result()
        return new_client(address, name, seconds, security)
    except ssl.SSLError as error:
        raise BackendUnavailable(
            f"the Dask scheduler at {address} and this client do not trust each other: {error}. Name "
            "the scheduler's certificates in Dask's configuration (distributed.comm.tls); if it has none, "
            "its address begins with tcp://"
        ) from error
    except (OSError, TimeoutError) as error:
        what = str(error) or "it took the connection, and was silent"
        raise BackendUnavailable(
            f"the Dask scheduler at {address} did not answer within {seconds:g} s: {what}. Is it running, "
            "and can this host reach it? Start one with: dask scheduler. If it is encrypted, its address "
            "begins with tls://"
        ) from error
    except TypeError as error:
        raise BackendUnavailable(
            f"the Dask scheduler at {address} is encrypted, and Dask's configuration names no certificates: "
            f"{error}. Set distributed.comm.tls.ca-file, client.cert and client.key, "
            "or give client=Client(…, security=…)"
        ) from error
    except ValueError as error:
        raise BackendUnavailable(f"{address!r} is not an address of a Dask scheduler: {error}") from error


async def _greet(address: str, seconds: float, security: Security) -> None:
    words = security.get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=seconds, **words), seconds)
    comm.abort()


def new_client(address: str, name: str, seconds: float, security: Any) -> Any:
    """Return a client of a scheduler that answers."""
    return Client(
        address,
        timeout=seconds,
        security=security,
        set_as_default=False,
        direct_to_workers=True,
        name=f"parallactic-{name}",
    )
