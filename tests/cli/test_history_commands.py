"""`parallactic status` and `parallactic timeline`."""

import json
from pathlib import Path

import parallactic as plx


def test_status_and_timeline(command, tmp_path: Path) -> None:
    with plx.Executor("serial", run_dir=tmp_path / "run", name="night") as ex:
        ex.submit(pow, 2, 3).result()
    told = command("status", "run")
    assert told.returncode == 0
    assert "night" in told.stdout
    assert json.loads(command("status", "run", "--json").stdout)["counts"] == {"finished": 1}
    done = command("timeline", "run", "-o", "trace.json")
    assert done.returncode == 0
    assert len(json.loads((tmp_path / "trace.json").read_text())["traceEvents"]) == 3
    again = command("timeline", "run", "-o", "trace.json")
    assert again.returncode == 2
    assert "exists" in again.stderr


def test_no_run_there(command) -> None:
    done = command("status", "nowhere")
    assert done.returncode == 2
    assert "holds no journal" in done.stderr
