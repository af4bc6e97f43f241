"""The command line: its commands and its exit status."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from tuning.api.comparison import compare
from tuning.api.search import tune
from tuning.api.study import Study
from tuning.cli.derive import command, study_command, with_flags
from tuning.cli.exports import predict, serve
from tuning.cli.studies import dashboard, data_card, spaces, status, track
from tuning.commands import of_study, typed
from tuning.display.console import console, error_console, print_traceback, printable, warn
from tuning.display.tables import print_next
from tuning.errors import SpaceBug, TuningError
from tuning.processes import BACKEND
from tuning.text import counted
from tuning.trackers.targets import ENVIRONMENT

if TYPE_CHECKING:
    from tuning.search.enqueue import Enqueued

BAD_FLAGS = 2
N_SENTENCES = 20  # Maximum number of sentences about trials that are left out.
N_FURTHER = 20  # Number of new configurations that the next command trains, as `make tune` does.


def _print_added(study: Study, added: Enqueued) -> None:
    for sentence in added.left_out[:N_SENTENCES]:
        warn(printable(sentence, 300))
    if len(added.left_out) > N_SENTENCES:
        warn(f"{len(added.left_out) - N_SENTENCES} more were left out.")
    console.print(f"Queued in {escape(study.name)}: {counted(added.n_added, 'configuration')}.")
    if added.n_added:
        further = typed("tune", **of_study(study.path), n_trials=added.n_trials + N_FURTHER)
        console.print(f"Next: {further}, which trains {N_FURTHER} new configurations as well")


def _print_next(study: Study | None) -> None:
    if study and study.best:
        print_next(study.path, "export-best", "report", "dashboard")


app = typer.Typer(
    help="Hyperparameter tuning for Keras text classifiers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
COMMANDS = {
    "tune": command(tune, _print_next),
    "confirm": study_command(Study.confirm),
    "compare": command(compare, lambda comparison: _print_next(comparison.chosen)),
    "dashboard": command(dashboard),
    "report": study_command(
        Study.report,
        lambda _, page: console.print(
            escape(f"Report: {page}\nTrials: {page.with_name('trials.csv')}")
        ),
    ),
    "export-best": study_command(
        Study.export, lambda study, _: print_next(study.path, "predict", "report", "serve")
    ),
    "predict": command(predict),
    "serve": command(serve),
    "enqueue": study_command(Study.enqueue, _print_added),
    "track": study_command(track),
    "status": command(status),
    "data-card": command(data_card),
    "spaces": command(spaces),
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def main() -> None:
    """Run the command line.

    The exit status is 0 after success, 1 after a `TuningError`, whose message is printed, 2 after
    flags that can't be parsed, and Typer's 130 after Ctrl-C. Any other exception is a bug, and is
    raised.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.update(BACKEND)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # The log of a study gets the warnings of libraries; without a log they are dropped.
    logging.captureWarnings(True)
    # A log that can't be written must neither stop a command nor print a traceback for each line.
    logging.raiseExceptions = False
    try:
        app(with_flags(app, sys.argv[1:]) if "MAKELEVEL" in os.environ else sys.argv[1:])
    except typer.BadParameter as error:  # `with_flags` raises it outside of typer.
        error_console.print(f"[bold red]error:[/] {escape(error.message)}")
        sys.exit(BAD_FLAGS)
    except SpaceBug as bug:
        print_traceback(bug)
        _fail(str(bug))
    except TuningError as error:
        _fail(str(error))


def _fail(message: str) -> None:
    error_console.print(f"[bold red]error:[/] {escape(message)}")
    sys.exit(1)
