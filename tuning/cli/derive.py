"""Commands from signatures: the parameters of a function are the flags of a command, and the
function's docstring is their help. No option is declared twice.

A flag takes the first type of its parameter's annotation, which the command line can give: a text
for `data: str | Path | pd.DataFrame | Data`. A parameter that may be a group, such as `Data` or
`Workers`, also has the flags of the group's fields. Flags that a function does not describe have
the help of `load_study`, and those of `compare` also that of `tune`.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import docstring_parser
import typer

from tuning.api.comparison import compare
from tuning.api.search import tune
from tuning.api.study import Study, load_study
from tuning.commands import DEFAULT_RESULTS, INTERRUPTED, VARIABLES, use_place
from tuning.config import Data, Limits, Workers
from tuning.display.console import error_console, warn

GROUPS = {"Data": Data, "Limits": Limits, "Workers": Workers}
KINDS = {
    "str": str,
    "Path": Path,
    "int": int,
    "float": float,
    "bool": bool,
    "Sequence[str]": list[str],
    "Sequence[float]": list[float],
}
# Values that only Python can give.
ONLY_PYTHON = ("texts", "labels")
# Flags of version 0.1.0 whose names differ from those of the parameters.
OTHER_FLAGS = {
    "configurations": "--file",
    "slice_column": "--slice",
    "source": "--from",
}
YES, NO = ("1", "y", "yes", "true", "on"), ("0", "n", "no", "false", "off")
# Values that may contain a password, which must not be visible in the list of processes.
FROM_ENVIRONMENT = {"log_to": ["LOG_TO"], "source": ["FROM", "SOURCE"], "storage": ["STORAGE"]}
# Variables that other programs set: make's user must type them.
NOT_FROM_ENVIRONMENT = ("GROUP", "HOST", "NAME", "PATH", "PORT", "TEST", "TIME")
ASSIGNMENT = re.compile(r"([A-Za-z][A-Za-z0-9_]*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Option:
    """A flag of a command.

    Attributes:
        name: name of the parameter or of the field.
        default: its default; `inspect.Parameter.empty` if the flag is required.
        parameter: the parameter of the function that takes the value, or the value's group.
        group: the class of the group that has this field; None if the parameter takes the value.
    """

    name: str
    kind: Any
    default: Any
    help: str
    parameter: str
    group: type | None = None

    def as_parameter(self) -> inspect.Parameter:
        # A parameter `json` would hide the module.
        name = "json" if self.name == "as_json" else self.name.replace("_", "-")
        flag = f"--{name}"
        if self.kind is bool and self.default is not False:
            flag += f"/--no-{name}"
        flags = [flag, *filter(None, [OTHER_FLAGS.get(self.name)])]
        option = typer.Option(
            *flags, help=self.help, envvar=FROM_ENVIRONMENT.get(self.name), show_default=False
        )
        default = None if self.default == () else self.default
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[self.kind if default is not None else self.kind | None, option],
        )


def options_of(function: Callable[..., Any]) -> Iterator[Option]:
    """Yield the flags of a function, those of a group after the parameter that takes the group."""
    of_place = descriptions(load_study)
    of_search = descriptions(tune) if function is compare else {}
    shared = {**of_search, **of_place, "study": of_place["name"]}
    texts = {**shared, **descriptions(function)}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or name in ONLY_PYTHON:
            continue
        # Annotations are texts, because some of their types, such as a data frame, are imported for
        # mypy alone: `--help` must be fast.
        kinds = str(parameter.annotation).split(" | ")
        if kinds[0] in KINDS:
            yield Option(name, KINDS[kinds[0]], parameter.default, texts[name], name)
        for group in filter(None, map(GROUPS.get, kinds)):
            yield from _fields_of(group, name)


def _fields_of(group: type, parameter: str) -> Iterator[Option]:
    texts = descriptions(group)
    for number, item in enumerate(fields(group)):
        # The first field, if it can be given by position, has the parameter's own flag.
        if item.name in ONLY_PYTHON or (number == 0 and not item.kw_only):
            continue
        kind = KINDS[str(item.type).split(" | ")[0]]
        default = None if item.default is MISSING else item.default
        yield Option(item.name, kind, default, texts[item.name], parameter, group)


def descriptions(function: Callable[..., Any]) -> Mapping[str, str]:
    parsed = docstring_parser.parse(inspect.getdoc(function) or "")
    return {
        item.arg_name: text[:1].upper() + text[1:]
        for item in parsed.params
        if (text := " ".join((item.description or "").replace("`", "").split()))
    }


def command(function: Callable[..., Any], then: Callable[[Any], None] | None = None) -> Any:
    """Return the command of a function; `then` prints the function's result."""
    options = [*options_of(function)]

    def run(**values: Any) -> None:
        use_place(values.get("results") or DEFAULT_RESULTS, values.get("storage"))
        result = function(**_arguments(options, values))
        if then:
            then(result)

    return _named(run, function, options)


