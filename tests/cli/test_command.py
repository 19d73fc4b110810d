"""The command ``parallactic``: its help, its subcommands, its results and exit codes."""

from __future__ import annotations

import json
import resource
import shlex
import subprocess
import sys

import pytest
import typer.testing
from cli_helpers import SMALL, one_sentence

from parallactic import __version__
from parallactic.cli.app import make_app
from parallactic.cli.texts import EXAMPLES, LINES
from parallactic.tasks import TASKS
from parallactic.tasks.base import signature_of


def _invoke(*words: str) -> typer.testing.Result:
    return typer.testing.CliRunner().invoke(make_app(words), list(words), env={"COLUMNS": "100"})


def test_the_first_page(command) -> None:
    done = command("--help")
    assert done.returncode == 0
    for name in (*TASKS, "run", "backends"):
        assert f"│ {name} " in done.stdout, name
    assert "parallactic simulate sky.ms" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_no_words_are_a_wish_for_help(command) -> None:
    assert "Begin here" in command().stdout
    assert "Usage: parallactic flag" in command("flag").stdout


def test_the_first_page_comes_at_once(command) -> None:
    command("--help")

    def processor_time(_: int) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Half a second, counted as work done, since tests may share the machine; the best of three, since cores
    # that are shared work more slowly too.
    assert any(processor_time(number) < 0.5 for number in range(3))


def test_the_first_page_imports_nothing_heavy() -> None:
    heavy = ["casacore", "numba", "astropy", "matplotlib", "ducc0", "scipy", "numpy", "pydantic_settings"]
    code = (
        "import sys\n"
        "from parallactic.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_the_version(command) -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"parallactic {__version__}\n")


def test_every_task_has_its_line_and_its_examples() -> None:
    assert set(TASKS) == set(LINES) == set(EXAMPLES)


@pytest.mark.parametrize("name", list(LINES))
def test_the_page_of_a_task_has_every_parameter(name: str) -> None:
    page = _invoke(name, "--help")
    assert page.exit_code == 0
    signature = signature_of(TASKS[name])
    for item in signature.parameters.values():
        if item.name == "executor":
            assert "--backend" in page.output
            continue
        assert item.help, f"{name} does not explain {item.name}"
        assert f"--{item.name}" in page.output, f"{name}: {item.name} has no option, or its name is cut"
    assert max(map(len, page.output.splitlines())) <= 100


@pytest.mark.parametrize("example", [text for texts in EXAMPLES.values() for text in texts])
def test_the_examples_are_understood(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, *words = shlex.split(example)[1:]
    called: list[dict[str, object]] = []
    task = TASKS[name]

    def pretend(**parameters: object) -> dict[str, bool]:
        task.signature.bind((), parameters)
        called.append(parameters)
        return {"ok": True}

    pretend.signature, pretend.check = task.signature, None  # type: ignore[attr-defined]
    monkeypatch.setitem(TASKS._loaded, name, pretend)
    result = _invoke(name, *words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {"ok": True}
    assert len(called) == 1


def test_backends(command) -> None:
    found = {entry["name"]: entry for entry in json.loads(command("backends", "--json").stdout)}
    assert found["serial"]["available"]
    assert found["multiprocessing"]["available"]
    assert found["multiprocessing"]["default"]
    assert set(found) >= {"dask", "mpi", "slurm"}
    assert all(entry["hint"] for entry in found.values() if not entry["available"])
    chosen = json.loads(command("backends", "--json", env={"PARALLACTIC_BACKEND": "serial"}).stdout)
    assert [entry["name"] for entry in chosen if entry["default"]] == ["serial"]
    table = command("backends").stdout
    assert "multiprocessing *" in table
    bare = command("backends", env={"PATH": "/nowhere"}).stdout
    assert "slurm: run this on a login node of SLURM\n" in bare + "\n"


def test_flag_versions(here, tmp_path) -> None:
    assert here("simulate", "sky.ms", *SMALL, "--backend", "serial").returncode == 0
    flagged = json.loads(here("flag", "sky.ms", "--mode", "summary", "--json").stdout)["counts"]["flagged"]
    assert "saved the flags of sky.ms as before" in here("flagversions", "save", "sky.ms", "before").stdout
    one = ["flag", "sky.ms", "--antenna", "1", "--no-flagbackup", "--backend", "serial"]
    assert here(*one).returncode == 0
    assert (
        json.loads(here("flag", "sky.ms", "--mode", "summary", "--json").stdout)["counts"]["flagged"]
        > flagged
    )
    assert [item["name"] for item in json.loads(here("flagversions", "list", "sky.ms", "--json").stdout)] == [
        "before"
    ]
    assert here("flagversions", "restore", "sky.ms", "before").returncode == 0
    assert (
        json.loads(here("flag", "sky.ms", "--mode", "summary", "--json").stdout)["counts"]["flagged"]
        == flagged
    )
    done = here("flagversions", "restore", "sky.ms", "befor")
    assert done.returncode == 2
    assert "befor" in one_sentence(done)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("parallactic par", ["partition"]),
        ("parallactic partition --ch", ["--chanbin"]),
        ("parallactic flag obs.ms --mode qu", ["quack"]),
    ],
)
def test_completion_knows_tasks_options_and_choices(words: str, expected: list[str]) -> None:
    code = "import sys; sys.argv = ['parallactic']; from parallactic.cli import main; main()"
    env = {
        "_PARALLACTIC_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.stdout.split() == expected
