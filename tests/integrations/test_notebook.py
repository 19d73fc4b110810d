"""A notebook: cells that a real kernel runs, on every backend."""

from __future__ import annotations

import os
import queue
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from guests import guest

from parallactic.executor import Executor
from parallactic.status import Status, WorkerStatus

jupyter = guest("jupyter_client.manager")
guest("ipykernel")

PATIENCE = 60.0


class Cell:
    """What one cell has shown."""

    def __init__(self) -> None:
        self.text = ""
        self.html: list[str] = []
        self.error: tuple[str, str] | None = None


class Kernel:
    """A kernel and the client of a notebook."""

    def __init__(self) -> None:
        self._manager, self._client = jupyter.start_new_kernel(kernel_name="python3")

    def run(self, code: str, *, interrupt_when: Callable[[Cell], bool] | None = None) -> Cell:
        """Run a cell to its end, and interrupt it once when that is asked for."""
        cell, number = Cell(), self._client.execute(code)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if interrupt_when is not None and interrupt_when(cell):
                self._manager.interrupt_kernel()
                interrupt_when = None
            try:
                message = self._client.get_iopub_msg(timeout=0.05)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != number:
                continue
            content: dict[str, Any] = message["content"]
            match message["msg_type"]:
                case "stream":
                    cell.text += content["text"]
                case "execute_result" | "display_data" | "update_display_data":
                    cell.html.append(content["data"].get("text/html", content["data"]["text/plain"]))
                case "error":
                    cell.error = content["ename"], content["evalue"]
                case "status" if content["execution_state"] == "idle":
                    return cell
        raise TimeoutError(f"the cell did not end: {code}")

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(ex: Executor) -> Iterator[Kernel]:
    """A kernel in which `ex` is an executor of the backend."""
    running = Kernel()
    try:
        opened = running.run(
            "import os, time, logging\nimport parallactic as plx\n"
            f"ex = plx.Executor({ex.backend!r}, workers=2)\n"
            "pids = set(ex.target('all').submit(os.getpid).result())"
        )
        assert opened.error is None
        yield running
        assert running.run("ex.shutdown()").error is None
    finally:
        running.close()


class TestCells:
    def test_functions_of_cells(self, kernel: Kernel) -> None:
        """As they are when they are submitted, with the globals of the notebook; what they print is shown."""
        cell = kernel.run(
            "scale = 2\ndef work(x):\n    print('on', x)\n    return scale * x\n"
            "print(ex.submit(work, 4).result())"
        )
        assert cell.error is None
        # The two come from two threads, which may write into one line.
        assert sorted(cell.text.replace("\n", "")) == sorted("8on 4")
        cell = kernel.run("scale = 3\nprint(list(ex.map(work, range(3))))")
        assert "[0, 3, 6]" in cell.text

    def test_errors_keep_their_type(self, kernel: Kernel) -> None:
        cell = kernel.run("def fail():\n    raise LookupError('no antenna 3')\nex.submit(fail).result()")
        assert cell.error == ("LookupError", "no antenna 3")

    def test_status_is_a_table(self, kernel: Kernel) -> None:
        (page,) = kernel.run("ex.status()").html
        assert page.startswith("<table>")
        assert len(re.findall("<tr>", page)) == 4  # head, two workers, counts

    def test_results_of_tasks_are_tables(self, kernel: Kernel) -> None:
        (page,) = kernel.run(
            "from parallactic.tasks.result import TaskResult\n"
            "TaskResult(task='flag', counts={'rows': 12000}, warnings=['a < b'])"
        ).html
        assert "<caption>flag" in page
        assert ">12,000</td>" in page
        assert "a &lt; b" in page

    def test_a_full_queue_waits(self, kernel: Kernel) -> None:
        """A cell may block: `max_pending` is not an error there, though the kernel runs an event loop."""
        cell = kernel.run(
            "with plx.Executor(ex.backend, workers=1, max_pending=2) as small:\n"
            "    print(sum(small.gather([small.submit(pow, 2, n) for n in range(20)])))"
        )
        assert (cell.error, cell.text) == (None, f"{2**20 - 1}\n")

    def test_results_may_be_awaited(self, kernel: Kernel) -> None:
        cell = kernel.run("import asyncio\nprint(await asyncio.wrap_future(ex.submit(pow, 2, 5)))")
        assert (cell.error, cell.text) == (None, "32\n")

    def test_dask_and_joblib(self, kernel: Kernel) -> None:
        guest("dask.array")
        guest("joblib")
        cell = kernel.run(
            "import dask.array, joblib\nimport parallactic.integrations.joblib\n"
            "from parallactic.integrations.dask import dask_get\n"
            "print(dask.array.ones(100, chunks=10).sum().compute(scheduler=dask_get(ex)))\n"
            "with joblib.parallel_config(backend='parallactic', executor=ex):\n"
            "    print(joblib.Parallel()(joblib.delayed(lambda v: v + 1)(n) for n in range(3)))",
        )
        assert cell.text.split("\n")[:2] == ["100.0", "[1, 2, 3]"]


