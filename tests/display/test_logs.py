"""The log file of a study, and the loggers after a call."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest

from tuning.display.logs import logging_to
from tuning.errors import StudyError
from tuning.results import StudyDir


@pytest.fixture
def as_in_a_notebook() -> Iterator[None]:
    """Let Optuna print its trials, as it does by default."""
    optuna.logging.enable_default_handler()
    optuna.logging.disable_propagation()
    yield
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()


@pytest.mark.usefixtures("as_in_a_notebook")
def test_loggers_are_as_before_after_a_call(tmp_path: Path) -> None:
    """A notebook goes on with an Optuna study of its own, whose trials Optuna prints."""
    loggers = [logging.getLogger(name) for name in ("", "optuna", "tuning")]

    def state() -> list[object]:
        return [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]

    before = state()
    with logging_to(StudyDir(tmp_path)):
        logging.getLogger("optuna.study").warning("a line of Optuna")
        assert state() != before
    assert state() == before
    assert "a line of Optuna" in (tmp_path / "tuning.log").read_text()


def test_second_call_in_the_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with logging_to(StudyDir(tmp_path / "a")), ThreadPoolExecutor() as threads:
        second = threads.submit(lambda: logging_to(StudyDir(tmp_path / "b")).__enter__())
        with pytest.raises(StudyError, match="one search, confirmation or export at a time"):
            second.result()
    with logging_to(StudyDir(tmp_path / "b")):
        pass


def test_log_that_can_not_be_opened_loses_its_lines(tmp_path: Path) -> None:
    """The folder may be read-only; the command goes on."""
    (tmp_path / "tuning.log").mkdir()
    with logging_to(StudyDir(tmp_path)):
        logging.getLogger("optuna.study").warning("a line of Optuna")
