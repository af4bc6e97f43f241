"""A function as a program: its parameters are flags and variables of make."""

import os
import sys
from collections.abc import Callable
from typing import Any

from cyclopts import App

from tuning.cli.make import add_variables
from tuning.errors import ArgumentError, TuningError

# TensorFlow reads this variable when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def program(function: Callable[..., Any]) -> App:
    app = App("benchmarks", version_flags=())
    app.default(function)
    return app


def run(app: App) -> None:
    # Exit 1 is a `TuningError`, and 2 a wrong flag. Any other exception is a bug, and is raised.
    try:
        app(add_variables(app, sys.argv[1:]))
    except ArgumentError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except TuningError as error:
        sys.exit(str(error))
