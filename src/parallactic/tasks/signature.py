"""A task's signature: what it takes, in which words that is explained, and whether a call fits it.

The Python call, the recipe and the command line are all checked and explained from here.
"""

from __future__ import annotations

import inspect
import os
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, TypedDict, Union, Unpack, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from parallactic.errors import InvalidSpec
from parallactic.spec import near_match

__all__ = [
    "REQUIRED",
    "SELECTION",
    "Parameter",
    "SelectionParameters",
    "TaskSignature",
    "describe",
    "from_toml",
    "takes_list",
]

REQUIRED = inspect.Parameter.empty
"""The default of a parameter that has none."""


class SelectionParameters(TypedDict, total=False):
    """The parameters that choose a part of the data, the same for every task.

    A task takes them all by ``**selection: Unpack[SelectionParameters]`` and hands them on as
    ``Selection(**selection)``; a task that takes only some names those.
    """

    field: str
    spw: str
    scan: str
    antenna: str
    timerange: str
    uvrange: str
    correlation: str
    intent: str
    observation: str
    msselect: str


SELECTION: Mapping[str, str] = types.MappingProxyType(
    {
        "field": "Fields by name, wildcard or number: '3C286', 'J10*', '0,2~4'. Empty: all.",
        "spw": "Spectral windows and channels: '0', '0:5~59', '*:1.3~1.4GHz'. Empty: all.",
        "scan": "Scan numbers: '1,3~5'. Empty: all.",
        "antenna": "Antennas and baselines: 'ea01', 'ea01&ea02', '*&*', '!ea05'. Empty: all.",
        "timerange": "Times in UTC: '2021/03/04/10:00:00~10:05:00', '>10:00:00'. Empty: all.",
        "uvrange": "Baseline lengths: '<2km', '1~50klambda'. Empty: all.",
        "correlation": "Correlations: 'RR,LL', 'XX'. Empty: all.",
        "intent": "Scan intents, with wildcards: '*CALIBRATE_PHASE*'. Empty: all.",
        "observation": "Observation numbers: '0'. Empty: all.",
        "msselect": "A TaQL condition for what the others cannot say: 'ANTENNA1 < 4'. Empty: none.",
    }
)
"""What each selection parameter means; said once, shown by every task."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a task.

    Parameters
    ----------
    name
        As in the Python signature.
    hint
        Its type, as annotated.
    default
        Its default, or ``REQUIRED``.
    help
        Its text in the docstring's "Parameters" section.
    positional
        Whether a call may give it by position.
    """

    name: str
    hint: Any
    default: Any
    help: str
    positional: bool

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is REQUIRED

    @property
    def selects(self) -> bool:
        """Whether it is one of the shared selection parameters."""
        return self.name in SELECTION

    @cached_property
    def choices(self) -> tuple[Any, ...]:
        """The values of its ``Literal``, if it has one."""
        return tuple(_choices(self.hint))

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        try:
            return TypeAdapter(self.hint, config=ConfigDict(arbitrary_types_allowed=True))
        except Exception as error:
            # pydantic refuses some configurations for types that bring their own (dataclasses, models).
            if "config" not in str(error):
                raise
            return TypeAdapter(self.hint)

    def checked(self, value: Any, task: str) -> Any:
        """Return `value` as the annotated type.

        Raises
        ------
        InvalidSpec
            If it is not of that type and cannot be turned into it without loss.
        """
        value = _as_python(value, self.hint)
        if self.selects:
            value = _as_selection(value)
        if isinstance(value, bool) and not _takes_bool(self.hint):
            raise InvalidSpec(f"{task}: {self.name}={value!r} must be {describe(self.hint)}.")
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            raise InvalidSpec(f"{task}: {self._sentence(value, error)}") from None

    def parsed(self, text: str, task: str) -> Any:
        """Return what `text`, from a command line, means for this parameter.

        It is read as a TOML value (``3``, ``true``, ``[1, 2]``) where that fits, else as plain text, else as
        a list with commas between its items (``1,0,0,0``).

        Raises
        ------
        InvalidSpec
            If none of these is of the parameter's type.
        """
        value = from_toml(text)
        try:
            return self.checked(value, task)
        except InvalidSpec as error:
            first = error
        for other in (text, [from_toml(item.strip()) for item in text.split(",")]):
            try:
                return self.checked(other, task)
            except InvalidSpec:
                continue
        raise first

    def parsed_list(self, texts: Iterable[str], task: str) -> Any:
        """Return what several texts mean together: a list, each read as by :meth:`parsed`.

        Raises
        ------
        InvalidSpec
            If such a list is not of the parameter's type.
        """
        items = list(texts)
        try:
            return self.checked([from_toml(item) for item in items], task)
        except InvalidSpec:
            return self.checked(items, task)

    def _sentence(self, value: Any, error: ValidationError) -> str:
        shown = f"{self.name}={_short(value)}"
        own = next((item for item in error.errors() if item["type"] == "value_error"), None)
        if own is not None:
            return f"{shown}: {own['ctx']['error']}"
        limits = [item for item in error.errors() if item["type"].startswith(("greater", "less", "too_"))]
        if limits:
            place = "".join(f"[{part}]" for part in limits[0]["loc"] if isinstance(part, int))
            wanted = re.sub(r"^Input |^\w+ (?=should)", "", limits[0]["msg"]).replace("should", "must", 1)
            return f"{shown}: {self.name}{place} {wanted}."
        if self.choices and isinstance(value, str):
            sentence = f"{shown} is not one of {', '.join(map(repr, self.choices))}"
            others = _without_choices(self.hint)
            sentence += f", nor {' nor '.join(map(describe, others))}" if others else ""
            return sentence + near_match(value, [item for item in self.choices if isinstance(item, str)])
        return f"{shown} must be {describe(self.hint)}."


