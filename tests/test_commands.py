"""Commands in messages, as the user types them."""

import inspect
import re
import shlex
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import tuning
from tests.paths import ROOT
from tuning import commands
from tuning.cli.app import COMMANDS, app
from tuning.cli.make import commands_of, variables_of
from tuning.commands import (
    CALLS,
    REQUIREMENTS,
    TARGETS,
    install,
    of_study,
    repeated,
    typed,
    use_place,
)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """make runs the interpreter, which is not below the working directory."""
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setattr(sys, "executable", "/usr/lib/env/bin/python")


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    """`use_place` changes the place of the whole process."""
    monkeypatch.setattr(commands, "_place", {})


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/usr/bin/keras-text-tuning", "keras-text-tuning predict --study s --text 'I love it'"),
        ("/home/me/tuning/__main__.py", "python -m tuning predict --study s --text 'I love it'"),
    ],
)
def test_next_command_is_that_of_the_program_that_runs(
    program: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAKELEVEL")
    monkeypatch.setattr(sys, "argv", [program])
    assert typed("predict", study="s", text="I love it") == expected


def test_next_command_is_make_s_under_make() -> None:
    assert typed("tune", study="s", n_trials=9) == "make tune STUDY=s TRIALS=9"
    for folder in (Path("results/s"), Path("results/s").absolute()):
        assert typed("report", **of_study(folder)) == "make report STUDY=s"
    assert typed("report", **of_study(Path("/a b/s"))) == "make report STUDY=s RESULTS='/a b'"


@pytest.mark.parametrize("value", ["it's", "a$HOME", "`a`", 'say "x"', "mlflow:http://h?x&y"])
def test_values_are_quoted_for_the_shell(value: str) -> None:
    assert typed("tune", log_to=value) == f"make tune LOG_TO={shlex.quote(value)}"


@pytest.mark.parametrize(
    ("command", "values", "expected"),
    [
        ("confirm", {"top": 5, "seeds": 4}, "study.confirm(top=5, seeds=4)"),
        ("confirm", of_study(Path("/a b/s")), "study.confirm()"),
        ("tune", of_study(Path("r/s")), 'tuning.tune(…, study="s", results="r")'),
        ("tune", {"study": "s", "test": "t.csv"}, 'tuning.tune(…, study="s")'),
        ("confirm", {"study": "s", "test": "t.csv"}, 'study.confirm(test="t.csv")'),
        ("export-best", {"trial": "N"}, "study.export(trial=N)"),
        ("report", {"slice_column": "column"}, 'study.report(slice_column="column")'),
        ("tune", {"study": "2024"}, 'tuning.tune(…, study="2024")'),
        ("compare", {}, "tuning.compare(…)"),
        ("dashboard", {}, "python -m tuning dashboard"),
    ],
)
def test_next_step_of_a_script_is_a_call(
    command: str, values: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAKELEVEL")
    monkeypatch.setattr(sys, "argv", ["/home/me/experiment.py"])
    assert typed(command, **values) == expected
    assert repeated() == "the same call"


def test_command_about_a_study_names_the_results_folder_of_the_command_that_runs() -> None:
    for folder, shown in (("elsewhere", " RESULTS=elsewhere"), ("results", "")):
        use_place(folder, None)
        assert typed("confirm", study="s") == f"make confirm STUDY=s{shown}"
        assert typed("spaces") == "make spaces"
    use_place("elsewhere", None)
    assert typed("report", **of_study(Path("r/s"))) == "make report STUDY=s RESULTS=r"


def test_command_about_a_study_needs_the_storage_that_was_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "postgresql://me:secret@host/db"
    for environment, shown in (
        ({}, " STORAGE=…"),
        ({"STORAGE": url, "MAKEFLAGS": f" -- STORAGE={url}"}, " STORAGE=…"),
        ({"STORAGE": url, "MAKEFLAGS": ""}, ""),  # exported
    ):
        monkeypatch.delenv("STORAGE", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        use_place("results", url)
        assert typed("report", study="s") == f"make report STUDY=s{shown}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////a b/c.db", "'sqlite:////a b/c.db'"),
        ("sqlite:///c.db?key=secret", "…"),
        ("sqlite+pysqlcipher://:secret@/c.db", "…"),
    ],
)
def test_command_shows_the_storage_of_a_file(url: str, shown: str) -> None:
    use_place("results", url)
    assert typed("report", study="s") == f"make report STUDY=s STORAGE={shown}"


