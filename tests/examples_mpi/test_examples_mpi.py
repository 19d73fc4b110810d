"""The examples of MPI run as they stand, with the real mpiexec; on several hosts where a host can be made."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

from surroundings import in_private, make_hosts

pytest.importorskip("mpi4py", reason="the extra [mpi] is not installed")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "mpi"
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
LAST = "12 scans on {} workers of backend mpi"
THIS = os.uname().nodename


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the examples."""
    shutil.copytree(EXAMPLES, tmp_path / "mpi")
    return tmp_path / "mpi"


def run(folder: Path, *words: str, prefix: Sequence[str] = (), **env: str) -> str:
    """Run a command where its environment is activated, and return what it printed."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PARALLACTIC_", "OMPI_", "PRTE_", "PBS_"))
    }
    clean |= {"PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*prefix, *words],
        cwd=folder,
        env=clean | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def hosts_of(text: str) -> set[str]:
    return set(re.findall(r"\(worker \d+ on (.+)\)", text))


def test_a_plain_python_needs_nothing(folder: Path) -> None:
    assert LAST.format(2) in run(folder, "bash", "plain.sh")


def test_under_mpiexec(folder: Path) -> None:
    text = run(folder, "bash", "mpiexec.sh", **AS_ROOT)
    assert text.count(LAST.format(2)) == 1, "servers do not run the script"


def test_a_script_that_is_not_touched(folder: Path) -> None:
    command = re.search(
        r"(mpiexec -n 3) (python -m parallactic\.mpi scans\.py)", (folder / "mpiexec.sh").read_text()
    )
    assert command is not None, "the file tells of it"
    words = [*command[1].split(), "--oversubscribe", *command[2].split()]
    assert run(folder, *words, **AS_ROOT).count(LAST.format(2)) == 1


def test_a_hostfile_of_this_host(folder: Path) -> None:
    text = run(folder, "bash", "hostfile.sh", **AS_ROOT)
    assert "0 failures" in text
    assert LAST.format(2) in text


def test_a_hostfile_of_two_hosts(folder: Path) -> None:
    prefix, reach = make_hosts(folder, ["node-a", "node-b"])
    shutil.copy(folder / "hosts", folder / "hostfile")
    text = run(folder, "bash", "hostfile.sh", prefix=prefix, **AS_ROOT, **reach)
    assert "0 failures" in text
    assert LAST.format(2) in text
    assert "memory of node-b" in text
    assert hosts_of(text) <= {"node-a", "node-b"}


def test_a_job_of_pbs(folder: Path) -> None:
    (folder / "nodes").write_text("localhost\n" * 2)
    text = run(folder, "bash", "job.pbs", **AS_ROOT, PBS_NODEFILE=str(folder / "nodes"))
    assert LAST.format(2) in text


def test_a_job_of_pbs_on_two_hosts(folder: Path) -> None:
    prefix, reach = make_hosts(folder, ["node-a", "node-b"])
    env = {**AS_ROOT, **reach, "PBS_NODEFILE": str(folder / "nodes"), "PBS_O_WORKDIR": str(folder)}
    (folder / "nodes").write_text("node-a\nnode-a\nnode-b\n")
    text = run(folder.parent, "bash", str(folder / "job.pbs"), prefix=prefix, **env)
    assert LAST.format(3) in text
    assert hosts_of(text) <= {"node-a", "node-b"}


def test_the_request_is_understood(folder: Path) -> None:
    words = ("submit", "recipe.toml", "--no-check", "--dry-run")
    for option, resources in (
        ("--torque", "nodes=2:ppn=4"),
        ("--pbspro", "select=2:ncpus=4:mpiprocs=4:mem=4096mb"),
    ):
        script = run(
            folder, sys.executable, "-m", "parallactic", *words, option, "cluster.req", PWD=str(folder)
        )
        assert f"#PBS -l {resources}" in script
        assert f"#PBS -o {folder}/run.log" in script
    text = (folder / "cluster.req").read_text()
    (folder / "all.req").write_text(re.sub(r'^# ([A-Z_]+="(?!\$PWD/job))', r"\1", text, flags=re.MULTILINE))
    script = run(folder, sys.executable, "-m", "parallactic", *words, "--torque", "all.req", PWD=str(folder))
    for line in (
        "#PBS -q batch",
        "#PBS -A my-project",
        "#PBS -N target",
        "#PBS -m ae",
        "module load openmpi",
    ):
        assert line in script.splitlines()
    assert "singularity exec casa.sif /opt/parallactic/bin/python -m parallactic run" in script


SINGULARITY = """\
#!/bin/sh
# In place of Singularity, which need not be here: it takes the same words, and gives mounts of its own.
[ "$1" = exec ] && [ "$2" = --bind ] && [ "$4" = --pwd ] || exit 64
cd "$5" && echo "$6" >> containers && shift 6 && exec {private} "$@"
"""


def test_the_line_for_a_container(folder: Path) -> None:
    """Its words and its ranks; what an image brings along is the doctor's to say."""
    private = in_private("true")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "singularity").write_text(
        SINGULARITY.format(private=" ".join(private[: private.index("sh")]))
    )
    (programs / "singularity").chmod(0o755)
    path = f"{programs}:{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    text = run(folder, "bash", "container.sh", "casa.sif", **AS_ROOT, PATH=path)
    assert LAST.format(2) in text
    assert (folder / "containers").read_text().split() == ["casa.sif"] * 3


@pytest.mark.parametrize(
    "name", sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".sh", ".pbs"))
)
def test_bash_understands_them(name: str) -> None:
    checked = subprocess.run(["bash", "-n", EXAMPLES / name], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
