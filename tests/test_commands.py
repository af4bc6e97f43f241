"""Commands in messages, as the user types them."""

import inspect
import re
import sys

import pytest

import tuning
from tests.paths import ROOT
from tuning.cli.app import app
from tuning.commands import CALLS, repeated, typed, with_commands

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


@pytest.fixture
def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setattr(sys, "argv", ["/home/me/experiment.py"])


@pytest.mark.parametrize(
    ("command", "values", "expected"),
    [
        ("confirm", {"pruned": 5, "share": 1}, "study.confirm(pruned=5, share=1)"),
        ("confirm", {"study": "s"}, "study.confirm()"),
        ("export-best", {"trial": "N"}, "study.export(trial=N)"),
        ("report", {"slice": "column"}, 'study.report(slice_column="column")'),
        ("report", {"study": "…"}, "study.report()"),
        ("track", {"study": "s", "log_to": "wandb:w"}, 'study.log_to("wandb:w")'),
        ("tune", {"n_trials": "N"}, "tuning.tune(…, n_trials=N)"),
        ("compare", {}, "tuning.compare(…)"),
        ("dashboard", {}, "python -m tuning dashboard"),
    ],
)
def test_next_step_of_a_script_is_a_call(
    command: str, values: dict[str, object], expected: str, in_python: None
) -> None:
    assert typed(command, **values) == expected
    assert repeated() == "the same call"


def test_calls_of_messages_are_public_and_have_their_parameters() -> None:
    for command, call in CALLS.items():
        owner, name = call.split(".")
        function = getattr(tuning if owner == "tuning" else tuning.Study, name)
        assert name in tuning.__all__ or owner == "study"
        assert callable(function), command
    for name, parameters in {
        "confirm": {"pruned", "share", "seeds"},
        "export": {"trial"},
        "report": {"slice_column"},
    }.items():
        assert parameters <= {*inspect.signature(getattr(tuning.Study, name)).parameters}


def test_commands_of_a_message_are_calls_in_a_script(in_python: None) -> None:
    message = "Type `make tune TRIALS=9`, `make confirm STUDY=a SEEDS=10` or `make status`."
    assert with_commands(message) == (
        "Type `tuning.tune(…, n_trials=9)`, `study.confirm(seeds=10)` or `python -m tuning status`."
    )
    assert with_commands("Then run the same command again.") == "Then run the same call again."


@pytest.mark.parametrize("program", ["keras-text-tuning", "__main__.py"])
def test_command_is_repeated_by_the_command(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{program}"])
    assert repeated() == "the same command"


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
        ("Then run the same command again.", "Then run the same command again."),
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
