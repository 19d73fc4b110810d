"""The house itself: its floors, its public names, what it ships, and what must not stand in it."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pathspec
import pytest

import parallactic

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "parallactic": ROOT / "src/parallactic",
    "parallactic_backends": ROOT / "backends/parallactic_backends",
}
MODULES = sorted(path for package in PACKAGES.values() for path in package.rglob("*.py"))

#: A file longer than this holds more than one idea.
LONGEST = 450

#: What must not stand in the repository, and why. Written so that this file does not match itself.
FORBIDDEN = {
    r"(?<![\w.~$}/-])/(home|root|work|Users|scratch)/[\w.-]+": "an absolute path of somebody's machine",
    r"\b(py[p]i|pythonho[s]ted|an[a]conda|npm[j]s|deb\.d[e]bian)\.org": "a registry's host",
    r"^(<{7}|>{7}) ": "a merge conflict",
}


def name_of(path: Path) -> str:
    """Return a path as it is written in the repository."""
    return str(path.relative_to(ROOT))


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def files_of_the_repository() -> Iterator[Path]:
    """Yield what git would track; read from .gitignore, since a bare machine has no git."""
    ignored = pathspec.GitIgnoreSpec.from_lines([*(ROOT / ".gitignore").read_text().splitlines(), ".git/"])
    for folder, folders, names in os.walk(ROOT):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not ignored.match_file(f"{name_of(here / name)}/"))
        yield from (here / name for name in sorted(names) if not ignored.match_file(name_of(here / name)))


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the floors of the sources in `folder`, where the packages are found before the installed ones."""
    code = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports; "
        "sys.exit(lint_imports(no_cache=True, no_logo=True))"
    )
    return run(sys.executable, "-c", code, cwd=folder)


# -- Floors -------------------------------------------------------------------------------------------------


def test_imports_keep_to_the_floors():
    contracts = lint_imports(ROOT)
    assert contracts.returncode == 0, contracts.stdout + contracts.stderr
    assert ", 0 broken" in contracts.stdout


def test_the_contract_of_the_backends_forbids_every_module_but_six():
    """import-linter lists what is forbidden; a new module of the library must be added there."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (forbidden,) = (
        c["forbidden_modules"] for c in contracts if c.get("source_modules") == ["parallactic_backends"]
    )
    modules = {
        f"parallactic.{path.stem}"
        for path in PACKAGES["parallactic"].glob("[!_]*")
        if path.suffix != ".typed"
    }
    assert modules - set(forbidden) == {
        f"parallactic.{name}" for name in ("backend", "events", "wire", "worker", "errors", "threads")
    }


@pytest.mark.parametrize(
    ("module", "climb", "contract"),
    [
        ("parallactic/errors.py", "parallactic.executor", "An import never climbs a floor"),
        ("parallactic/registry.py", "parallactic_backends.serial", "The library never imports a backend"),
        ("parallactic_backends/serial/__init__.py", "parallactic.tasks", "A backend knows"),
    ],
)
def test_a_forbidden_import_is_noticed(tmp_path, module, climb, contract):
    """The contracts are worth nothing if a violation passes: put one into a copy of the sources."""
    for name, package in PACKAGES.items():
        for path in package.rglob("*.py"):
            copy = tmp_path / name / path.relative_to(package)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    with (tmp_path / module).open("a") as source:
        source.write(f"\nimport {climb}\n")
    contracts = lint_imports(tmp_path)
    assert contracts.returncode == 1, contracts.stdout + contracts.stderr
    assert re.search(rf"^{contract}.* BROKEN", contracts.stdout, flags=re.MULTILINE), contracts.stdout


# -- Public names -------------------------------------------------------------------------------------------


def test_public_names_resolve():
    assert parallactic.__all__
    assert len(set(parallactic.__all__)) == len(parallactic.__all__)
    missing = [name for name in parallactic.__all__ if not hasattr(parallactic, name)]
    assert missing == []


def test_importing_the_executor_is_light():
    """A script that only submits functions waits for no library of the tasks, and no thread is started."""
    heavy = "casacore", "ducc0", "numba", "scipy", "astropy", "matplotlib", "dask", "mpi4py", "casatasks"
    code = (
        "import sys, threading, parallactic; parallactic.Executor; "
        f"print([name for name in {heavy} if name in sys.modules], threading.active_count())"
    )
    done = run(sys.executable, "-c", code)
    assert done.stdout.strip() == "[] 1", done.stderr


@pytest.mark.parametrize("name", [name for name in parallactic.__all__ if name != "__version__"])
def test_public_names_are_documented(name):
    thing = getattr(parallactic, name)
    text = inspect.getdoc(thing) or ""
    assert text, f"parallactic.{name} has no docstring"
    signature = inspect.signature(thing) if inspect.isfunction(thing) else None
    parameters = (
        [p.name for p in signature.parameters.values() if p.kind < p.VAR_KEYWORD] if signature else []
    )
    unnamed = [parameter for parameter in parameters if not re.search(rf"\b{parameter}\b", text)]
    assert unnamed == [], f"the docstring of parallactic.{name} does not name {unnamed}"


def undocumented(path: Path) -> Iterator[str]:
    """Yield the public modules, classes, functions and methods of a file that have no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not ast.get_docstring(tree):
        yield name_of(path)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for owner in (tree, *classes):
        for node in owner.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
                inherited = "overload" in decorators or "override" in decorators or ".setter" in decorators
                if not node.name.startswith("_") and not inherited and not ast.get_docstring(node):
                    yield f"{name_of(path)}:{node.lineno}: {node.name}"


