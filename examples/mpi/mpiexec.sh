#!/bin/bash
# Under mpiexec: rank 0 runs the script, every other rank serves. Three ranks are two workers.
set -euo pipefail

# Ranks begin to serve at "import parallactic" because of this variable; without it all would run the script.
# (mpiexec -n 3 python -m parallactic.mpi scans.py needs no variable, and no particular first line.)
export PARALLACTIC_BACKEND=mpi

options=(
    --with-ft ulfm  # Open MPI 5: the job outlives the death of a rank
    --oversubscribe # more ranks than cores: rank 0 mostly waits
    --bind-to none  # the work runs beside a rank, on whichever core is free
)
exec mpiexec "${options[@]}" -n 3 python scans.py
