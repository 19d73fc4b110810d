#!/bin/bash
# The simplest way: a plain python spawns as many servers as it is told to.
#
# Parallactic sets every variable that Open MPI needs for this, as root and with more servers than cores too. A
# server that dies is noticed and spawned anew. On one host; for several: hostfile.sh.
set -euo pipefail

export PARALLACTIC_BACKEND=mpi
export PARALLACTIC_WORKERS=2
exec python scans.py
