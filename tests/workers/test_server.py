"""The environment of worker processes."""

import os
import platform

import pytest

from tuning.processes import child_environment
from tuning.workers.server import ONEDNN, worker_environment


@pytest.mark.parametrize(
    ("machine", "value", "expected"),
    [("x86_64", None, "1"), ("AMD64", "1", "1"), ("x86_64", "0", "0"), ("aarch64", None, None)],
)
def test_workers_use_onednn_on_x86_unless_the_user_has_decided(
    machine: str, value: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.delenv(ONEDNN, raising=False)
    if value is not None:
        monkeypatch.setenv(ONEDNN, value)
    with worker_environment():
        assert os.environ.get(ONEDNN) == expected
    assert os.environ.get(ONEDNN) == value


def test_workers_run_on_tensorflow_whatever_backend_the_shell_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    with worker_environment():
        assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert (os.environ["KERAS_BACKEND"], os.environ["PYTHONPATH"]) == ("jax", "/somewhere")
    assert child_environment()["KERAS_BACKEND"] == "tensorflow"
