"""How a backend is chosen and set up, and how a wrong setting is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallactic import registry
from parallactic.backend import Availability, Backend, Settings
from parallactic.errors import InvalidSpec
from parallactic.executor import Executor
from parallactic.testing import tasks
from parallactic.testing.base import Contract, Start
from parallactic.testing.engine import Engine

__all__ = ["ConfigurationContract"]


class ConfigurationContract(Contract):
    """Settings, options, and what a backend says of itself."""

    def test_configuration_backend_is_registered_and_described(self, engine: Engine) -> None:
        """Its class carries its name, its settings with descriptions, and whether it can be had."""
        kind = registry.load(engine.name)
        assert issubclass(kind, Backend)
        assert kind.name == engine.name
        assert issubclass(kind.Settings, Settings)
        for name, field in kind.Settings.model_fields.items():
            assert field.description, f"setting {name} has no description"
            assert not field.is_required(), f"setting {name} has no default"
        found = kind.available()
        assert isinstance(found, Availability)
        assert found.ok
        assert found.detail

    def test_configuration_unknown_setting_is_told_with_the_near_match(self, engine: Engine) -> None:
        """Not ignored."""
        with pytest.raises(InvalidSpec, match=r"workrs.*did you mean 'workers'"):
            Executor(engine.name, workrs=2)

    @pytest.mark.parametrize("wrong", [0, -1, "many", 1.5])
    def test_configuration_wrong_number_of_workers_is_told(self, engine: Engine, wrong: object) -> None:
        """With the value, and which backend."""
        with pytest.raises(InvalidSpec, match=f"workers={wrong!r} of backend {engine.name!r}"):
            engine.open(workers=wrong)

    def test_configuration_max_workers_is_another_name(self, engine: Engine) -> None:
        """As concurrent.futures has it; two different numbers are refused."""
        settings = {key: value for key, value in engine.settings.items() if key != "workers"}
        with Executor(engine.name, max_workers=2, **settings) as ex:
            assert ex.max_workers == 2
        with pytest.raises(InvalidSpec, match="two names of one thing"):
            Executor(engine.name, workers=1, max_workers=2)

    def test_configuration_environment_chooses(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """`PARALLACTIC_BACKEND` and `PARALLACTIC_WORKERS`; an argument wins."""
        monkeypatch.setenv("PARALLACTIC_BACKEND", engine.name)
        monkeypatch.setenv("PARALLACTIC_WORKERS", "2")
        with Executor(**dict(engine.settings)) as ex:
            assert (ex.backend, ex.max_workers) == (engine.name, 2)
        with engine.open(workers=1) as ex:
            assert ex.max_workers == 1

    def test_configuration_file_chooses(self, engine: Engine, tmp_path: Path) -> None:
        """`config=` names a file with the backend and its settings."""
        path = tmp_path / "own.toml"
        path.write_text(f'[backend]\ndefault = "{engine.name}"\n[backend.{engine.name}]\nworkers = 2\n')
        with Executor(config=path, **dict(engine.settings)) as ex:
            assert (ex.backend, ex.max_workers) == (engine.name, 2)

    def test_configuration_options_are_checked_before_anything_runs(self, ex: Executor) -> None:
        """Unknown options and impossible resources are InvalidSpec, with what there is."""
        with pytest.raises(InvalidSpec, match=r"'timout'.*did you mean 'timeout'"):
            ex.options(timout=3)
        with pytest.raises(InvalidSpec, match="cores=100000"):
            ex.options(cores=100_000)
        with pytest.raises(InvalidSpec, match="GB of memory"):
            ex.options(memory="1000TB")
        for wrong in ({"cores": 0}, {"retries": -1}, {"retries": 1.5}, {"memory": "8 parsec"}, {"gpus": -1}):
            with pytest.raises(InvalidSpec, match=next(iter(wrong))):
                ex.options(**wrong)
        for resource, value in (("gpus", 1), ("nodes", 2), ("ranks", 2)):
            if resource not in ex.capabilities.resources:
                with pytest.raises(InvalidSpec, match=f"{resource}={value}"):
                    ex.options(**{resource: value})

    def test_configuration_options_add_up(self, ex: Executor) -> None:
        """A view of a view has the options of both; the executor keeps its own."""
        view = ex.options(name="one", retries=2).options(name="two")
        error = view.submit(tasks.fail, ValueError("x")).exception(self.patience)
        assert error is not None
        note = "".join(error.__notes__)
        assert "two" in note
        assert "attempt 3" in note
        error = ex.submit(tasks.fail, ValueError("x")).exception(self.patience)
        assert error is not None
        assert "attempt 1" in "".join(error.__notes__)

    def test_configuration_cores_of_a_task_are_what_it_may_use(self, start: Start) -> None:
        """`plx.worker().cores` is what was asked for, and the worker's own share afterwards."""
        ex = start()
        before = ex.target(0).submit(_cores).result(self.patience)
        assert ex.options(cores=1).target(0).submit(_cores).result(self.patience) == 1
        # On several hosts no single task can have all.
        most = next(cores for cores in range(ex.engine.total_cores, 0, -1) if _grants(ex, cores))
        assert most >= before
        assert ex.options(cores=most).target(0).submit(_cores).result(self.patience) == most
        assert ex.target(0).submit(_cores).result(self.patience) == before

    def test_configuration_repr_says_what_it_is(self, ex: Executor) -> None:
        """Name, backend and workers."""
        assert ex.backend in repr(ex)
        assert str(self.workers) in repr(ex)
        assert repr(ex) in repr(ex.target(0))


def _grants(ex: Executor, cores: int) -> bool:
    try:
        ex.options(cores=cores)
    except InvalidSpec:
        return False
    return True


def _cores() -> int:
    import parallactic

    return parallactic.worker().cores
