"""The signals of a call: the first is a request, the second is an interrupt."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

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