class TaskSignature:
    """What a task takes, read from the function itself.

    Parameters
    ----------
    function
        The task. Its annotations must be there at run time (not under ``TYPE_CHECKING`` alone).
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = function.__name__
        doc = inspect.getdoc(function) or ""
        self.summary, self.description, texts = _read_docstring(doc)
        hints = get_type_hints(function, include_extras=True)
        self.parameters: dict[str, Parameter] = {}
        plain = inspect.signature(function)
        shown: list[inspect.Parameter] = []
        for item in plain.parameters.values():
            if item.kind is inspect.Parameter.VAR_KEYWORD and get_origin(hints.get(item.name)) is Unpack:
                (more,) = get_args(hints[item.name])
                for name, hint in get_type_hints(more, include_extras=True).items():
                    self._add(name, hint, "", texts, positional=False)
                    shown.append(
                        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default="", annotation=hint)
                    )
            elif item.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
                raise TypeError(f"task {self.name}: every parameter needs a name; {item} has none.")
            else:
                hint = hints.get(item.name, Any)
                positional = item.kind is not inspect.Parameter.KEYWORD_ONLY
                self._add(item.name, hint, item.default, texts, positional=positional)
                shown.append(item.replace(annotation=hint))
        shown.sort(key=lambda item: item.kind)
        self.signature = plain.replace(parameters=shown)

    def _add(self, name: str, hint: Any, default: Any, texts: dict[str, str], *, positional: bool) -> None:
        text = texts.get(name) or SELECTION.get(name, "")
        self.parameters[name] = Parameter(name, hint, default, text, positional)

    def check_names(self, names: Iterable[str]) -> None:
        """Raise InvalidSpec for the first of `names` that is no parameter."""
        for name in names:
            if name not in self.parameters:
                raise InvalidSpec(
                    f"{self.name} has no parameter {name!r}{near_match(name, self.parameters)} "
                    f"It takes {', '.join(self.parameters)}."
                )

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the call's parameters by name, checked and converted; defaults are not added.

        Raises
        ------
        InvalidSpec
            If a parameter is unknown, missing, given twice or of the wrong type.
        """
        given = dict(
            zip((item.name for item in self.parameters.values() if item.positional), args, strict=False)
        )
        if len(given) < len(args):
            raise InvalidSpec(
                f"{self.name} takes {len(given)} parameters by position, {len(args)} were given."
            )
        self.check_names(kwargs)
        twice = sorted(given.keys() & kwargs.keys())
        if twice:
            raise InvalidSpec(f"{self.name} was given {twice[0]!r} twice, by position and by name.")
        given.update(kwargs)
        missing = [item.name for item in self.parameters.values() if item.required and item.name not in given]
        if missing:
            raise InvalidSpec(f"{self.name} needs {' and '.join(repr(name) for name in missing)}.")
        return {name: self.parameters[name].checked(value, self.name) for name, value in given.items()}


