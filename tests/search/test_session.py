"""The signals of a call: the first is a request, the second is an interrupt. And its events."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from tests.studies import CONFIG, SPACE, session_of
from tuning.results import ResultsDir
from tuning.search.events import Event, Step
from tuning.search.session import signals


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


def test_every_subscriber_gets_an_event_after_an_exception_of_another(tmp_path: Path) -> None:
    called: list[str] = []

    def interrupt(event: Event) -> None:
        called.append("interrupt")
        raise KeyboardInterrupt

    session = replace(
        session_of(optuna.create_study(), CONFIG, SPACE, ResultsDir(tmp_path)),
        subscribers=[lambda _: called.append("log"), interrupt, lambda _: called.append("note")],
    )
    with pytest.raises(KeyboardInterrupt):
        session.notify(Step("searching", 0.0))
    assert called == ["log", "interrupt", "note"]
