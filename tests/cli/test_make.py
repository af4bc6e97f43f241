"""The variables of make as flags."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.cli.app import app
from tuning.cli.make import UnknownVariableError, add_variables, typed_variables

SHOW = "import os, sys, tuning.cli.make as m; print(m.typed_variables(), os.environ['STUDY'])"


@pytest.fixture(autouse=True)
def under_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.delenv("MAKEFLAGS", raising=False)


def flags(monkeypatch: pytest.MonkeyPatch, command: str, **typed: str) -> list[str]:
    """Return the flags of a command under make with these variables."""
    monkeypatch.setenv("MAKEFLAGS", " -- " + " ".join(f"{name}=x" for name in typed))
    for name, value in typed.items():
        monkeypatch.setenv(name, value)
    return add_variables(app, [command])[1:]


@pytest.mark.parametrize(
    ("command", "typed", "expected"),
    [
        ("tune", {"TRIALS": "9", "STUDY": "s"}, ["--study=s", "--n-trials=9"]),
        ("tune", {"DATA_DIR": "/x y", "EPOCHS": ""}, ["--data-dir=/x y"]),
        ("tune", {"TEXT": "body", "LABEL": "y"}, ["--text-column=body", "--label-column=y"]),
        ("tune", {"DROP_STARS": "2 3"}, ["--drop-stars=2", "--drop-stars=3"]),
        ("tune", {"CONFIRM": "0"}, ["--confirm=0"]),
        ("report", {"SLICE_COLUMN": "topic"}, ["--slice-column=topic"]),
        ("enqueue", {"FILE": "a.csv"}, ["--configurations=a.csv"]),
        ("predict", {"TEXT": "it's $1"}, ["--text=it's $1"]),
        ("predict", {"TEXT": "body", "FILE": "a.csv"}, ["--file=a.csv", "--text-column=body"]),
        ("serve", {"HOST": "h", "PORT": "1"}, ["--host=h", "--port=1"]),
        ("tune", {"VENV": "x"}, []),
    ],
)
def test_variables_become_flags(
    command: str, typed: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(flags(monkeypatch, command, **typed)) == sorted(expected)


def test_yes_and_no_are_words_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, expected in (("0", False), ("no", False), ("1", True), ("yes", True)):
        words = flags(monkeypatch, "tune", CONFIRM=word)
        assert app.parse_args(["tune", *words])[1].arguments == {"confirm": expected}


def test_exported_variables_are_no_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """csh and conda export HOST."""
    monkeypatch.setenv("HOST", "machine")
    assert add_variables(app, ["serve"]) == ["serve"]
    monkeypatch.delenv("MAKELEVEL")
    monkeypatch.setenv("MAKEFLAGS", " -- HOST=machine")
    assert add_variables(app, ["serve"]) == ["serve"]


def test_variable_that_no_command_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownVariableError, match="received LABELS"):
        flags(monkeypatch, "tune", LABELS="x")
    for name in ("TRAILS", "trials"):
        with pytest.raises(UnknownVariableError, match=rf"{name}. Possible variables: TRIALS"):
            flags(monkeypatch, "tune", **{name: "3"})
    monkeypatch.setenv("MAKELEVEL", "2")  # A make that calls make hands its own variables over.
    assert flags(monkeypatch, "tune", LABELS="x") == []


def test_warning_names_the_typed_variables_of_other_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = {"TRIALS": "3", "SAMPLER": "random", "METRIC": "", "STUDY": "s"}
    assert flags(monkeypatch, "export-best", **typed) == ["--study=s"]
    assert "export-best ignores SAMPLER, TRIALS, which other" in capsys.readouterr().err
    monkeypatch.setenv("MAKELEVEL", "2")
    assert flags(monkeypatch, "export-best", TRIALS="3") == []
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "value", ["it's $50, a $HOME, $(shell echo x); `x`", "a=b -- c", "\\", 'say "x"']
)
def test_make_hands_over_what_is_typed(value: str, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(f'show:\n\t@{sys.executable} -c "{SHOW}"\n')
    environment = {key: value for key, value in os.environ.items() if key != "MAKELEVEL"}
    done = subprocess.run(
        ["make", "show", f"STUDY={value.replace('$', '$$')}", "TRIALS=9"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
    )
    names, _, rest = done.stdout.partition("] ")
    assert sorted(names.strip("[").replace("'", "").split(", ")) == ["STUDY", "TRIALS"]
    assert rest == f"{value}\n"


def test_no_variable_is_typed_outside_of_make() -> None:
    assert typed_variables() == []