def describe(hint: Any, *, plural: bool = False) -> str:
    """Return in words what values a type takes: ``"a whole number or a list of texts"``."""
    origin = get_origin(hint)
    if origin is Annotated:
        words = next((item for item in hint.__metadata__ if isinstance(item, str)), None)
        return words if words and not plural else describe(hint.__origin__, plural=plural)
    if origin in (Union, types.UnionType):
        parts = [describe(item, plural=plural) for item in get_args(hint)]
        return " or ".join(dict.fromkeys(parts))
    if origin is Literal:
        return f"one of {', '.join(repr(item) for item in get_args(hint))}"
    if hint is None or hint is type(None):
        return "None"
    inner = [item for item in get_args(hint) if item is not Ellipsis]
    if _is_list(hint):
        if not inner:
            return "lists" if plural else "a list"
        words = " or ".join(dict.fromkeys(describe(item, plural=True) for item in inner))
        count = f" of {len(inner)}" if origin is tuple and Ellipsis not in get_args(hint) else ""
        return f"{'lists' if plural else 'a list'}{count or ' of'} {words}"
    if isinstance(origin or hint, type) and issubclass(origin or hint, Mapping):
        return "tables" if plural else "a table of names and values"
    names = {
        int: "whole number",
        float: "number",
        str: "text",
        bool: "true or false",
        complex: "complex number",
    }
    name = names.get(hint, getattr(hint, "__name__", str(hint)))
    if hint is bool:
        return name
    if hint in names:
        return f"{name}s" if plural else f"a {name}"
    return f"{name} objects" if plural else f"an object of type {name}"


def _choices(hint: Any) -> Iterable[Any]:
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif get_origin(hint) is Annotated:
        yield from _choices(hint.__origin__)
    elif get_origin(hint) in (Union, types.UnionType):
        for item in get_args(hint):
            yield from _choices(item)


def _without_choices(hint: Any) -> list[Any]:
    if get_origin(hint) not in (Union, types.UnionType):
        return []
    return [item for item in get_args(hint) if get_origin(item) is not Literal]


def takes_list(hint: Any) -> bool:
    """Tell whether a type, or one of those it is a union of, is a list."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(takes_list(item) for item in get_args(hint))
    return takes_list(hint.__origin__) if get_origin(hint) is Annotated else _is_list(hint)


def _is_list(hint: Any) -> bool:
    kind = get_origin(hint) or hint
    return (
        isinstance(kind, type) and issubclass(kind, Iterable) and not issubclass(kind, str | bytes | Mapping)
    )


def _takes_bool(hint: Any) -> bool:
    if hint in (bool, Any, object) or get_origin(hint) is Literal:
        return True
    return any(_takes_bool(item) for item in get_args(hint) if not _is_list(item))


def _as_python(value: Any, hint: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__ == "numpy" and "ndarray" not in str(hint) and hasattr(value, "tolist"):
        return value.tolist()
    return value


def from_toml(text: str) -> Any:
    """Return what a text means as a TOML value (``3``, ``true``, ``[1, 2]``), else the plain text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return str(text)


def _as_selection(value: Any) -> Any:
    """Let ``scan=3`` and ``field=["3C286", 2]`` say what ``"3"`` and ``"3C286,2"`` say."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


_SECTION = re.compile(r"^([A-Z]\w+(?: \w+)?)\n-{3,}$", re.MULTILINE)
_ENTRY = re.compile(r"^(\*{0,2}\w+(?:, *\*{0,2}\w+)*)(?: *:.*)?$")


def _read_docstring(doc: str) -> tuple[str, str, dict[str, str]]:
    """Split a NumPy docstring into its first sentence, the rest of its text, and each parameter's text."""
    parts = _SECTION.split(doc)
    summary, _, description = parts[0].strip().partition("\n\n")
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in sections.get("Parameters", "").splitlines():
        entry = _ENTRY.match(line)
        if entry and not line.startswith(" "):
            names = [name.strip("* ") for name in entry[1].split(",")]
        elif names:
            for name in names:
                texts[name] = f"{texts.get(name, '')} {line.strip()}".strip()
    return " ".join(summary.split()), description.strip(), texts
