"""The command line: its commands and its exit status."""

from __future__ import annotations

import logging
import os
import sys

import typer
from rich.markup import escape

from tuning.cli.confirm import INTERRUPTED, confirm
from tuning.cli.data import data_card, spaces
from tuning.cli.exchange import (
    enqueue,
    export_hyperparameters,
    import_kerastuner,
    import_optuna,
)
from tuning.cli.exports import export_best, predict, serve
from tuning.cli.studies import clean, compare, dashboard, report, status
from tuning.cli.tracking import track
from tuning.cli.tune import tune
from tuning.commands import with_commands
from tuning.display.console import error_console
from tuning.errors import SpaceBug, TuningError
from tuning.processes import BACKEND

app = typer.Typer(
    help="Hyperparameter tuning for Keras text classifiers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _command in (
    *(tune, confirm, compare, dashboard, report, export_best, predict, serve),
    *(import_kerastuner, import_optuna, enqueue, export_hyperparameters),
    *(track, status, clean, data_card, spaces),
):
    app.command()(_command)


def main() -> None:
    """Run the command line.

    The exit status is 0 after success, 1 after a `TuningError`, whose message is printed, 2 after
    flags that can't be parsed, and 130 after Ctrl-C. Any other exception is a bug, and is raised.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.update(BACKEND)
    logging.captureWarnings(True)
    # A log that can't be written must neither stop a command nor print a traceback for each line.
    logging.raiseExceptions = False
    try:
        app()
    except SpaceBug as bug:
        if bug.traceback:
            error_console.print(escape(bug.traceback.rstrip()), style="dim")
        _fail(str(bug))
    except TuningError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        error_console.print("Interrupted.")
        sys.exit(INTERRUPTED)


def _fail(message: str) -> None:
    error_console.print(f"[bold red]error:[/] {escape(with_commands(message))}")
    sys.exit(1)
