"""The command line: its commands and its exit status."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints

import cyclopts
from rich.markup import escape

import tuning
from tuning.api.comparison import compare
from tuning.api.search import tune
from tuning.api.study import Study, load_study
from tuning.cli.exports import predict, serve
from tuning.cli.make import UnknownVariableError, add_variables
from tuning.cli.studies import dashboard, data_card, spaces, status
from tuning.commands import DEFAULT_RESULTS, PROGRAM, of_study, typed, use_place
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


def command(function: Callable[..., Any], then: Callable[[Any], None] | None = None) -> Any:
    """Return the command of a function; `then` prints the function's result."""

    @functools.wraps(function)
    def run(*args: Any, **values: Any) -> None:
        use_place(values.get("results", DEFAULT_RESULTS), values.get("storage"))
        result = function(*args, **values)
        if then:
            then(result)

    run.__annotations__ = _kinds_of(function)
    return run


def study_command(
    method: Callable[..., Any], then: Callable[[Study, Any], None] | None = None
) -> Any:
    """Return the command of a method of `Study`, or of a function whose first argument is a study,
    which also has the flags of `load_study`.
    """
    found = inspect.signature(load_study).parameters
    _, *own = inspect.signature(method).parameters.values()

    def run(*args: Any, **values: Any) -> None:
        place = {name: values.pop(name) for name in found if name in values}
        use_place(place.get("results", DEFAULT_RESULTS), place.get("storage"))
        study = load_study(**place)
        result = method(study, *args, **values)
        if then:
            then(study, result)

    joined: Any = run
    joined.__doc__, joined.__wrapped__ = method.__doc__, method
    joined.__annotations__ = {**_kinds_of(method), **_kinds_of(load_study)}
    joined.__signature__ = inspect.Signature(
        [*own, *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in found.values())]
    )
    return joined


def _kinds_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the parameters. The type of the result may be one that only mypy
    imports.
    """
    function = inspect.unwrap(function)
    annotations = {n: kind for n, kind in function.__annotations__.items() if n != "return"}
    return get_type_hints(
        SimpleNamespace(__annotations__=annotations), function.__globals__, include_extras=True
    )


app = cyclopts.App(
    PROGRAM,
    help="Hyperparameter tuning for Keras text classifiers.",
    version=tuning.__version__,
    # The description of each option says its default.
    default_parameter=cyclopts.Parameter(
        negative_iterable=(), show_default=False, show_env_var=False
    ),
    error_formatter=lambda error: f"[bold red]error:[/] {escape(str(error))}",
    suppress_keyboard_interrupt=False,
)
COMMANDS = {
    "tune": command(tune, _print_next),
    "confirm": study_command(Study.confirm),
    "compare": command(compare, lambda comparison: _print_next(comparison.best)),
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
    "status": command(status),
    "data-card": command(data_card),
    "spaces": command(spaces),
}
for _name, _command in COMMANDS.items():
    app.command(_command, name=_name)
app.register_install_completion_command()


def main() -> None:
    """Run the command line.

    The exit status is 0 after success, 1 after a `TuningError`, whose message is printed, 2 after
    flags that can't be parsed, and 130 after Ctrl-C. Any other exception is a bug, and is raised.
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
        app(add_variables(app, sys.argv[1:]))
    except UnknownVariableError as error:
        _fail(str(error), status=BAD_FLAGS)
    except SpaceBug as bug:
        print_traceback(bug)
        _fail(str(bug))
    except TuningError as error:
        _fail(str(error))


def _fail(message: str, *, status: int = 1) -> NoReturn:
    error_console.print(f"[bold red]error:[/] {escape(message)}")
    sys.exit(status)
