"""A subcommand for each task, made from its signature and docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Annotated, Any, get_args, get_origin

import typer
from rich.markup import escape

from parallactic.cli.console import Json, guarded, show
from parallactic.cli.texts import EXAMPLES
from parallactic.errors import InvalidSpec
from parallactic.tasks.base import TASKS, Task, signature_of
from parallactic.tasks.signature import Parameter, TaskSignature, takes_list

__all__ = ["Backend", "Workers", "add_task", "marked_up"]

_POSITIONAL = 2
"""How many of the required parameters may stand without their names."""

_WIDEST = 16
"""Letters that may stand for a value, so that there is room beside them for the explanation."""

PARAMETERS, SWITCHES, SELECTION, RUNNING = "Parameters", "Switches", "Selection", "Running"

Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="Where to run; see [cyan]parallactic backends[/].",
        rich_help_panel=RUNNING,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-j", metavar="N", min=1, help="How many workers.", rich_help_panel=RUNNING),
]


def add_task(app: typer.Typer, name: str, panel: str) -> None:
    """Add the subcommand of a task; this imports the task."""
    task = TASKS[name]
    signature = signature_of(task)
    examples = EXAMPLES.get(name, ())
    end = "[bold]For example[/]\n\n" + "\n\n".join(f"[cyan]{escape(text)}[/]" for text in examples)
    app.command(
        name,
        help=f"{marked_up(signature.summary)}\n\n{marked_up(signature.description)}",
        epilog=end if examples else None,
        rich_help_panel=panel,
        no_args_is_help=any(item.required for item in signature.parameters.values()),
    )(_command(task, signature))


def _command(task: Task, signature: TaskSignature) -> Callable[..., None]:
    placed = [item for item in signature.parameters.values() if item.required and item.positional][
        :_POSITIONAL
    ]
    runs = "executor" in signature.parameters

    def command(*, quiet: bool, **words: Any) -> None:
        parameters = _parameters(signature, placed, words)
        with ExitStack() as stack:
            if runs and (words["backend"] or words["workers"]):
                from parallactic.executor import Executor

                # Checked before any worker starts, as the task itself does again.
                signature.bind((), parameters)
                executor = Executor(backend=words["backend"], workers=words["workers"])
                parameters["executor"] = stack.enter_context(executor)
            result = task(**parameters)
        show(result, as_json=words["json"], quiet=quiet)

    command.__name__ = signature.name
    options = [_argument(item) for item in placed]
    options += [
        _option(item, hidden=item in placed)
        for item in signature.parameters.values()
        if item.name != "executor"
    ]
    shared: dict[str, tuple[Any, Any]] = (
        {"backend": (Backend, None), "workers": (Workers, None)} if runs else {}
    )
    shared |= {"json": (Json, False)}
    options += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in shared.items()
    ]
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return guarded(command)


def _parameters(
    signature: TaskSignature, placed: Sequence[Parameter], words: dict[str, Any]
) -> dict[str, Any]:
    """Return the parameters that the words of a command line mean."""
    given: dict[str, Any] = {}
    for item in signature.parameters.values():
        word = words.get(f"option_{item.name}")
        if word is None or word == []:
            continue
        if isinstance(word, list):
            given[item.name] = (
                item.parsed_list(word, signature.name)
                if len(word) > 1
                else item.parsed(word[0], signature.name)
            )
        else:
            given[item.name] = word if isinstance(word, bool) else item.parsed(word, signature.name)
    # A required parameter given by its name leaves its place to the next.
    free = [item for item in placed if item.name not in given]
    without_name = [words[f"place_{item.name}"] for item in placed if words[f"place_{item.name}"] is not None]
    if len(without_name) > len(free):
        raise InvalidSpec(
            f"{signature.name}: {without_name[-1]!r} is one word too many; name the option it is for."
        )
    for item, word in zip(free, without_name, strict=False):
        given[item.name] = item.parsed(word, signature.name)
    return given


def _argument(item: Parameter) -> inspect.Parameter:
    help_text = f"{marked_up(item.help)} [dim](or --{item.name})[/]"
    annotation = Annotated[
        str | None, typer.Argument(metavar=item.name.upper(), help=help_text, show_default=False)
    ]
    return inspect.Parameter(
        f"place_{item.name}", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _option(item: Parameter, *, hidden: bool) -> inspect.Parameter:
    flag = f"--{item.name}"
    switch = item.hint is bool
    kind: Any = bool if switch else list[str] if takes_list(item.hint) else str
    metavar, choices = ("", "") if switch else _metavar(item)
    panel = SELECTION if item.selects else SWITCHES if switch else PARAMETERS
    annotation = Annotated[
        kind | None,
        typer.Option(
            f"{flag}/--no-{item.name}" if switch else flag,
            help=" ".join(filter(None, (marked_up(item.help), choices, _default(item)))),
            metavar=metavar,
            show_default=False,
            rich_help_panel=panel,
            autocompletion=_completion(item),
            hidden=hidden,
        ),
    ]
    return inspect.Parameter(
        f"option_{item.name}", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _metavar(item: Parameter) -> tuple[str, str]:
    """Return what stands for the value, and the choices where these are too many to stand there."""
    if item.choices:
        choices = [str(choice) for choice in item.choices if choice not in (None, "")]
        joined = "|".join(choices)
        if len(joined) <= _WIDEST:
            return joined, ""
        told = all(choice in item.help for choice in choices)
        return item.name.upper()[:_WIDEST], "" if told else escape(f"One of {', '.join(choices)}.")
    return _short(item.hint), ""


def _short(hint: Any) -> str:
    """Return a type in one or two capital words, such as ``ANGLE`` or ``X,X,...``."""
    if get_origin(hint) is Annotated:
        words = next((text for text in hint.__metadata__ if isinstance(text, str)), "")
        match = re.match(r"an? ([a-z ]+?)(?: such as.*)?$", words)
        return match[1].upper() if match else _short(hint.__origin__)
    if hint in (int, float, str, bool):
        return {int: "N", float: "X", str: "TEXT", bool: "true|false"}[hint]
    if hint is None or hint is type(None):
        return ""
    inner = [item for item in get_args(hint) if item is not Ellipsis]
    if takes_list(hint) and get_origin(hint) in (list, tuple):
        one = _short(inner[0]) if inner else "X"
        return f"{one},..."
    parts = dict.fromkeys(filter(None, (_short(item) for item in inner)))
    return "|".join(parts) or "VALUE"


def _default(item: Parameter) -> str:
    if item.required or item.default in (None, "", [], ()):
        return ""
    if isinstance(item.default, list | tuple):
        text = ",".join(map(str, item.default))
    else:
        text = str(item.default).lower() if isinstance(item.default, bool) else str(item.default)
    return f"[dim]\\[default: {escape(text)}][/]"


def _completion(item: Parameter) -> Callable[[str], list[str]] | None:
    if not item.choices:
        return None
    choices = [str(choice) for choice in item.choices]

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def marked_up(text: str) -> str:
    """Turn a docstring's text into rich markup: brackets stay, what stands in backticks gets colour."""
    paragraphs = [escape(" ".join(part.split())) for part in text.split("\n\n")]
    return re.sub(r"(?::\w+:)?(`+)~?([^`]+)\1", r"[cyan]\2[/]", "\n\n".join(paragraphs))
