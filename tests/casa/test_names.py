"""Every public name of casampi is here, with the same parameters, or the documentation says why not."""

import ast
import fnmatch
import inspect
import re
from pathlib import Path

import pytest

from parallactic.casa import MPICommandClient, MPIEnvironment, MPIInterface, MPIMonitorClient
from parallactic.casa.interface import _Cluster

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs" / "casa.md"

#: Classes of casampi, and what stands for them here.
CLASSES = {
    "MPICommandClient.py": {"__MPICommandClientImpl": MPICommandClient},
    "MPIInterface.py": {
        "MPIInterface": MPIInterface,
        "__MPIInterfaceImpl": MPIInterface,
        "__MPIInterfaceCoreImpl": _Cluster,
    },
    "private/MPIMonitorClient.py": {"__MPIMonitorClientImpl": MPIMonitorClient},
}


def methods(source: Path) -> dict[str, dict[str, list[str]]]:
    """Return the parameters of every public method, by class."""
    found: dict[str, dict[str, list[str]]] = {}
    for item in ast.walk(ast.parse(source.read_text())):
        if isinstance(item, ast.ClassDef):
            own = [part for part in item.body if isinstance(part, ast.FunctionDef)]
            found[item.name] = {
                function.name: [argument.arg for argument in function.args.args if argument.arg != "self"]
                for function in own
                if not function.name.startswith("_")
            }
    return found


def documented_as_missing(name: str) -> bool:
    (row,) = (line for line in DOCUMENTATION.read_text().splitlines() if line.startswith("| names that only"))
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in re.findall("`([^`]+)`", row))


@pytest.mark.parametrize(("source", "classes"), CLASSES.items())
def test_methods(casampi, source, classes):
    theirs = methods(casampi / "casampi" / source)
    for name, ours in classes.items():
        assert theirs[name], name
        for method, parameters in theirs[name].items():
            if not hasattr(ours, method):
                assert documented_as_missing(method), f"{name}.{method}"
                continue
            own = [each for each in inspect.signature(getattr(ours, method)).parameters if each != "self"]
            assert own[: len(parameters)] == parameters, f"{name}.{method}"


def test_the_environment(casampi):
    (body,) = (
        item.body
        for item in ast.parse((casampi / "casampi" / "MPIEnvironment.py").read_text()).body
        if isinstance(item, ast.ClassDef)
    )
    own = [function.name for function in body if isinstance(function, ast.FunctionDef)]
    assigned = {
        target.id
        for statement in body
        if not isinstance(statement, ast.FunctionDef)
        for part in ast.walk(statement)
        if isinstance(part, ast.Assign)
        for target in part.targets
        if isinstance(target, ast.Name)
    }
    public = {name for name in assigned.union(own) if not name.startswith("_")}
    assert len(public) > 30
    missing = {name for name in public if not hasattr(MPIEnvironment, name)}
    assert not {name for name in missing if not documented_as_missing(name)}
