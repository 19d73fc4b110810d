"""casampi's own tests pass against our stand-in for it, on MPI."""

import pytest
from casa_matrix import with_processes
from casampi_suite import all_pass


@pytest.mark.casa
@pytest.mark.slow
@pytest.mark.parametrize("backend", [name for name in with_processes() if name == "mpi"])
def test_all_pass(casa, casampi, tmp_path, run_in, backend):
    all_pass(backend, casampi, tmp_path, run_in)