def study_command(
    method: Callable[..., Any], then: Callable[[Study, Any], None] | None = None
) -> Any:
    """Return the command of a method of `Study`, or of a function whose first argument is a study,
    which also has the flags that find the study.
    """
    own = [*options_of(method)]
    place = [
        Option("study", str, None, descriptions(load_study)["name"], "study"),
        *(option for option in options_of(load_study) if option.name != "name"),
    ]

    def run(*, study: str | None, results: str, storage: str | None, **values: Any) -> None:
        use_place(results, storage)
        opened = load_study(study, results=results, storage=storage)
        result = method(opened, **_arguments(own, values))
        if then:
            then(opened, result)

    return _named(run, method, [place[0], *own, *place[1:]])


def _arguments(options: Sequence[Option], values: Mapping[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    groups: dict[tuple[str, type], dict[str, Any]] = {}
    for option in options:
        value = values[option.name]
        # A group is built only if one of its flags is given: `workers` may stay a number.
        if value is None or (option.group and value == option.default):
            continue
        if option.group:
            groups.setdefault((option.parameter, option.group), {})[option.name] = value
        else:
            arguments[option.parameter] = value
    for (parameter, group), fields_given in groups.items():
        first = [arguments[parameter]] if parameter in arguments else []
        arguments[parameter] = group(*first, **fields_given)
    return arguments


def _named(
    call: Callable[..., None], function: Callable[..., Any], options: Sequence[Option]
) -> Any:
    def run(**values: Any) -> None:
        try:
            call(**values)
        except KeyboardInterrupt as interrupt:
            # typer ends with status 130 and without a word. `end_script` gives a reason, because
            # the search has printed a sentence.
            if not interrupt.args:
                error_console.print(INTERRUPTED)
            raise

    named: Any = run
    parsed = docstring_parser.parse(inspect.getdoc(function) or "")
    named.__name__, named.function = function.__name__, function
    parts = filter(None, [parsed.short_description, parsed.long_description])
    named.__doc__ = "\n\n".join(parts).replace("`", "")
    parameters = [option.as_parameter() for option in options]
    named.__signature__ = inspect.Signature(parameters)
    named.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return named


def with_flags(app: typer.Typer, words: Sequence[str]) -> list[str]:
    """Return the words of a command line with the variables of make, `NAME=value`, as flags. The
    environment has the variables that make's user exported.
    """
    commands = typer.main.get_group(app).commands
    if not words or words[0] not in commands:
        return [*words]
    # Another Makefile may have flags in its line, with values such as `--data year=2024/a.csv`.
    matches = [
        None if before.startswith("--") else ASSIGNMENT.fullmatch(word)
        for before, word in itertools.pairwise(words)
    ]
    typed: dict[str, str] = {match[1]: match[2] for match in matches if match}
    known = {name for each in commands.values() for name in variables_of(each.params)}
    unknown = {*typed} - known
    # A make that calls another make also hands over its own variables, which may have any names.
    is_first = os.environ["MAKELEVEL"] == "1"
    if unknown and is_first:
        near = {n for name in unknown for n in difflib.get_close_matches(name.upper(), known, n=1)}
        hint = f" (possible variables: {', '.join(sorted(near))})" if near else ""
        raise typer.BadParameter(
            f"unknown variable: {', '.join(sorted(unknown))}{hint}. docs/commands.md lists the"
            " variables."
        )
    own = variables_of(commands[words[0]].params)
    ignored = {name for name in {*typed} & known - {*own} if typed[name]}
    if ignored and is_first:
        warn(f"{words[0]} ignores {', '.join(sorted(ignored))}, which other commands take.")
    exported = {
        name: value for name, value in os.environ.items() if name not in NOT_FROM_ENVIRONMENT
    }
    if words[0] == "predict" and (typed.get("FILE") or exported.get("FILE")):
        # With a file, TEXT is the column of texts, as in all other commands; without a file it is
        # the text to label.
        own["TEXT"] = own["TEXT_COLUMN"]
    flags = [word for word, match in zip(words, [None, *matches], strict=True) if not match]
    for name, param in own.items():
        value = typed.get(name, exported.get(name, ""))
        # typer reads the variables in `FROM_ENVIRONMENT` itself.
        if not value or param.name in FROM_ENVIRONMENT:
            continue
        if param.is_flag:
            on = value.lower() in YES
            if not on and value.lower() not in NO:
                raise typer.BadParameter(f"{name} must be 1 or 0; received {value!r}.")
            flags += param.opts[:1] if on else param.secondary_opts[:1]
            continue
        for part in value.split() if param.multiple else [value]:
            flags += [param.opts[0], part]
    return flags


def variables_of(params: Sequence[Any]) -> dict[str, Any]:
    by_name: dict[str, Any] = {}
    for param in params:
        for flag in [VARIABLES.get(param.name, ""), *param.opts]:
            by_name.setdefault(flag.removeprefix("--").replace("-", "_").upper(), param)
    by_name.pop("", None)
    return by_name
