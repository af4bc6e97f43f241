"""The options of all commands, which cyclopts takes from signatures and docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import fields
from typing import Any

import pytest

from tests.paths import ROOT
from tuning.cli.app import COMMANDS, app
from tuning.cli.make import commands_of, help_of, variables_of
from tuning.config import (
    DEFAULT_TRIALS,
    SILENT_SECONDS,
    Data,
    DataConfig,
    Limits,
    StudyConfig,
    TrainConfig,
    Workers,
)

OPTIONS = {
    (command, option.name): help_of(option)
    for command, each in commands_of(app).items()
    for option in variables_of(each).values()
}


def arguments_of(*words: object) -> dict[str, Any]:
    """Return the arguments with which a command line calls `tune`."""
    _, bound, _ = app.parse_args(["tune", *map(str, words)])
    return dict(bound.arguments)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--data", "a.csv"], {"data": Data("a.csv")}),
        (["--text-column", "body"], {"data": Data(text_column="body")}),
        (
            ["--data", "a.csv", "--drop-stars", "3", "--drop-stars", "2"],
            {"data": Data("a.csv", drop_stars=[3.0, 2.0])},
        ),
        (["--workers", "4", "--pool", "ray"], {"workers": Workers(4, pool="ray")}),
        (["--trial-seconds", "9"], {"limits": Limits(trial_seconds=9.0)}),
        (["--log-to", "a", "--log-to", "b"], {"log_to": ["a", "b"]}),
        (["--no-confirm", "--keep-going"], {"confirm": False, "keep_going": True}),
        (["--space", "a.py", "--class-weight", "a:1"], {"space": "a.py", "class_weight": "a:1"}),
    ],
)
def test_flags_become_arguments(words: list[str], expected: dict[str, Any]) -> None:
    assert arguments_of(*words) == expected


def test_url_is_also_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may contain a password, which must not be visible in the list of processes."""
    monkeypatch.setenv("STORAGE", "postgresql://me:secret@host/db")
    monkeypatch.setenv("LOG_TO", "mlflow:http://h tensorboard:runs")
    assert arguments_of() == {
        "storage": "postgresql://me:secret@host/db",
        "log_to": ["mlflow:http://h", "tensorboard:runs"],
    }


@pytest.mark.parametrize("name", [*COMMANDS])
def test_every_parameter_is_read(name: str) -> None:
    """A parameter that nothing reads is an option without an effect."""
    function = inspect.unwrap(COMMANDS[name])  # A function, or a method of `Study`.
    source = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    read = {node.id for node in ast.walk(source) if isinstance(node, ast.Name)}
    parameters = inspect.signature(function, follow_wrapped=False).parameters
    assert {*parameters} <= read


def attributes_read(tree: ast.AST) -> set[str]:
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {node.attr for node in attributes if isinstance(node.ctx, ast.Load)}


def test_every_field_of_a_group_and_of_a_configuration_is_read() -> None:
    """A field that only `__post_init__` reads has no effect. A property of a class, such as
    `limits`, reads a field if something outside the classes reads the property.
    """
    read: set[str] = set()
    methods: list[ast.FunctionDef] = []
    for path in (ROOT / "tuning").rglob("*.py"):
        if path.parent.name == "api":  # tuning.api only copies the fields of `Data`.
            continue
        for node in ast.parse(path.read_text()).body:
            if path == ROOT / "tuning" / "config.py" and isinstance(node, ast.ClassDef):
                methods += [each for each in node.body if isinstance(each, ast.FunctionDef)]
            else:
                read |= attributes_read(node)
    read = read.union(*(attributes_read(each) for each in methods if each.name in read))
    for group in (Data, Workers, Limits, StudyConfig, TrainConfig, DataConfig):
        assert {field.name for field in fields(group)} <= read, group.__name__


@pytest.mark.parametrize(("name", "flag"), OPTIONS)
def test_help_of_every_option_says_its_default(name: str, flag: str) -> None:
    assert re.fullmatch(r"\w.* \(default:? [^()]+\)\.", OPTIONS[name, flag]), OPTIONS[name, flag]


DEFAULTS = {
    "--data": DataConfig.data,
    "--epochs": TrainConfig.epochs,
    "--n-trials": DEFAULT_TRIALS,
    "--pool": Workers.pool,
    "--seed": StudyConfig.seed,
    "--silent-seconds": SILENT_SECONDS,
    "--space": StudyConfig.space,
}


@pytest.mark.parametrize("flag", DEFAULTS)
def test_default_in_the_help_is_the_one_that_is_used(flag: str) -> None:
    default = DEFAULTS[flag]
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    text = OPTIONS["tune", flag]
    assert re.search(rf"\(default:? (.* )?{re.escape(shown)}(\)|,| for)", text), text
