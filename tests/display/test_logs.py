"""The log file of a study, and the loggers after a call."""

import logging
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tuning.display.logs import logging_to
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


def test_log_that_can_not_be_opened_loses_its_lines(tmp_path: Path) -> None:
    """The folder may be read-only; the command goes on."""
    (tmp_path / "tuning.log").mkdir()
    with logging_to(StudyDir(tmp_path)):
        logging.getLogger("optuna.study").warning("a line of Optuna")
