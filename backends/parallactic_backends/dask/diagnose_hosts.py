"""Whether the hosts that Dask workers are to be started on by ssh answer, and have the right versions."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from parallactic.backend import Check

__all__ = ["look_at_hosts"]

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_ASK = """
import json, sys
from importlib.metadata import version
own = {name: version(name) for name in ("parallactic", "dask", "distributed")}
print(json.dumps({"Python": "%d.%d" % sys.version_info[:2], **own}))
"""


def look_at_hosts(hosts: Sequence[str], settings: Any) -> Iterator[Check]:
    """Yield whether ssh reaches the hosts without a password, and what is installed there."""
    if find_spec("asyncssh") is None:
        advice = "pip install 'parallactic[dask]'."
        yield Check("ssh", "failure", "asyncssh is not installed", advice, fatal=True)
        return
    if not hosts:
        yield Check("ssh", "failure", "no hosts are named", 'hosts = ["node1", "node2"].', fatal=True)
        return
    # On a loop of its own: the caller may have one that runs.
    with ThreadPoolExecutor(1) as thread:
        own, answers = thread.submit(asyncio.run, _ask_all(hosts, settings)).result()
    deaf = [
        f"{host}: {answer}" for host, answer in zip(hosts, answers, strict=True) if isinstance(answer, str)
    ]
    if deaf:
        first = deaf[0].partition(":")[0]
        advice = f"ssh {first} true must work without a password, and python= name a Python that is there."
        yield Check("ssh", "failure", "; ".join(deaf), advice, fatal=len(deaf) == len(hosts))
    other = [
        f"{name} {version} on {host}, {own[name]} here"
        for host, answer in zip(hosts, answers, strict=True)
        if not isinstance(answer, str)
        for name, version in answer.items()
        if version != own[name]
    ]
    if other:
        advice = "use one environment on all hosts; python= names the one that is meant."
        yield Check("ssh", "failure", "; ".join(other), advice, fatal=True)
    if not deaf and not other:
        yield Check("ssh", "ok", f"{', '.join(hosts)} answer, with the same versions as here")


async def _ask_all(hosts: Sequence[str], settings: Any) -> tuple[dict[str, str], list[dict[str, str] | str]]:
    """Return the versions here, and of each host those there or what went wrong."""
    own = await asyncio.create_subprocess_exec(sys.executable, "-c", _ASK, stdout=asyncio.subprocess.PIPE)
    out, _ = await own.communicate()
    return json.loads(out), await asyncio.gather(*(_ask(host, settings) for host in hosts))


async def _ask(host: str, settings: Any) -> dict[str, str] | str:
    import asyncssh

    words = shlex.join([settings.python or sys.executable, "-P", "-c", _ASK])
    command = "\n".join([*settings.prologue, f"exec {words}"])
    options = {"connect_timeout": _CONNECT_SECONDS} | settings.ssh_options
    try:
        async with asyncssh.connect(host, **options) as connection:
            done = await asyncio.wait_for(connection.run(command), _ANSWER_SECONDS)
    except TimeoutError:
        return "no answer"
    except (OSError, asyncssh.Error) as error:
        return str(error) or type(error).__name__
    lines = str(done.stdout or "").strip().splitlines()
    if done.exit_status != 0 or not lines:
        last = str(done.stderr or "").strip().splitlines()
        return last[-1] if last else f"Python ended with exit code {done.exit_status}"
    answer: dict[str, str] = json.loads(lines[-1])
    return answer
