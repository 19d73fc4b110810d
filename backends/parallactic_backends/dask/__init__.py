"""The backend ``dask``: a local Dask cluster, one that runs already, or one made of batch jobs."""

from parallactic_backends.dask.backend import DaskBackend, DaskSettings

__all__ = ["DaskBackend", "DaskSettings"]
