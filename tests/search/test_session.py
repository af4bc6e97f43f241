"""The events of a session, and the signals of a call: the first is a request, the second is an
interrupt.
"""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from tests.studies import session_of
from tuning.config import StudyConfig
from tuning.results import ResultsDir
from tuning.search.events import CallEnded, Event
from tuning.search.session import signals
from tuning.spaces.loading import SearchSpace


def test_event_reaches_all_subscribers_although_one_raises(tmp_path: Path) -> None:
    called: list[str] = []

    def display(event: Event) -> None:
        called.append("display")
        raise BrokenPipeError

    opened = session_of(
        optuna.create_study(), StudyConfig(study="s"), SearchSpace("a", ()), ResultsDir(tmp_path)
    )
    session = replace(opened, subscribers=[display, lambda event: called.append("note")])
    with pytest.raises(BrokenPipeError):
        session.notify(CallEnded(session))
    assert called == ["display", "note"]


def test_first_signal_is_a_request_and_the_second_an_interrupt() -> None:
    before = signal.getsignal(signal.SIGINT)
    with signals() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_call_in_another_thread_leaves_the_handlers_alone() -> None:
    def handlers() -> list[object]:
        with signals() as interrupt:
            assert not interrupt.requested
            return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(handlers).result() == before
