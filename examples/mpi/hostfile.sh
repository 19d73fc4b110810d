#!/bin/bash
# Several hosts: mpiexec starts the ranks where the hostfile says, by ssh (ssh HOST true must ask for nothing).
# Everywhere the same path must lead to this Python, and the data must lie on a disk that all hosts mount.
set -euo pipefail

export PARALLACTIC_BACKEND=mpi

ranks=3 # one for each slot of the hostfile, and one for the client

options=(
    --hostfile hostfile
    --with-ft ulfm
    --oversubscribe
    --bind-to none
    -x PARALLACTIC_BACKEND # Open MPI gives other hosts no variables by itself
)

# First see whether all hosts answer, share the folder and keep its locks; then work.
mpiexec "${options[@]}" -n "$ranks" python -m parallactic doctor
exec mpiexec "${options[@]}" -n "$ranks" python scans.py