class TestProgress:
    CODE = """\
from parallactic.tasks import progress, units
progress.BAR_AFTER = {after}
print(units.run_units(ex, slow, list(range(6)), label="tfcrop"))
"""

    def test_a_bar_that_goes(self, kernel: Kernel, ex: Executor) -> None:
        """It names the step, moves, and leaves nothing behind."""
        kernel.run("def slow(unit):\n    time.sleep(0.3)\n    return unit")
        cell = kernel.run(self.CODE.format(after=0.1))
        assert cell.error is None
        bars = [page for page in cell.html if "<progress" in page]
        assert all("tfcrop" in page for page in bars)
        shown = [int(found) for page in bars for found in re.findall(r'value="(\d)" max="6"', page)]
        assert len(shown) == len(bars)
        assert shown == sorted(shown)
        assert len(set(shown)) >= 3 or ex.capabilities.inline
        assert cell.html == [] or cell.html[-1] == ""

    def test_none_for_what_is_soon_over(self, kernel: Kernel) -> None:
        cell = kernel.run(self.CODE.format(after=30).replace("slow", "abs"))
        assert (cell.error, cell.html) == (None, [])


class TestInterrupt:
    SPIN = """\
def spin(path):
    with open(path, "w"): pass
    while True: time.sleep(0.01)
"""

    def test_of_waiting(self, kernel: Kernel, ex: Executor, tmp_path: Path) -> None:
        """KeyboardInterrupt ends the waiting; the tasks go on until they are cancelled."""
        started = tmp_path / "started"
        inline = ex.capabilities.inline
        cell = kernel.run(
            f"{self.SPIN}running = ex.submit(spin, {str(started)!r})\nprint('waiting')\nex.gather([running])",
            interrupt_when=lambda cell: started.exists() and (inline or "waiting" in cell.text),
        )
        assert cell.error is not None
        assert cell.error[0] == "KeyboardInterrupt"
        after = kernel.run(
            f"print({inline} or running.running(), pids == {{w.pid for w in ex.status().workers}})\n"
            f"{inline} or running.cancel(force=True)\n"
            "print(ex.submit(pow, 2, 3).result())"
        )
        assert (after.error, after.text.split()) == (None, ["True", "True", "8"])

    def test_of_a_task(self, kernel: Kernel, tmp_path: Path) -> None:
        """Tasks of a step are stopped with it, and the next cell works."""
        started = tmp_path / "started"
        cell = kernel.run(
            "from parallactic.tasks import units\n"
            f"{self.SPIN}units.run_units(ex, spin, [{str(started)!r}] * 2, label='tfcrop')",
            interrupt_when=lambda _: started.exists(),
        )
        assert cell.error is not None
        assert cell.error[0] == "KeyboardInterrupt"
        after = kernel.run("print(ex.submit(pow, 2, 3).result(), len(ex.status().tasks))")
        assert (after.error, after.text.split()) == (None, ["8", "0"])

    def test_of_a_block(self, kernel: Kernel, ex: Executor, tmp_path: Path) -> None:
        """An executor that a cell has opened ends with it, and leaves no process."""
        started = tmp_path / "started"
        cell = kernel.run(
            f"{self.SPIN}with plx.Executor(ex.backend, workers=1) as own:\n"
            "    others = own.target('all').submit(os.getpid).result()\n"
            f"    own.submit(spin, {str(started)!r}).result()",
            interrupt_when=lambda _: started.exists(),
        )
        assert cell.error is not None
        assert cell.error[0] == "KeyboardInterrupt"
        (pid,) = map(int, kernel.run("print(*others)").text.split())
        end = time.monotonic() + PATIENCE
        while ex.capabilities.isolation and Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end, "the worker is still there"
            time.sleep(0.01)


def test_no_bar_where_nobody_looks(
    ex: Executor, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on a terminal, not in a notebook: nothing is drawn."""
    from parallactic.tasks import progress
    from parallactic.tasks.units import run_units

    monkeypatch.setattr(progress, "BAR_AFTER", 0.0)
    assert run_units(ex, abs, [1, 2], label="tfcrop") == [1, 2]
    assert capfd.readouterr() == ("", "")


def test_names_are_no_markup() -> None:
    """Brackets and angles of a person's names are shown as they are."""
    worker = WorkerStatus(0, 1, "busy", "node<1>", os.getpid(), "scan [bold]3[/bold]", 0, 12, "")
    page = Status("serial", "night [red]", "", (worker,), (), {"running": 1})._repr_html_()
    for shown in ("node&lt;1&gt;", "scan [bold]3[/bold]", "night [red]: serial", "0 (epoch 1)", "1 running"):
        assert shown in page
