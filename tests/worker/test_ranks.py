"""What the environment tells of the launcher that started a process."""

from __future__ import annotations

import os

import pytest

from parallactic.worker.ranks import Launch, has_company, launch, without_launcher

LAUNCHERS = {
    "Open MPI": (
        {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_RANK": "2", "OMPI_MCA_x": "y"},
        "Open MPI",
        4,
    ),
    "MVAPICH": ({"MV2_COMM_WORLD_RANK": "2", "MV2_COMM_WORLD_SIZE": "4"}, "MVAPICH", 4),
    "MPICH": ({"PMI_RANK": "2", "PMI_SIZE": "4", "PMI_FD": "8", "HYDI_CONTROL_FD": "7"}, "MPICH", 4),
    "PMIx": ({"PMIX_RANK": "2", "PMIX_NAMESPACE": "job"}, "PMIx", None),
    "srun": ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_ID": "0"}, "srun", 4),
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(without_launcher(os.environ)) | {"SLURM_PROCID"}:
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_nobody_has_started_a_plain_process() -> None:
    assert launch() is None
    assert not has_company()


@pytest.mark.parametrize("name", LAUNCHERS)
def test_each_launcher_is_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, by, size = LAUNCHERS[name]
    set_all(monkeypatch, variables)
    found = launch()
    assert found is not None
    assert (found.rank, found.size) == (2, size)
    assert by in found.by
    assert has_company()


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_worker_is_no_rank(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the launcher said it finds itself alone, and has all else that it had."""
    variables, _, _ = LAUNCHERS[name]
    own = {
        "PATH": "/bin",
        "OMPIX": "1",
        "PMI": "",
        "SLURM_JOB_ID": "77",
        "PARALLACTIC_BACKEND": "mpi",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    kept = without_launcher(own | variables)
    assert kept.items() >= (own.items() - {("PMI", "")})
    assert "PMI" not in kept
    for variable in variables:
        monkeypatch.delenv(variable, raising=False)
    set_all(monkeypatch, kept)
    assert launch() is None


def test_what_mpi_is_told_about_itself_goes_too() -> None:
    """A worker may start an MPI of its own, for which these would be wrong."""
    theirs = dict.fromkeys(
        ("OMPI_MCA_btl", "OPAL_PREFIX", "PRTE_PREFIX", "PMIX_SERVER_URI41", "HYDRA_HOST_FILE", "MPIR_X"), "x"
    )
    assert without_launcher(theirs) == {}


def test_a_job_of_one_has_no_company(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"})
    assert launch() == Launch(0, 1, "the mpiexec of Open MPI")
    assert not has_company()


def test_a_batch_script_of_slurm_is_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has SLURM_PROCID too, and is alone; only a step of srun has company."""
    set_all(monkeypatch, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "77"})
    assert launch() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    assert has_company()


def test_the_library_of_the_rank_is_asked_before_srun(monkeypatch: pytest.MonkeyPatch) -> None:
    """mpiexec inside a job starts its daemons by srun, whose step is of another size."""
    set_all(monkeypatch, {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"})
    set_all(monkeypatch, {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"})
    assert launch() == Launch(3, 4, "the mpiexec of Open MPI")
