"""Commands that are derived from functions: their flags, their help, and the variables of make."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

import tuning
from tests.paths import ROOT
from tuning.api.comparison import DEFAULT_MINUTES
from tuning.api.study import Study
from tuning.cli.app import COMMANDS, app
from tuning.cli.derive import GROUPS, command, options_of, with_flags
from tuning.config import (
    DEFAULT_TRIALS,
    MIN_TEXTS,
    SILENT_SECONDS,
    Data,
    DataConfig,
    Limits,
    StudyConfig,
    TrainConfig,
    Workers,
)
from tuning.confirmation.rounds import DEFAULT_SHARE
from tuning.search.confirm import DEFAULT_PRUNED, DEFAULT_SEEDS, DEFAULT_TOP
from tuning.study.coordinators import DEAD_SECONDS

OPTIONS = {
    (name, param.opts[0]): param
    for name, each in typer.main.get_group(app).commands.items()
    for param in each.params
}


def example(
    data: str | Path | Data | None = None,
    *,
    workers: int | Workers | None = None,
    limits: Limits | None = None,
    names: Sequence[str] = (),
    confirm: bool = True,
    join: bool = False,
) -> dict[str, Any]:
    """Example.

    Args:
        data: data (default: none).
        workers: workers (default: none).
        limits: limits (default: none).
        names: names (default: none).
        confirm: whether it confirms (default: it does).
        join: whether it joins (default: it does not).
    """
    return dict(locals())


def called(*words: str) -> dict[str, Any]:
    """Return the arguments with which a command line calls `example`."""
    results: list[dict[str, Any]] = []
    program = typer.Typer()
    program.command()(command(example, results.append))
    program([*words], standalone_mode=False)
    return results[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--data", "a.csv"], {"data": "a.csv"}),
        (["--text-column", "body"], {"data": Data(text_column="body")}),
        (
            ["--data", "a.csv", "--drop-stars", "3", "--drop-stars", "2"],
            {"data": Data("a.csv", drop_stars=[3.0, 2.0])},
        ),
        (["--workers", "4"], {"workers": 4}),
        (["--workers", "4", "--pool", "ray"], {"workers": Workers(4, pool="ray")}),
        (["--pool", "ray"], {"workers": Workers(pool="ray")}),
        (["--trial-seconds", "9"], {"limits": Limits(trial_seconds=9.0)}),
        (["--names", "a", "--names", "b"], {"names": ["a", "b"]}),
        (["--no-confirm", "--join"], {"confirm": False, "join": True}),
    ],
)
def test_flags_become_arguments(words: list[str], expected: dict[str, Any]) -> None:
    defaults = {
        name: parameter.default for name, parameter in inspect.signature(example).parameters.items()
    }
    given = called(*words)
    assert {**given, "names": given["names"] or ()} == defaults | expected


@pytest.mark.parametrize(
    "function",
    [tuning.tune, tuning.compare, Study.confirm, Study.export, Study.report, Study.enqueue],
)
def test_every_parameter_has_a_flag(function: Any) -> None:
    groups = {"limits"}  # The fields of a group are flags.
    flags = {option.name for option in options_of(function)} | groups
    assert {*inspect.signature(function).parameters} - {"self"} <= flags


@pytest.mark.parametrize("name", [*COMMANDS])
def test_every_parameter_is_read(name: str) -> None:
    """A parameter that nothing reads is an option without an effect."""
    function = inspect.unwrap(COMMANDS[name].function)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert {*inspect.signature(function).parameters} <= read


def test_parameter_without_a_description_is_refused() -> None:
    def undescribed(seed: int = 0) -> None:
        """Example."""

    with pytest.raises(KeyError, match="seed"):
        command(undescribed)


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
    for group in (*GROUPS.values(), StudyConfig, TrainConfig, DataConfig):
        assert {field.name for field in fields(group)} <= read, group.__name__


@pytest.mark.parametrize(("name", "flag"), OPTIONS)
def test_help_of_every_option_is_a_sentence_with_its_default(name: str, flag: str) -> None:
    text = OPTIONS[name, flag].help or ""
    assert re.fullmatch(r"[A-Z].* \(default:? [^()]+\)\.", text), text


DEFAULTS = {
    "--cpus-per-worker": 1,
    "--data": DataConfig.data,
    "--dead-seconds": DEAD_SECONDS,
    "--epochs": TrainConfig.epochs,
    "--metric": StudyConfig(study="s").metric,
    "--min-texts": MIN_TEXTS,
    "--minutes": DEFAULT_MINUTES,
    "--n-trials": DEFAULT_TRIALS,
    "--pool": Workers.pool,
    "--positive-from": DataConfig.positive_from,
    "--pruned": DEFAULT_PRUNED,
    "--pruner": StudyConfig.pruner,
    "--sampler": StudyConfig.sampler,
    "--seed": StudyConfig.seed,
    "--seeds": DEFAULT_SEEDS,
    "--share": DEFAULT_SHARE,
    "--silent-seconds": SILENT_SECONDS,
    "--space": StudyConfig.space,
    "--top": DEFAULT_TOP,
}


@pytest.mark.parametrize("flag", DEFAULTS)
def test_default_in_the_help_is_the_one_that_is_used(flag: str) -> None:
    default = DEFAULTS[flag]
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    texts = [
        param.help
        for (name, own), param in OPTIONS.items()
        if own == flag and name != "export-best" and (name, own) != ("confirm", "--data")
    ]
    assert texts
    assert all(
        re.search(rf"\(default:? (.* )?{re.escape(shown)}(\)|,| for)", text) for text in texts
    ), texts


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["tune", "TRIALS=9", "STUDY=s"], ["--study", "s", "--n-trials", "9"]),
        (["tune", "N_TRIALS=9", "DATA_DIR=/x y"], ["--data-dir", "/x y", "--n-trials", "9"]),
        (
            ["tune", "TEXT=body", "LABEL=stars"],
            ["--text-column", "body", "--label-column", "stars"],
        ),
        (["tune", "DROP_STARS=2 3"], ["--drop-stars", "2", "--drop-stars", "3"]),
        (["tune", "JOIN=1", "CONFIRM=0"], ["--no-confirm", "--join"]),
        (["tune", "JOIN=0", "EPOCHS="], []),
        (["tune", "RESPLIT=0"], ["--no-resplit"]),
        (["confirm", "RESPLIT=1"], ["--resplit"]),
        (["tune", "SLICE=topic"], []),  # A variable of other commands.
        (["report", "SLICE=topic"], ["--slice-column", "topic"]),
        (["predict", "TEXT=it's $1"], ["--text", "it's $1"]),
        (["predict", "TEXT=body", "FILE=a.csv"], ["--file", "a.csv", "--text-column", "body"]),
        (["tune", "TRIALS=3", "--data", "y=1/a.csv"], ["--n-trials", "3", "--data", "y=1/a.csv"]),
        (["serve", "HOST=h", "PORT=1"], ["--host", "h", "--port", "1"]),
        (["tune", "CONFIRM=off"], ["--no-confirm"]),
    ],
)
def test_variables_of_make_become_flags(
    words: list[str], flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SEED", "DATA", "STUDY"):
        monkeypatch.delenv(name, raising=False)
    assert sorted(with_flags(app, words)[1:]) == sorted(flags)


def test_exported_variables_count_except_those_of_other_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """csh and conda export HOST; every shell exports PATH."""
    for name in ("WORKERS", "HOST", "PORT", "NAME", "PATH", "TIME", "GROUP", "TEST"):
        monkeypatch.setenv(name, "3")
    assert with_flags(app, ["tune"]) == ["tune", "--workers", "3"]
    assert with_flags(app, ["tune", "WORKERS=4"]) == ["tune", "--workers", "4"]
    assert with_flags(app, ["serve"]) == ["serve"]
    assert with_flags(app, ["export-best"]) == ["export-best"]


def test_variable_that_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="CONFIRM must be 1 or 0; received 'perhaps'"):
        with_flags(app, ["tune", "CONFIRM=perhaps"])


def test_variable_that_no_command_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKELEVEL", "1")
    with pytest.raises(typer.BadParameter, match="unknown variable: LABELS"):
        with_flags(app, ["tune", "LABELS=x"])
    for name in ("TRAILS", "trials"):
        with pytest.raises(typer.BadParameter, match=rf"{name} \(possible variables: TRIALS\)"):
            with_flags(app, ["tune", f"{name}=3"])
    monkeypatch.setenv("MAKELEVEL", "2")  # A make that calls make hands its own variables over.
    assert with_flags(app, ["tune", "LABELS=x"]) == ["tune"]


def test_warning_names_the_typed_variables_of_other_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setenv("EPOCHS", "2")  # An exported variable may be meant for another target.
    words = ["export-best", "TRIALS=3", "SAMPLER=random", "METRIC=", "STUDY=s"]
    assert with_flags(app, words) == ["export-best", "--study", "s"]
    assert "export-best ignores SAMPLER, TRIALS, which other" in capsys.readouterr().err
    assert with_flags(app, ["tune", "TRIALS=3", "EPOCHS="]) == ["tune", "--n-trials", "3"]
    monkeypatch.setenv("MAKELEVEL", "2")
    assert with_flags(app, ["export-best", "TRIALS=3"]) == ["export-best"]
    assert not capsys.readouterr().err


def test_password_is_taken_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STORAGE", "FROM", "SOURCE", "LOG_TO"):
        monkeypatch.setenv(name, "secret")
    for name in ("tune", "enqueue", "track"):
        assert with_flags(app, [name]) == [name]
    for option, variable in (("storage", "STORAGE"), ("log_to", "LOG_TO")):
        assert OPTIONS["tune", f"--{option.replace('_', '-')}"].envvar == [variable]
    assert OPTIONS["enqueue", "--source"].envvar == ["FROM", "SOURCE"]
