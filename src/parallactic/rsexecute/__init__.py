"""RASCIL's rsexecute on any backend: graphs of calls, written once, computed where there are workers.

``from parallactic.rsexecute import rsexecute`` takes the place of RASCIL's import. `RSExecute` makes further
sessions.
"""

from __future__ import annotations

from parallactic.rsexecute.clients import get_dask_client, get_nodes
from parallactic.rsexecute.node import Node
from parallactic.rsexecute.session import RSExecute, rsexecute
from parallactic.rsexecute.statistics import Statistics

__all__ = ["Node", "RSExecute", "Statistics", "get_dask_client", "get_nodes", "rsexecute"]