def test_everything_public_is_documented():
    assert [name for path in MODULES for name in undocumented(path)] == []


def test_files_stay_short():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


# -- What is shipped ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel as pip would, without its isolated environment and so without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-c", f"import hatchling.build as b; print(b.build_wheel({str(folder)!r}))")
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_every_module_and_its_types(wheel):
    names = set(wheel.namelist())
    for package, folder in PACKAGES.items():
        assert f"{package}/py.typed" in names
        modules = {f"{package}/{path.relative_to(folder)}" for path in folder.rglob("*.py")}
        assert modules <= names, f"not shipped: {sorted(modules - names)}"
    strangers = {name.split("/")[0] for name in names} - set(PACKAGES)
    assert [name for name in strangers if not name.endswith(".dist-info")] == []


def test_every_folder_of_modules_is_a_package():
    """A folder without __init__.py works by accident here, and is invisible to import-linter."""
    bare = {name_of(path.parent) for path in MODULES if not (path.parent / "__init__.py").exists()}
    assert bare == set()


def test_entry_points_lead_somewhere(wheel):
    (path,) = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    text = wheel.read(path).decode()
    assert "[console_scripts]" in text
    assert "[parallactic.backends]" in text
    targets = re.findall(r"^([\w-]+) = ([\w.]+):(\w+)$", text, flags=re.MULTILINE)
    assert {"parallactic", "serial", "multiprocessing"} <= {name for name, _, _ in targets}
    for name, module, attribute in targets:
        assert callable(getattr(importlib.import_module(module), attribute)), f"{name} = {module}:{attribute}"


def test_the_version_is_one():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert parallactic.__version__ == declared


def test_the_extra_all_holds_every_extra_but_casa_and_dev():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (line,) = extras["all"]
    held = set(line.removeprefix("parallactic[").removesuffix("]").split(","))
    assert held == set(extras) - {"all", "casa", "dev"}


# -- What must not stand in the repository ------------------------------------------------------------------


def test_no_forbidden_strings():
    found = []
    for path in files_of_the_repository():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image
        for pattern, what in FORBIDDEN.items():
            for match in re.finditer(pattern, text, flags=re.MULTILINE):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{name_of(path)}:{line}: {match.group()!r} ({what})")
    assert found == []


def test_the_search_for_forbidden_strings_sees_the_sources():
    names = {name_of(path) for path in files_of_the_repository()}
    assert {"Makefile", ".ci/run", "README.md", "src/parallactic/__init__.py", "tests/test_house.py"} <= names
    assert not any(name.startswith((".venv/", ".git/")) for name in names)
    examples = "/ho" + "me/ada/data.ms", "https://py" + "pi.org/simple"
    for example in examples:
        assert any(re.search(pattern, f"open('{example}')") for pattern in FORBIDDEN)
