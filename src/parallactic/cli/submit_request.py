"""The request file of a batch job, ``cluster.req``: shell-like lines ``NAME="value"  # comment``."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from parallactic.errors import InvalidSpec
from parallactic.spec import near_match, parse_time

__all__ = ["Request", "read_request"]


@dataclass(frozen=True)
class Request:
    """What a job asks of PBS.

    Parameters
    ----------
    memory
        Of the whole job, in MiB.
    folder
        Where it runs.
    command
        The words of the command to run; empty if the file names none.
    nodes, cores
        Number of hosts, and processors on each.
    stdout, stderr
        Files in `folder`; None leaves PBS its own ``NAME.oNUMBER``.
    queue, account, name, mail
        As PBS takes them; empty where it shall decide.
    walltime
        ``HH:MM:SS``, empty for that of the queue.
    prologue
        A shell line run first, such as ``module load openmpi``.
    prefix
        The words put before Python, such as ``singularity exec IMAGE``.
    python
        The Python of the job.
    """

    memory: int
    folder: Path
    command: tuple[str, ...] = ()
    nodes: int = 1
    cores: int = 1
    stdout: Path | None = None
    stderr: Path | None = None
    queue: str = ""
    account: str = ""
    name: str = ""
    mail: str = ""
    walltime: str = ""
    prologue: str = ""
    prefix: tuple[str, ...] = ()
    python: str = ""


def read_request(path: Path) -> Request:
    """Read a request file.

    Raises
    ------
    InvalidSpec
        With a sentence for everything that is wrong in it, each with its line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidSpec(f"there is no request file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"the request file {path} cannot be read: {error}.") from error
    given: dict[str, tuple[int, str]] = {}
    fields: dict[str, object] = {}
    problems: list[str] = []
    unknown = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            name, value = _assignment(line)
            if name in given:
                raise InvalidSpec(f"{name} stands in line {given[name][0]} already.")
            given[name] = number, value
            field, convert = _known(name)
            if value:
                fields[field] = convert(name, value)
        except InvalidSpec as error:
            problems.append(f"{path}, line {number}: {error}")
            unknown |= isinstance(error, _UnknownSetting)
    missing = [name for name in ("MEMORY", "WORK_DIR") if not given.get(name, (0, ""))[1]]
    problems += [f"{path} has no {name}; a line such as {_EXAMPLES[name]} is required." for name in missing]
    folder = fields.get("folder")
    if isinstance(folder, Path):
        for field in ("stdout", "stderr"):
            if field in fields:
                fields[field] = folder / str(fields[field])
    if unknown:
        problems.append(f"The settings of such a file are {', '.join(_FIELDS)}.")
    if problems:
        raise InvalidSpec("\n".join(problems))
    return Request(**fields)  # type: ignore[arg-type]


class _UnknownSetting(InvalidSpec):
    """A name that no setting has."""


_EXAMPLES = {"MEMORY": 'MEMORY="8gb"', "WORK_DIR": 'WORK_DIR="/lustre/me/observation"'}
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*")


def _assignment(line: str) -> tuple[str, str]:
    match = _ASSIGNMENT.fullmatch(line)
    if match is None:
        raise InvalidSpec(f'{line.strip()!r} is not understood; a line is NAME="value", or begins with #.')
    name, value = match.groups()
    if re.search("[\u2018\u2019\u201c\u201d]", value):
        raise InvalidSpec(f'{value} is in the quotes of a text program; write plain quotes, "...".')
    try:
        words = shlex.split(value, comments=True)
    except ValueError:
        raise InvalidSpec(f"the quotes of {name}={value} are not closed.") from None
    if len(words) > 1:
        raise InvalidSpec(f'{name} has several words; write quotes around them: {name}="{" ".join(words)}".')
    if not words:
        return name, ""
    word = words[0]
    return name, word if value.startswith("'") else _expanded(name, word)


def _expanded(name: str, word: str) -> str:
    if "`" in word or "$(" in word:
        raise InvalidSpec(f"{name}={word!r}: commands are not run in this file; write what they would print.")

    def variable(match: re.Match[str]) -> str:
        found = os.environ.get(match[1] or match[2])
        if found is None:
            raise InvalidSpec(f"{name}={word!r} uses the variable {match[0]}, which is not set here.")
        return found

    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", variable, word)


# What a value becomes


def _memory(name: str, value: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", value, re.IGNORECASE)
    # PBS counts in powers of two, and calls them kb, mb, gb.
    amount = float(match[1]) * 1024.0 ** " kmgt".index(match[2].lower() or " ") if match else 0.0
    if amount <= 0:
        raise InvalidSpec(f"{name}={value!r} is not an amount of memory; write for example 8gb or 500mb.")
    return math.ceil(amount / 1024**2)


def _count(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]+", value) or int(value) < 1:
        raise InvalidSpec(f"{name}={value!r} must be a whole number of at least 1.")
    return int(value)


def _folder(name: str, value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_absolute():
        raise InvalidSpec(f"{name}={value!r} must be a whole path, from /: the job starts elsewhere.")
    if not path.is_dir():
        raise InvalidSpec(f"{name}={value!r} is not a folder on this host.")
    return path


def _command(name: str, value: str) -> tuple[str, ...]:
    words = _words(name, value)
    program = Path(words[0]).expanduser()
    if not program.is_file():
        raise InvalidSpec(f"{name}={value!r}: there is no file {words[0]} on this host.")
    if not os.access(program, os.X_OK):
        return ("/bin/bash", str(program), *words[1:])
    return (str(program), *words[1:])


def _words(name: str, value: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(value))
    except ValueError:
        raise InvalidSpec(f"the quotes inside {name}={value!r} are not closed.") from None


def _directive(name: str, value: str) -> str:
    """Return what may stand on a line of PBS."""
    if re.search(r"\s|,", value):
        raise InvalidSpec(f"{name}={value!r} may have neither spaces nor commas: PBS would cut it there.")
    return value


def _job_name(name: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][\w.+-]{0,14}", value):
        raise InvalidSpec(
            f"{name}={value!r} must begin with a letter, have at most 15 signs and no space: so PBS wants it."
        )
    return value


def _walltime(name: str, value: str) -> str:
    seconds = math.ceil(parse_time(value, name))
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _mail(name: str, value: str) -> str:
    if not re.fullmatch("n|[abe]{1,3}", value):
        raise InvalidSpec(f"{name}={value!r} must be n, or of the letters a (abort), b (begin), e (end).")
    return value


def _shell(name: str, value: str) -> str:
    bash = shutil.which("bash")
    if bash is not None:
        done = subprocess.run([bash, "-n"], input=value, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise InvalidSpec(f"{name}={value!r} is no shell line: {done.stderr.strip().splitlines()[0]}.")
    return value


_FIELDS: Mapping[str, tuple[str, Callable[[str, str], object]]] = {
    "MEMORY": ("memory", _memory),
    "WORK_DIR": ("folder", _folder),
    "COMMAND": ("command", _command),
    "NUM_NODES": ("nodes", _count),
    "NUM_CORES": ("cores", _count),
    "STDOUT": ("stdout", _directive),
    "STDERR": ("stderr", _directive),
    "QUEUE": ("queue", _directive),
    "ACCOUNT": ("account", _directive),
    "JOB_NAME": ("name", _job_name),
    "MAIL_OPTIONS": ("mail", _mail),
    "WALLTIME": ("walltime", _walltime),
    "PROLOGUE": ("prologue", _shell),
    "PREFIX": ("prefix", _words),
    "PYTHON": ("python", lambda _, value: value),
}


def _known(name: str) -> tuple[str, Callable[[str, str], object]]:
    if name not in _FIELDS:
        raise _UnknownSetting(f"there is no setting {name}{near_match(name, _FIELDS)}")
    return _FIELDS[name]
