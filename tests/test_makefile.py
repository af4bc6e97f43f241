"""The targets and variables of the Makefile, as `make -n` prints them."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT


def run_make(*words: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=succeeds,
        # Environment variables of the machine must not reach the commands.
        env={"PATH": "/usr/bin:/bin"},
    )


def make(*arguments: str, dry_run: bool = True) -> str:
    venv = next((word[5:] for word in arguments if word.startswith("VENV=")), ".venv")
    # `-o` skips the targets that install packages. Other tests run them.
    installed = [
        word
        for name in (
            *("installed", "installed-dev", "installed-serve", "installed-bench"),
            *("installed-pretrained", "installed-trackers", "installed-docs"),
        )
        for word in ("-o", f"{venv}/.{name}")
    ]
    return run_make(*(["-n"] if dry_run else []), *installed, *arguments).stdout


def arguments_of(*arguments: str) -> list[str]:
    (line,) = [
        line
        for line in make(*arguments).splitlines()
        if re.search("-m (tuning|benchmarks|tests)", line)
    ]
    return shlex.split(line)[3:]


def help_lines() -> list[list[str]]:
    """Return the targets and descriptions that `make` alone prints."""
    return [line.split(maxsplit=2)[1:] for line in run_make().stdout.splitlines()]


def test_help_is_the_default_and_lists_every_target() -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(target for target, _ in help_lines()) == sorted(" ".join(phony).split())
    assert all(len(description.split()) > 1 for _, description in help_lines())


def test_help_joins_the_lines_of_a_description() -> None:
    lines = re.findall(r"^##.*$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    n_continued = sum(line.startswith("##  ") for line in lines)
    assert n_continued > 0
    assert len(help_lines()) == len(lines) - n_continued
    joined = " ".join(line.removeprefix("##").strip() for line in lines)
    assert [line for line in help_lines() if ": ".join(line) not in joined] == []


def test_program_gets_no_variable_in_its_command_line() -> None:
    """A variable may contain a password, and make prints its commands."""
    assert arguments_of("tune", "STUDY=s", "STORAGE=postgresql://me:secret@host/db") == ["tune"]
    assert arguments_of("faults", "FAULTS=9") == ["--n-faults", "9"]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("tune", "STORAGE"),
        ("enqueue", "FROM"),
        ("enqueue", "SOURCE"),
        *((target, "LOG_TO") for target in ("tune", "compare", "export-best")),
    ],
)
def test_password_is_handed_over_in_the_environment_and_not_printed(
    target: str, name: str, tmp_path: Path
) -> None:
    """The interpreter is a shell script that writes the variable into a file."""
    python, written = tmp_path / "bin" / "python", tmp_path / "written"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nprintf %s "${name}" > {written}\n')
    python.chmod(0o755)
    value = "postgresql://me:secret@host/db"
    out = make(target, f"VENV={tmp_path}", f"{name}={value}", dry_run=False)
    assert "secret" not in out
    assert written.read_text() == value


def test_recipes_can_fail() -> None:
    assert not re.search(r"\|\| *(true|:)|^\t-", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_preset_installs_its_packages() -> None:
    files = ("-o", ".venv/.installed", "-W", "requirements.lock")
    for target, installs in (
        (["tune", "PRESET=x"], True),
        (["install-pretrained"], True),
        (["tune"], False),
    ):
        printed = run_make("-n", *files, *target).stdout
        assert ("--extra pretrained" in printed) == installs


def test_lock_file_has_hashes_and_no_index_and_no_large_packages_that_nothing_calls() -> None:
    text = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"^[a-z0-9][^\s=]*==", text, re.MULTILINE)
    assert len(packages) > 200
    assert text.count("--hash=sha256:") >= len(packages)
    assert "://" not in text
    assert "index" not in text.replace("importlib", "")
    assert not {"torch==", "tensorflow-text=="} & {*packages}


@pytest.mark.parametrize("status", [0, 3])
def test_installation_prints_what_it_installs_and_the_output_of_a_failure(
    status: int, tmp_path: Path
) -> None:
    """The interpreter is a shell script that prints a line, as TensorFlow does at its import; uv is
    a shell script that does nothing.
    """
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] || exit 0\necho "I0000 start" >&2\nexit {status}\n'
    )
    uv = python.with_name("uv")
    uv.write_text("#!/bin/sh\n")
    for program in (python, uv):
        program.chmod(0o755)
    done = run_make(f"VENV={tmp_path}", "install-serve", succeeds=False)
    first, *others = done.stdout.splitlines()
    assert re.search(r"the packages of requirements\.lock .* minutes", first)
    if status:
        assert done.returncode != 0
        assert "I0000 start" in done.stderr
        assert others == []
    else:
        assert (done.returncode, done.stderr) == (0, "")
        (second,) = others
        assert "the extra serve" in second
