"""A job as Torque would run it: the script that is handed over, a file of nodes, and the real mpiexec."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import SMALL, environment

from surroundings import make_hosts

pytest.importorskip("mpi4py", reason="the extra [mpi] is not installed")

RECIPE = """\
[recipe]
name = "small"
output = "out"

[[step]]
task = "partition"
vis = "sky.ms"
outputvis = "out/sky.mms"
separationaxis = "scan"

[[step]]
name = "interference"
task = "flag"
vis = "out/sky.mms"
mode = "tfcrop"

[[step]]
name = "report"
task = "flag"
vis = "out/sky.mms"
mode = "summary"
"""

QSUB = """\
#!/bin/sh
# What Torque does, as far as a job sees it: a file of nodes in the environment, output in the job's own file.
PBS_NODEFILE={nodes} bash > {output} 2>&1
echo 1.here
"""


@pytest.mark.parametrize("hosts", [["localhost", "localhost"], ["node-a", "node-b"]])
def test_a_recipe_runs_as_a_job(hosts: list[str], tmp_path: Path) -> None:
    def parallactic(*words: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, sys.executable, "-m", "parallactic", *words],
            cwd=tmp_path,
            env=environment(tmp_path, variables),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    variables = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    assert parallactic("simulate", "sky.ms", *SMALL, "--backend", "serial").returncode == 0
    flagged = parallactic(
        "flag", "sky.ms", "--mode", "tfcrop", "--action", "calculate", "--json", "--backend", "serial"
    )
    expected = json.loads(flagged.stdout)["counts"]["flagged"]
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "cluster.req").write_text(f'MEMORY="1gb"\nWORK_DIR="{tmp_path}"\nNUM_CORES="2"\n')
    (tmp_path / "nodes").write_text("".join(f"{host}\n" for host in hosts))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "qsub").write_text(QSUB.format(nodes=tmp_path / "nodes", output=tmp_path / "job.log"))
    (programs / "qsub").chmod(0o755)
    variables["PATH"] = f"{programs}:{os.environ['PATH']}"
    prefix: tuple[str, ...] = ()
    if hosts[0] != "localhost":
        words, reach = make_hosts(tmp_path, hosts)
        prefix, variables = tuple(words), variables | reach
    done = parallactic("submit", "--torque", "cluster.req", "recipe.toml", prefix=prefix)
    log = (tmp_path / "job.log").read_text()
    assert (done.returncode, done.stdout) == (0, "1.here\n"), log
    assert "small:" in log, log
    assert "on mpi, 2 workers" in log
    assert "\x1b" not in log, "colours are for terminals"
    summary = json.loads(parallactic("flag", "out/sky.mms", "--mode", "summary", "--json").stdout)
    assert summary["counts"]["flagged"] == expected
    (journal,) = (tmp_path / "out" / "logs").glob("*/executor/journal.jsonl")
    workers = [json.loads(line) for line in journal.read_text().splitlines()]
    seen = {entry["host"] for entry in workers if "host" in entry}
    assert seen == (set(hosts) if prefix else {os.uname().nodename})
