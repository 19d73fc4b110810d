"""Recipes: what they mean, and what they may not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parallactic.errors import InvalidSpec
from parallactic.pipeline import make_plan
from parallactic.pipeline.recipe import read_recipe
from parallactic.pipeline.runner import executor_settings
from parallactic.pipeline.steps import selected_steps


def test_variables_are_put_in(recipe: Path, data: Path) -> None:
    plan = make_plan(recipe)
    assert plan.output == data / "out-a"
    first, second, _ = plan.steps
    assert first.parameters == {"vis": "obs", "outputvis": str(data / "out-a" / "loud")}
    assert second.parameters == {"vis": str(data / "out-a" / "loud"), "times": 2, "note": "n{a}"}
    assert second.resources == {"memory": "8GB", "cores": 2}
    assert [step.chosen for step in plan.steps] == [True, True, False]


def test_the_folder_of_the_recipe_is_a_variable(data: Path) -> None:
    (data / "sub").mkdir()
    path = data / "sub" / "r.toml"
    path.write_text('[inputs]\nvis = "{recipe}/../obs"\n[[step]]\ntask = "mark"\nvis = "{vis}"\n')
    plan = make_plan(path)
    assert plan.steps[0].parameters["vis"] == f"{data / 'sub'}/../obs"
    assert plan.output == data / "r-output"


def test_settings_are_read_as_the_type_they_set(recipe: Path) -> None:
    plan = make_plan(
        recipe,
        set=[
            "label=2021",
            "mark_all.times=5",
            "mark_all.note=7",
            "extra.skip=false",
            "mark_all.resources.cores=1",
        ],
    )
    assert plan.output.name == "out-2021"
    second = plan.steps[1]
    assert second.parameters["times"] == 5
    assert second.parameters["note"] == "7"
    assert second.resources["cores"] == 1
    assert plan.steps[2].chosen
    assert make_plan(recipe, set={"count": 4}).steps[1].parameters["times"] == 4
    assert make_plan(recipe, set=["count=4"]).steps[1].parameters["times"] == 4
    assert make_plan(recipe, set=["mark_all.note={vis}!"]).steps[1].parameters["note"] == "obs!"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('task = "shout"', 'task = "shuot"', ["step 1 'shuot'", "'task'", "no task 'shuot'", "'shout'"]),
        ("times =", "tims =", ["step 2 'mark_all'", "'tims'", "did you mean 'times'"]),
        ('"{count}"', '"{cuont}"', ["step 2", "'times'", "{cuont}", "did you mean 'count'"]),
        ('"{count}"', '"many"', ["step 2", "'times'", "times='many'", "a whole number"]),
        ('"{count}"', "[1]", ["step 2", "'times'", "times=[1]"]),
        ('name = "extra"', 'name = "mark_all"', ["step 3", "'mark_all'", "step 2"]),
        ('name = "extra"', 'name = "7th step"', ["step 3", "name='7th step'"]),
        (
            'name = "extra"',
            'name = "extra"\nwait = "3 parsec"',
            ["step 3 'extra'", "'wait'", "'parsec'", "min"],
        ),
        ('name = "extra"', 'name = "extra"\nmode = "slo"', ["'mode'", "did you mean 'slow'"]),
        ('name = "extra"', 'name = "extra"\nmode = "slow"', ["step 3 'extra'", "mode='slow' needs wait"]),
        ('name = "extra"', 'name = "extra"\nexecutor = "serial"', ["'extra'", "[executor]"]),
        ('name = "extra"', 'name = "extra"\nnote = "a{b"', ["step 3", "'note'", "single '{'"]),
        ("skip = true", 'skip = "yes"', ["step 3", "skip='yes'"]),
        ('memory = "8GB"', 'memory = "8 gigs"', ["step 2", "'resources'", "8 gigs", "8GB"]),
        ("cores = 2", "coers = 2", ["step 2", "'resources'", "did you mean 'cores'"]),
        ("cores = 2", 'name = "x"', ["step 2", "resources.name"]),
        ('label = "a"', 'label = "{loud}"', ["[inputs]", "stands for itself"]),
        ('label = "a"', 'output = "a"', ["[inputs]", "'output'"]),
        ("[inputs]", "[input]", ["no table 'input'", "did you mean 'inputs'"]),
        ('name = "loud"', 'nam = "loud"', ["[recipe]", "'nam'", "did you mean 'name'"]),
        ('vis = "{vis}"', "", ["step 1 'shout'", "needs 'vis'"]),
        ('vis = "{vis}"', 'vis = "ob.ms"', ["step 1 'shout'", "'vis'", "no MeasurementSet 'ob.ms'."]),
        ("[[step]]", "[[step]", ["loud.toml is not TOML", "line"]),
    ],
)
def test_what_cannot_be_is_named_before_anything_runs(
    recipe: Path, data: Path, old: str, new: str, words: list[str]
) -> None:
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidSpec) as caught:
        make_plan(recipe)
    sentence = str(caught.value)
    assert "loud.toml" in sentence
    assert all(word in sentence for word in words), sentence
    assert sorted(path.name for path in data.iterdir()) == ["loud.toml", "obs"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("viss=x", ["no input 'viss'", "did you mean 'vis'"]),
        ("mark.times=3", ["no step 'mark'", "did you mean 'mark_all'"]),
        ("mark_all.tims=3", ["'tims'", "did you mean 'times'"]),
        ("mark_all.times=x", ["times='x'", "whole number"]),
        ("mark_all.task=shout", ["mark_all.task", "cannot be set"]),
        ("extra.skip=7", ["extra.skip=7", "true or false"]),
        ("vis", ["'vis'", "input=value"]),
    ],
)
def test_settings_that_cannot_be(recipe: Path, setting: str, words: list[str]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        make_plan(recipe, set=[setting])
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_no_such_recipe(data: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"no recipe 'nothing\.toml'"):
        make_plan("nothing.toml")
    with pytest.raises(InvalidSpec, match=r"'obs' cannot be read"):
        make_plan("obs")
    with pytest.raises(InvalidSpec, match="no steps"):
        make_plan({"recipe": {"name": "empty"}})


@pytest.mark.parametrize(
    ("steps", "skip", "expected"),
    [
        (None, (), "a b d"),
        ("b", (), "b"),
        ("b:d", (), "b d"),
        ("c", (), "c"),
        (":b", (), "a b"),
        ("c:", (), "d"),
        ("a,3:4", (), "a d"),
        (None, ("b",), "a d"),
        ("a:b", "1", "b"),
    ],
)
def test_steps_are_chosen(steps: str | None, skip: Any, expected: str) -> None:
    table = [{"name": name, "task": "mark", "vis": "obs", "skip": name == "c"} for name in "abcd"]
    assert selected_steps(read_recipe({"step": table}), steps, skip) == expected.split()


@pytest.mark.parametrize(
    ("steps", "words"),
    [("x", "no step 'x'"), ("d:a", "runs backwards"), ("5", "no step '5'"), (",", "left to run")],
)
def test_steps_that_cannot_be_chosen(steps: str, words: str) -> None:
    table = [{"name": name, "task": "mark", "vis": "obs"} for name in "abcd"]
    with pytest.raises(InvalidSpec, match=words):
        selected_steps(read_recipe({"step": table}), steps)


def test_a_product_that_exists_is_found_before_the_first_step(recipe: Path, data: Path) -> None:
    (data / "out-a" / "loud").mkdir(parents=True)
    with pytest.raises(InvalidSpec, match=r"step 1 'shout', key 'outputvis'.*exists already"):
        make_plan(recipe)
    # A later step that works on it does not make it.
    assert make_plan(recipe, steps="mark_all").steps[1].chosen


def test_the_digest_says_what_a_step_does(recipe: Path) -> None:
    def digests(**changes: Any) -> list[str]:
        return [step.digest for step in make_plan(recipe, **changes).steps]

    plain = digests()
    assert plain == digests()
    assert plain == digests(set=["mark_all.mode=quick"]), "a default that is written out changes nothing"
    changed = digests(set=["mark_all.times=9"])
    assert [one == other for one, other in zip(plain, changed, strict=True)] == [True, False, True]


@pytest.mark.parametrize(
    ("argument", "environment", "written", "expected"),
    [
        ((None, None), {}, {}, {"backend": None}),
        ((None, None), {}, {"backend": "serial", "workers": 3}, {"backend": "serial", "workers": 3}),
        (
            (None, None),
            {"BACKEND": "multiprocessing", "WORKERS": "2"},
            {"backend": "serial", "workers": 3},
            {"backend": "multiprocessing"},
        ),
        (
            ("serial", 5),
            {"BACKEND": "multiprocessing", "WORKERS": "2"},
            {},
            {"backend": "serial", "workers": 5},
        ),
        (
            ("serial", None),
            {},
            {"workers": 3, "dask": {"scheduler": "x"}},
            {"backend": "serial", "workers": 3},
        ),
        (("serial", None), {}, {"workers": 3, "serial": {"workers": 4}}, {"backend": "serial", "workers": 4}),
    ],
)
def test_who_chooses_the_backend(
    data: Path, monkeypatch: pytest.MonkeyPatch, argument: Any, environment: Any, written: Any, expected: Any
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(f"PARALLACTIC_{key}", value)
    recipe = read_recipe({"executor": written, "step": [{"task": "mark", "vis": "obs"}]})
    assert executor_settings(recipe, *argument) == expected


def test_executor_settings_that_cannot_be(data: Path) -> None:
    step = [{"task": "mark", "vis": "obs"}]
    with pytest.raises(InvalidSpec, match="did you mean 'workers'"):
        executor_settings(read_recipe({"executor": {"worker": 3}, "step": step}), None, None)
    with pytest.raises(InvalidSpec, match="no backend 'seriel'; did you mean 'serial'"):
        executor_settings(read_recipe({"executor": {"backend": "seriel"}, "step": step}), None, None)


def test_a_parameter_called_as_a_key_of_the_step(data: Path) -> None:
    table = {"name": "first", "task": "mark", "vis": "obs", "parameters": {"note": "x"}}
    plan = make_plan({"step": [table]}, set=["first.parameters.times=3"])
    assert plan.steps[0].parameters == {"vis": "obs", "note": "x", "times": 3}
    with pytest.raises(InvalidSpec, match="'note' stands there twice"):
        make_plan({"step": [{**table, "note": "y"}]})
    with pytest.raises(InvalidSpec, match=r"step 1 'first', key 'name'.*mark has no parameter 'name'"):
        make_plan({"step": [table]}, set=["first.parameters.name=3"])


def test_steps_out_of_order_are_told_which_makes_what_they_need(data: Path) -> None:
    steps = [{"task": "mark", "vis": "loud"}, {"task": "shout", "vis": "obs", "outputvis": "./loud"}]
    with pytest.raises(InvalidSpec, match=r"'loud'; it is made by step 2 'shout', which comes later\."):
        make_plan({"step": steps})
    assert make_plan({"step": steps[::-1]}).steps[1].parameters["vis"] == "loud"
    with pytest.raises(InvalidSpec, match=r"made by step 1 'shout', which is not among the steps to run\."):
        make_plan({"step": steps[::-1]}, steps="mark")


def test_a_calibration_table_that_nobody_makes_is_told_before_the_first_step(data: Path) -> None:
    step = {"task": "apply", "vis": "obs", "gaintable": ["gain.cal"]}
    with pytest.raises(InvalidSpec, match=r"'gaintable': there is no calibration table 'gain\.cal'\."):
        make_plan({"step": [step]})


def test_what_is_no_recipe_and_what_names_no_steps(data: Path) -> None:
    with pytest.raises(InvalidSpec, match="recipe=5 must be the path of a TOML file"):
        make_plan(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec, match="steps=1 must be text"):
        make_plan({"step": [{"task": "mark", "vis": "obs"}]}, steps=1)  # type: ignore[arg-type]


def test_a_measurement_set_is_no_output_folder(data: Path) -> None:
    (data / "obs" / "table.dat").touch()
    with pytest.raises(InvalidSpec, match=r"output folder .*obs' is a MeasurementSet or another table"):
        make_plan({"recipe": {"output": "obs"}, "step": [{"task": "mark", "vis": "obs"}]})
    assert sorted(path.name for path in (data / "obs").iterdir()) == ["lines", "table.dat"]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"task": "calibrate", "caltable": "c", "solint": "5parsec"}, "solint='5parsec'"),
        ({"task": "calibrate", "caltable": "c", "gaintype": "K"}, "needs a refant"),
        ({"task": "calibrate", "caltable": "c", "parang": True}, "parang=True is not there yet"),
        ({"task": "setmodel"}, "setmodel needs fluxdensity"),
        ({"task": "setmodel", "fluxdensity": 1.0, "standard": "Perley-Butler 2017"}, "standard="),
        ({"task": "apply", "gaintable": []}, "at least one gaintable"),
        ({"task": "apply", "gaintable": "obs", "parang": True}, "parang=True is not there yet"),
    ],
    ids=str,
)
def test_what_a_task_cannot_do_is_told_before_the_first_step(
    data: Path, step: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidSpec, match=f"step 1 '{step['task']}'.*{words}"):
        make_plan({"step": [{"vis": "obs", **step}]})
