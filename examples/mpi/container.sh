#!/bin/bash
# Each rank in a container: mpiexec outside, one container a rank. (Apptainer: "apptainer exec".)
#
# The MPI inside must be of the same family and version as the mpiexec outside: compare the lines "MPI library" and
# "launcher" of: singularity exec IMAGE parallactic doctor --backend mpi
# On one host all can be inside as well: singularity exec IMAGE bash plain.sh
set -euo pipefail

image=${1:?usage: container.sh IMAGE}
export PARALLACTIC_BACKEND=mpi

# --bind: the folder with the data, under the same path inside and outside.
exec mpiexec --with-ft ulfm --oversubscribe --bind-to none -n 3 \
    singularity exec --bind "$PWD" --pwd "$PWD" "$image" python scans.py
