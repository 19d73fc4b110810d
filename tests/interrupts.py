"""Ctrl-C while a library that uses an executor waits.

The script that is interrupted is a process of its own: an interrupt that came a moment late would end pytest.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from parallactic.testing.engine import Engine
from parallactic.testing.scripts import running
from parallactic.testing.waiting import pid_in

__all__ = ["interrupt"]

_PATIENCE = 30.0

_SCRIPT = """\
from parallactic.testing.waiting import until
ex = open_executor()
started = sys.argv[1]
{setup}
try:
{wait}
except KeyboardInterrupt:
    pass
else:
    sys.exit("nobody was interrupted")
until(lambda: not ex.status().tasks, 10.0, "nothing runs any more")
print(ex.submit(abs, -9).result())
{after}
ex.shutdown()
"""


def interrupt(backend: str, folder: Path, *, setup: str, wait: str, after: str = "") -> str:
    """Press Ctrl-C in the midst of a call, and return what the script printed afterwards.

    Parameters
    ----------
    backend
        The backend of `ex`, the executor that the script has.
    folder
        An empty folder.
    setup
        What comes first. A task must announce itself in the file `started`.
    wait
        The call that is interrupted.
    after
        What comes at the end.
    """
    code = _SCRIPT.format(setup=setup, wait=textwrap.indent(wait, "    "), after=after)
    with running(Engine(backend), code, str(folder / "started")) as client:
        pid_in(folder / "started", _PATIENCE)
        client.interrupt()
        status, out, err = client.end(_PATIENCE)
    assert status == 0, err
    first, _, rest = out.partition("\n")
    assert first == "9"
    return rest
