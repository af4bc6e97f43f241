"""The wheel in a virtual environment of its own, outside of the checkout."""

import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from tests.commands import output_of
from tests.paths import ROOT
from tests.texts import make_reviews

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_in_the_wheel() -> None:
    package_folders = {path.parent for path in (ROOT / "tuning").rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in package_folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == {*names, "tuning.search_spaces"}


def run(*command: object, cwd: Path) -> str:
    """Return the output of a command that succeeds. Nothing of this checkout is on its path."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return output_of(*command, cwd=cwd, env=env)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the console command of an installed wheel, which `build` makes from the source
    distribution. Its dependencies are those of this environment, which takes seconds instead of
    minutes.
    """
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ("--quiet", "--no-deps", "--no-index")
    source = folder / "source"
    run("git", "clone", "--quiet", ROOT, source, cwd=folder)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (wheel,) = folder.glob("keras_text_tuning-*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", *options, wheel, cwd=folder)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.with_name("keras-text-tuning")


@pytest.mark.journey
def test_installed_command_tunes_exports_and_predicts(program: Path, tmp_path: Path) -> None:
    make_reviews().to_csv(tmp_path / "reviews.csv", index=False)
    assert "baseline_lstm" in run(program, "spaces", cwd=tmp_path)
    search = ("--space", "ngrams", "--n-trials", 2, "--epochs", 1, "--no-confirm")
    run(program, "tune", "--data", "reviews.csv", *search, cwd=tmp_path)
    assert (tmp_path / "results" / "ngrams-reviews" / "study.json").exists()
    run(program, "export-best", cwd=tmp_path)
    assert run(program, "predict", "--text", "good film", cwd=tmp_path).strip()


@pytest.mark.slow
def test_installed_command_completes_in_a_shell(program: Path, tmp_path: Path) -> None:
    source = ("env", "_KERAS_TEXT_TUNING_COMPLETE=source_bash")  # As the line in .bashrc has it.
    assert "complete" in run(*source, program, cwd=tmp_path)
