"""Where a command's log lines go."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from tuning.results import StudyDir, visible


@contextlib.contextmanager
def logging_to(folder: StudyDir) -> Iterator[None]:
    """This run's log lines go to the study's log, if the folder can hold one."""
    import optuna

    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    root = logging.getLogger()
    handler = _LateFileHandler(folder.log_path)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    logging.getLogger("tuning").setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


class _LateFileHandler(logging.FileHandler):
    """Opens its file when there is a line and the folder exists, so that a refused command leaves
    no folder behind.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        if Path(self.baseFilename).parent.is_dir():
            super().emit(record)


class _OneLine(logging.Formatter):
    """A message stays on its line, whatever names out of data it holds; a traceback follows on its
    own lines.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        record.message = visible(record.message)
        return super().formatMessage(record)
