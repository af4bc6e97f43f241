"""Commands in messages, as the user types them."""

import re
import sys

import pytest

from tests.paths import ROOT
from tuning.cli.app import app
from tuning.commands import typed, with_commands

# Targets that only make has.
ONLY_MAKE = {"install-pretrained", "install-trackers", "serve"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/keras-text-tuning"])


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/usr/bin/keras-text-tuning", 'keras-text-tuning predict --study s --text "I love it"'),
        ("/home/me/tuning/__main__.py", 'python -m tuning predict --study s --text "I love it"'),
    ],
)
def test_next_command_is_that_of_the_program_that_runs(
    program: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setattr(sys, "argv", [program])
    assert typed("predict", study="s", text="I love it") == expected


def test_next_command_is_make_s_under_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKELEVEL", "1")
    assert typed("tune", study="s", n_trials=9) == "make tune STUDY=s TRIALS=9"
    assert typed("dashboard") == "make dashboard"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Type `make tune` first.", "Type `keras-text-tuning tune` first."),
        (
            "(`make confirm STUDY=a-b SEEDS=10`)",
            "(`keras-text-tuning confirm --study a-b --seeds 10`)",
        ),
        (
            "`make tune TRIALS=9 TIMEOUT=5`",
            "`keras-text-tuning tune --n-trials 9 --timeout-seconds 5`",
        ),
        ("`make predict FILE=`", "`keras-text-tuning predict --file`"),
        ("`make install-pretrained`", "`make install-pretrained`"),
        ("`make serve` in a clone", "`make serve` in a clone"),
        ("make tune, and `makefile`", "make tune, and `makefile`"),
    ],
)
def test_commands_of_a_message_are_those_of_the_program_that_runs(
    message: str, expected: str, installed: None
) -> None:
    assert with_commands(message) == expected


def test_commands_of_a_message_are_make_s_under_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKELEVEL", "1")
    message = "Type `make confirm STUDY=s TRIALS=3 TIMEOUT=9`, or `make tune`."
    assert with_commands(message) == message


def test_every_command_of_a_message_exists() -> None:
    commands = {command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    named = {
        name
        for path in (ROOT / "tuning").rglob("*.py")
        for name in re.findall(r"`make ([a-z][a-z-]*)", path.read_text())
        if not name.startswith("bench")
    }
    assert named - commands <= ONLY_MAKE
