"""The log file of a study."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from tuning.errors import StudyError
from tuning.results import StudyDir
from tuning.text import visible

# The loggers, and standard error during an export, are redirected for the whole process.
_CALL = threading.Lock()


@contextlib.contextmanager
def logging_to(folder: StudyDir) -> Iterator[None]:
    """Write the log lines of the block to the study's log file, if the study's folder exists.

    Raises:
        StudyError: another thread is in such a block.
    """
    import_optuna()
    import optuna

    with _alone_in_process(), warnings.catch_warnings():
        # Optuna marks functions as experimental that have existed for years.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Optuna's own handler would print a line for each trial between the lines of the command.
        root, of_optuna, of_tuning = (logging.getLogger(name) for name in ("", "optuna", "tuning"))
        own_handlers, propagates = [*of_optuna.handlers], of_optuna.propagate
        level = of_tuning.level
        optuna.logging.disable_default_handler()
        optuna.logging.enable_propagation()
        handler = _LateFileHandler(folder.log_path)
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
        of_tuning.setLevel(logging.INFO)
        try:
            yield
        finally:
            root.removeHandler(handler)
            handler.close()
            # Optuna's own handler must print the trials of a study that the user creates later.
            of_optuna.handlers[:], of_optuna.propagate = own_handlers, propagates
            of_tuning.setLevel(level)


@contextlib.contextmanager
def _alone_in_process() -> Iterator[None]:
    if not _CALL.acquire(blocking=False):
        raise StudyError(
            "A process can run one search, confirmation or export at a time; another thread of"
            " this process runs one. Wait for it, or start another process."
        )
    try:
        yield
    finally:
        _CALL.release()


def import_optuna() -> None:
    """Import Optuna without the warning of tqdm that a notebook should install widgets: this
    program uses no progress bar of tqdm.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import_module("optuna")


class _LateFileHandler(logging.FileHandler):
    """A handler that drops lines while the folder does not exist: a refused command creates no
    folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        # The folder may be read-only.
        with contextlib.suppress(OSError):
            if Path(self.baseFilename).parent.is_dir():
                super().emit(record)


class _OneLine(logging.Formatter):
    """A formatter that writes a message on one line, even if names from the data contain line
    breaks; a traceback follows on lines of its own.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        record.message = visible(record.message)
        return super().formatMessage(record)
