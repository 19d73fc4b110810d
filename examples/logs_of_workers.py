"""Where log records of workers go: this process's logging, one file, a file for each worker, or your own."""

import logging
import tempfile
from pathlib import Path

import parallactic as plx


def flag(scan: int) -> int:
    logging.getLogger("my.flagger").warning("scan %d: 12 %% flagged", scan)
    return scan


def init_logging(path: str) -> None:
    logging.basicConfig(
        filename=path,
        format="%(asctime)s %(levelname)s [worker %(worker)s %(task)s] %(message)s",
        level=logging.INFO,
    )


with tempfile.TemporaryDirectory() as folder:
    with plx.Executor(workers=2) as ex:  # into this process's logging; without a set-up, to its terminal
        ex.submit(flag, 1).result()

    with plx.Executor(workers=2, log=f"{folder}/all.log") as ex:
        ex.gather([ex.options(name=f"scan {scan}").submit(flag, scan) for scan in range(4)])
    lines = Path(folder, "all.log").read_text().splitlines()
    assert len(lines) == 4
    print(lines[0])

    with plx.Executor(workers=2, log=f"{folder}/worker-{{worker}}.log") as ex:
        ex.target("all").submit(flag, 2).result()
    assert sorted(path.name for path in Path(folder).glob("worker-*")) == ["worker-0.log", "worker-1.log"]

    with plx.Executor(workers=2, log="none") as ex:
        ex.setup(init_logging, f"{folder}/own.log").result()  # also on workers that come later
        ex.gather([ex.submit(flag, scan) for scan in range(4)])
    assert len(Path(folder, "own.log").read_text().splitlines()) == 4
