"""The program of a server that was spawned: ``python -m parallactic_backends.mpi``."""

from __future__ import annotations

import sys

from parallactic_backends.mpi.server import main

if __name__ == "__main__":
    sys.exit(main())
