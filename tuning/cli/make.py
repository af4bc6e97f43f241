"""The variables of make as flags. `make tune TRIALS=5` runs `python -m tuning tune`, and make puts
the names of the variables that its user typed into `MAKEFLAGS`, and their values into the
environment. So no value, which may contain a password, is in the list of processes.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuning.commands import VARIABLES
from tuning.display.console import warn
from tuning.errors import ArgumentError

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.argument import Argument

# Variables of the Makefile itself.
OF_THE_MAKEFILE = {"BOOTSTRAP", "PYTHON", "SHELL", "VENV"}


class UnknownVariableError(ArgumentError):
    """No command has a variable that make's user typed."""


def add_variables(app: App, words: Sequence[str]) -> list[str]:
    """Return the words of a command line, and after them the variables that make's user typed, as
    flags of the command.

    Raises:
        UnknownVariableError: no command has such a variable.
    """
    is_named = bool(words) and words[0] in commands_of(app)
    if "MAKELEVEL" not in os.environ or not (is_named or app.default_command):
        return [*words]
    name, command = (words[0], app[words[0]]) if is_named else (app.name[0], app)
    typed = {name: os.environ.get(name, "") for name in typed_variables()}
    options = variables_of(command)
    if "TEXT_COLUMN" in options and typed.get("FILE"):
        # `predict` of a file: TEXT is the column of texts, as in all other commands.
        options["TEXT"] = options.pop("TEXT_COLUMN")
    # A make that calls another make also hands over its own variables, which may have any names.
    if os.environ["MAKELEVEL"] == "1":
        _check(app, {*typed} - {*options} - OF_THE_MAKEFILE, used_by=name)
    flags = []
    for variable, option in options.items():
        is_list = option.token_count()[1]  # DROP_STARS="2 3" has two values.
        value = typed.get(variable, "")
        flags += [f"{option.name}={each}" for each in (value.split() if is_list else [value])]
    return [*words, *(flag for flag in flags if not flag.endswith("="))]


def typed_variables() -> list[str]:
    """Return the names of the variables in make's command line."""
    _, _, assignments = f" {os.environ.get('MAKEFLAGS', '')}".partition(" -- ")
    # make escapes spaces and backslashes with a backslash, and no quotes.
    words = shlex.shlex(assignments, posix=True)
    words.whitespace_split, words.quotes, words.commenters = True, "", ""
    return [word.partition("=")[0] for word in words]


def variables_of(command: App) -> dict[str, Argument]:
    """Return the options of a command by their variables. In `predict`, TEXT is the text."""
    options: dict[str, Argument] = {}
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if argument.show and not argument.children:
            name = argument.name.removeprefix("--").replace("-", "_")
            variable = VARIABLES.get(name, name.upper())
            options[name.upper() if variable in options else variable] = argument
    return options


def help_of(option: Argument) -> str:
    """Return the description of an option in one line."""
    return " ".join((option.parameter.help or "").split())


def commands_of(app: App) -> dict[str, App]:
    return {name: app[name] for name in app if not name.startswith("-")}


def _check(app: App, others: set[str], *, used_by: str) -> None:
    commands = commands_of(app).values() or [app]
    known = {variable for command in commands for variable in variables_of(command)}
    if unknown := others - known:
        near = {n for name in unknown for n in difflib.get_close_matches(name.upper(), known, n=1)}
        hint = f" Possible variables: {', '.join(sorted(near))}." if near else ""
        raise UnknownVariableError(
            "A variable of make must be in docs/commands.md; received"
            f" {', '.join(sorted(unknown))}.{hint}"
        )
    if ignored := sorted(name for name in others if os.environ.get(name)):
        warn(f"{used_by} ignores {', '.join(ignored)}, which other commands take.")
