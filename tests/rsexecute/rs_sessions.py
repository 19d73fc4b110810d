"""Sessions on a backend, and without one."""

from parallactic.rsexecute import RSExecute
from parallactic.testing.engine import require

NONE = "without"
"""The mode in which functions are called at once: use_dask=False."""


def opened(where: str, **settings: object) -> RSExecute:
    """Return a session on a backend, or without one."""
    session = RSExecute()
    if where == NONE:
        session.set_client(use_dask=False)
    else:
        require(where)
        session.set_client(backend=where, workers=2, **settings)
    return session