def test_commands_have_the_flags_that_messages_name() -> None:
    use_place("elsewhere", "sqlite:///other.db")
    of_study = {
        name: {*variables_of(command)}
        for name, command in commands_of(app).items()
        if "STUDY" in variables_of(command)
    }
    for name, parameters in of_study.items():
        shown = typed(name, study="s")
        assert ("STORAGE" in shown) == ("STORAGE" in parameters), name
        assert ("RESULTS" in shown) == ("RESULTS" in parameters), name


def test_calls_of_messages_are_public_and_have_their_parameters() -> None:
    for command, call in CALLS.items():
        owner, name = call.split(".")
        function = getattr(tuning if owner == "tuning" else tuning.Study, name)
        assert name in tuning.__all__ or owner == "study"
        assert callable(function), command
    for name, parameters in {
        "confirm": {"top", "seeds"},
        "export": {"trial"},
        "report": {"slice_column"},
    }.items():
        assert parameters <= {*inspect.signature(getattr(tuning.Study, name)).parameters}


def test_python_is_named_as_a_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").touch(mode=0o755)
    monkeypatch.delenv("MAKELEVEL")
    monkeypatch.setattr(sys, "argv", ["/x/tuning/__main__.py"])
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    assert typed("status") == "python -m tuning status"  # Another directory.
    monkeypatch.chdir(tmp_path)
    assert typed("status") == ".venv/bin/python -m tuning status"
    monkeypatch.setenv("PATH", str(folder))  # The environment is activated.
    assert typed("status") == "python -m tuning status"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a clone, which is the working directory, with an environment that make created."""
    folder = tmp_path / "a clone"
    bin_folder = folder / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").touch(mode=0o755)
    (folder / ".venv" / ".installed").touch()
    monkeypatch.setattr(commands, "_PACKAGE", folder / "tuning")
    monkeypatch.setattr(sys, "executable", str(bin_folder / "python"))
    monkeypatch.setattr(sys, "prefix", str(folder / ".venv"))
    monkeypatch.chdir(folder)
    return folder


def test_extra_is_installed_by_make_in_its_environment(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert install("serve") == "make install-serve"
    assert install("wandb") == "make install-trackers"
    assert install("ray") == ".venv/bin/python -m pip install 'ray>=2.60,<3'"
    monkeypatch.chdir(ROOT)
    assert install("serve") == f"make -C '{clone}' install-serve"
    assert install("ray") == f"'{clone}/.venv/bin/python' -m pip install 'ray>=2.60,<3'"


@pytest.mark.parametrize("is_distribution", [True, False])
def test_extra_is_installed_by_pip_in_another_environment(
    is_distribution: bool, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def distribution(name: str) -> None:
        if not is_distribution:
            raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", distribution)
    monkeypatch.setattr(sys, "executable", "/opt/env/bin/python")
    monkeypatch.setattr(sys, "prefix", "/opt/env")
    package = "keras-text-tuning" if is_distribution else str(clone)
    assert install("serve") == f"/opt/env/bin/python -m pip install '{package}[serve]'"
    (clone / ".venv" / ".installed").unlink()  # Made by `python -m venv`, and not by make.
    monkeypatch.setattr(sys, "prefix", str(clone / ".venv"))
    assert install("serve").endswith(f"-m pip install '{package}[serve]'")


def test_extras_of_messages_are_those_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {extra: [package] for extra, package in REQUIREMENTS.items()}.items() <= extras.items()
    makefile = (ROOT / "Makefile").read_text()
    for extra, target in TARGETS.items():
        assert extra in extras
        assert f"\n{target}: " in makefile


def test_every_command_of_a_message_exists() -> None:
    sources = [path.read_text() for path in (ROOT / "tuning").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r"typed\(['\"]([a-z-]+)", text)}
    assert named <= {*COMMANDS}
    assert len(named) > 5
