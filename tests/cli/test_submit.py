"""Jobs for Torque and PBS: the request file, the script it becomes, and how it is handed over."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import one_sentence

from parallactic.cli.submit_request import Request, read_request
from parallactic.cli.submit_script import job_script
from parallactic.errors import InvalidSpec

Write = Callable[..., Path]

GUIDE = """\
#
# Required settings
#
MEMORY="8gb"
WORK_DIR="{folder}"
COMMAND="{folder}/qsub.sh"

#
# optional settings
#
NUM_NODES="4"           # default is 1
NUM_CORES="2"            # default is 1
STDOUT="run.log"          # file relative to WORK_DIR. default is no output
STDERR="run.log"          # file relative to WORK_DIR. default is no output
"""
"""The example of CASA's guide to mpi4casa."""


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    (tmp_path / "qsub.sh").write_text('echo "there are $(wc -l < $PBS_NODEFILE) processors in $PWD"\n')
    path = tmp_path / "cluster.req"
    path.write_text(GUIDE.format(folder=tmp_path))
    return path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write('MEMORY=1gb', ...)`` writes a request file of these lines."""

    def lines(*given: str) -> Path:
        path = tmp_path / "cluster.req"
        path.write_text("\n".join(given) + "\n")
        return path

    return lines


def good_bash(script: str) -> str:
    """Return a script that bash itself understands."""
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    return script


def directives(script: str) -> list[str]:
    head = script.partition("set -euo")[0].splitlines()
    return [line.removeprefix("#PBS ") for line in head if line.startswith("#PBS ")]


def test_the_example_of_the_guide(guide: Path, tmp_path: Path) -> None:
    request = read_request(guide)
    assert (request.memory, request.nodes, request.cores) == (8192, 4, 2)
    script = good_bash(job_script(request, "torque", "cluster.req", ()))
    assert directives(script) == [
        "-N qsub",
        "-S /bin/bash",
        "-l nodes=4:ppn=2",
        "-l mem=8192mb",
        f"-o {tmp_path}/run.log",
        "-j oe",
    ]
    nodes = tmp_path / "nodes"
    nodes.write_text("host\n" * 8)
    done = subprocess.run(
        ["bash"], input=script, env={**os.environ, "PBS_NODEFILE": str(nodes)}, capture_output=True, text=True
    )
    assert done.stdout == f"there are 8 processors in {tmp_path}\n", done.stderr


def test_a_job_outside_of_pbs_says_so(guide: Path) -> None:
    script = job_script(read_request(guide), "torque", "cluster.req", ())
    outside = {key: value for key, value in os.environ.items() if key != "PBS_NODEFILE"}
    done = subprocess.run(["bash"], input=script, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "PBS_NODEFILE: is not set: submit this script with qsub" in done.stderr


def test_pbs_pro_counts_memory_by_host(guide: Path) -> None:
    script = good_bash(job_script(read_request(guide), "pbspro", "cluster.req", ()))
    assert "-l select=4:ncpus=2:mpiprocs=2:mem=2048mb" in directives(script)
    assert "nodes=" not in script


def test_every_setting(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "with space's"
    folder.mkdir()
    request = read_request(
        write(
            'MEMORY = "1.5 GB" # comment',
            f'WORK_DIR="{folder}"',
            "export QUEUE=batch",
            "ACCOUNT='$not_expanded'",
            'JOB_NAME="target-7"',
            "MAIL_OPTIONS=abe",
            "WALLTIME=36h",
            'PROLOGUE="module load openmpi; source $HOME/env"',
            "PREFIX=\"singularity exec --bind '/my data' casa.sif\"",
            "PYTHON=/opt/env/bin/python",
            "",
            "NUM_CORES=3",
            "STDERR=",
        )
    )
    script = good_bash(job_script(request, "torque", "cluster.req", ("run", "my recipe.toml")))
    assert directives(script) == [
        "-N target-7",
        "-S /bin/bash",
        "-l nodes=1:ppn=3",
        "-l mem=1536mb",
        "-l walltime=36:00:00",
        "-q batch",
        "-A $not_expanded",
        "-m abe",
        "-j oe",
    ]
    assert f"module load openmpi; source {os.environ['HOME']}/env" in script
    last = script.splitlines()[-1]
    assert last == (
        "exec mpiexec \"${options[@]}\" singularity exec --bind '/my data' casa.sif "
        "/opt/env/bin/python -m parallactic run 'my recipe.toml'"
    )
    assert "export PARALLACTIC_BACKEND=mpi" in script


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("MEMRY=8gb", "there is no setting MEMRY; did you mean 'MEMORY'?"),
        ("MEMORY=plenty", "MEMORY='plenty' is not an amount of memory"),
        ("MEMORY=0gb", "MEMORY='0gb' is not an amount of memory"),
        ("WORK_DIR=here", "WORK_DIR='here' must be a whole path"),
        ("WORK_DIR=/no/such/folder", "is not a folder on this host"),
        ("COMMAND=/no/such/script.sh", "there is no file /no/such/script.sh"),
        ("NUM_NODES=four", "NUM_NODES='four' must be a whole number"),
        ("NUM_NODES=0", "NUM_NODES='0' must be a whole number of at least 1"),
        ("NUM_CORES=-2", "NUM_CORES='-2' must be a whole number"),
        ("NUM_CORES=²", "NUM_CORES='²' must be a whole number"),
        ("NUM_CORES=“2”", "write plain quotes"),
        ('STDOUT="run log"', "neither spaces nor commas"),
        ('STDOUT="run.log', "are not closed"),
        ("JOB_NAME=3C286", "must begin with a letter"),
        ("JOB_NAME=a-name-that-is-too-long", "at most 15"),
        ("WALLTIME=soon", "WALLTIME='soon' is not a time"),
        ("QUEUE=long queue", 'write quotes around them: QUEUE="long queue"'),
        ("ACCOUNT=$NO_SUCH_VARIABLE_HERE", "$NO_SUCH_VARIABLE_HERE, which is not set"),
        ("ACCOUNT=$(whoami)", "commands are not run in this file"),
        ("MAIL_OPTIONS=always", "a (abort), b (begin), e (end)"),
        ("module load openmpi", "is not understood"),
        ('PROLOGUE="if true"', "PROLOGUE='if true' is no shell line"),
        ('PREFIX="singularity exec \'"', "quotes inside"),
    ],
)
def test_a_wrong_line_is_a_sentence_with_its_number(
    write: Write, tmp_path: Path, line: str, expected: str
) -> None:
    lines = ["# a comment", "MEMORY=8gb", f"WORK_DIR={tmp_path}"]
    name = line.partition("=")[0]
    lines = [other for other in lines if not other.startswith(f"{name}=")]
    path = write(*lines, line)
    with pytest.raises(InvalidSpec) as caught:
        read_request(path)
    assert expected in str(caught.value)
    assert f"cluster.req, line {len(lines) + 1}: " in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(write: Write) -> None:
    with pytest.raises(InvalidSpec) as caught:
        read_request(write("NUM_NODES=x", "NUM_CORES=y", "NUM_CORES=2"))
    told = str(caught.value).splitlines()
    assert [line.partition("cluster.req")[2].split(":")[0] for line in told[:3]] == [
        ", line 1",
        ", line 2",
        ", line 3",
    ]
    assert "stands in line 2 already" in told[2]
    assert "has no MEMORY" in told[3]
    assert "has no WORK_DIR" in told[4]


def test_a_file_that_is_none(here, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"\x89PNG\xff")
    for name, expected in (
        ("absent.req", "there is no request file absent.req"),
        ("image", "cannot be read"),
    ):
        done = here("submit", "--torque", name)
        assert done.returncode == 2
        assert expected in one_sentence(done)


def test_one_request_and_something_to_run(here, write: Write, tmp_path: Path) -> None:
    path = write("MEMORY=1gb", f"WORK_DIR={tmp_path}")
    assert "give one request file" in one_sentence(here("submit", "recipe.toml"))
    assert "give one request file" in one_sentence(
        here("submit", "--torque", path.name, "--pbspro", path.name)
    )
    assert "has no COMMAND" in one_sentence(here("submit", "--torque", path.name))


def test_a_wrong_recipe_is_not_submitted(here, write: Write, tmp_path: Path) -> None:
    path = write("MEMORY=1gb", f"WORK_DIR={tmp_path}")
    (tmp_path / "recipe.toml").write_text('[[step]]\ntask = "flagg"\n')
    done = here("submit", "--torque", path.name, "recipe.toml", "--dry-run")
    assert done.returncode == 2
    assert "'flagg'" in one_sentence(done)
    assert here("submit", "--torque", path.name, "recipe.toml", "--dry-run", "--no-check").returncode == 0


def test_options_of_run_are_checked_too(here, write: Write, tmp_path: Path) -> None:
    path = write("MEMORY=1gb", f"WORK_DIR={tmp_path}")
    (tmp_path / "recipe.toml").write_text('[[step]]\ntask = "simulate"\noutputvis = "sky.ms"\n')
    words = ("submit", "--torque", path.name, "recipe.toml", "--dry-run", "--")
    assert "No such option: --overwrit" in one_sentence(here(*words, "--overwrit"))
    assert "leave --backend out" in one_sentence(here(*words, "--backend", "serial"))
    assert here(*words, "--overwrite").stdout.splitlines()[-1].endswith("recipe.toml --overwrite")


def test_marks_of_other_editors(tmp_path: Path) -> None:
    path = tmp_path / "cluster.req"
    path.write_bytes(b'\xef\xbb\xbfMEMORY="2gb"\r\nWORK_DIR="%s"\r\n' % bytes(tmp_path))
    assert read_request(path) == Request(memory=2048, folder=tmp_path)


def test_a_dry_run_prints_the_script_as_it_is(here, guide: Path) -> None:
    """Brackets, long lines and all, whatever a console would make of them."""
    done = here(
        "submit", "--torque", guide.name, "r.toml", "--no-check", "--dry-run", "--", "--set", "flag.x=[1]"
    )
    assert done.returncode == 0
    assert 'exec mpiexec "${options[@]}" ' in good_bash(done.stdout)
    assert done.stdout.endswith("/r.toml --set 'flag.x=[1]'\n")
    assert "in place of COMMAND" in done.stderr
    as_json = here("submit", "--torque", guide.name, "--dry-run", "--json")
    assert good_bash(json.loads(as_json.stdout)["script"]).startswith("#!/bin/bash\n")


def test_without_qsub(here, guide: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = here("submit", "--torque", guide.name)
    assert done.returncode == 2
    assert "there is no qsub on this host" in one_sentence(done)


def test_qsub_gets_the_script_and_says_the_number(command, guide: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    qsub = tmp_path / "bin" / "qsub"
    qsub.write_text('#!/bin/sh\ncat > "$0.script"\necho 4711.head\n')
    qsub.chmod(0o755)
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = command("submit", "--torque", guide.name, env=env)
    assert (done.returncode, done.stdout) == (0, "4711.head\n")
    assert good_bash((tmp_path / "bin" / "qsub.script").read_text()).startswith("#!/bin/bash\n")
    qsub.write_text("#!/bin/sh\necho 'qsub: submit error (Unauthorized Request)' >&2\nexit 3\n")
    refused = command("submit", "--torque", guide.name, env=env)
    assert refused.returncode == 1
    assert "qsub refused the job: qsub: submit error (Unauthorized Request)" in one_sentence(refused)


def test_names_that_pbs_would_not_take_are_changed() -> None:
    request = Request(memory=1, folder=Path("/"))
    for recipe, name in (("/a/3C286 high.toml", "plx_3C286_high"), ("/a/Ñandú.toml", "plx__and_")):
        assert directives(job_script(request, "torque", "x", ("run", recipe)))[0] == f"-N {name}"
    assert "\nrm" not in job_script(request, "torque", "x\nrm -rf", ())
