"""Commands in messages, as the user types them: with make, with the installed program, or with
Python.
"""

import os
import re
import sys
from pathlib import Path

PROGRAM = "keras-text-tuning"  # Console command of the installed package.
# Variables of make whose names differ from the names of their flags.
VARIABLES = {
    "label_column": "LABEL",
    "n_trials": "TRIALS",
    "text_column": "TEXT",
    "timeout_seconds": "TIMEOUT",
}
_FLAGS = {variable: flag for flag, variable in VARIABLES.items() if variable != "TEXT"}
_MAKE = re.compile(r"`make (?!install|serve)([a-z][a-z-]*)((?: [A-Z_]+=[^\s`]*)*)`")


def typed(command: str, **values: object) -> str:
    """Return a command with its flags as the user types it: `make report STUDY=s` if make started
    this program, else `keras-text-tuning report --study s` or `python -m tuning report …`.
    """
    quoted = {name: f'"{value}"' if " " in str(value) else value for name, value in values.items()}
    if "MAKELEVEL" in os.environ:
        words = [f"{VARIABLES.get(name, name.upper())}={value}" for name, value in quoted.items()]
        return " ".join(["make", command, *words])
    is_installed = Path(sys.argv[0]).name == PROGRAM
    flags = [f"--{name.replace('_', '-')} {value}".rstrip() for name, value in quoted.items()]
    return " ".join([PROGRAM if is_installed else "python -m tuning", command, *flags])


def with_commands(message: str) -> str:
    """Return a message in which the commands of make, in backticks, are as the user types them.

    The message of an error is made where the error is found, whoever calls it. Targets that only
    make has, such as `make install-trackers`, are not changed.
    """
    return _MAKE.sub(_as_typed, message)


def _as_typed(command: re.Match[str]) -> str:
    pairs = (word.partition("=") for word in command[2].split())
    values = {_FLAGS.get(name, name.lower()): value for name, _, value in pairs}
    return f"`{typed(command[1], **values)}`"
