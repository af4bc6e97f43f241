"""The targets and variables of the Makefile, as `make -n` prints them."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT

VARIABLES = {
    "STUDY": ("tune", "--study"),
    "SPACE": ("tune", "--space"),
    "SPACES": ("compare", "--spaces"),
    "PRESET": ("tune", "--preset"),
    "VOCAB_SIZE": ("tune", "--vocab-size"),
    "SEQUENCE_LENGTH": ("tune", "--sequence-length"),
    "DIR": ("import-kerastuner", "--dir"),
    "NAME": ("import-optuna", "--name"),
    "DATA": ("tune", "--data"),
    "TEXT": ("tune", "--text-column"),
    "LABEL": ("tune", "--label-column"),
    "POSITIVE_FROM": ("compare", "--positive-from"),
    "TRIALS": ("tune", "--n-trials"),
    "TIMEOUT": ("tune", "--timeout-seconds"),
    "EPOCHS": ("tune", "--epochs"),
    "WORKERS": ("tune", "--workers"),
    "SEED": ("tune", "--seed"),
    "METRIC": ("tune", "--metric"),
    "SAMPLER": ("tune", "--sampler"),
    "PRUNER": ("tune", "--pruner"),
    "PORT": ("dashboard", "--port"),
    "HOST": ("dashboard", "--host"),
    "FILE": ("predict", "--file"),
    "OUTPUT": ("predict", "--output"),
    "MINUTES": ("bench", "--minutes"),
    "REPEATS": ("bench", "--repeats"),
    "AMAZON": ("bench", "--amazon"),
    "TOP": ("confirm", "--top"),
    "SEEDS": ("confirm", "--seeds"),
    "SHARE": ("confirm", "--share"),
    "PRUNED": ("confirm", "--pruned"),
    "TRIAL": ("export-best", "--trial"),
    "SLICE": ("report", "--slice"),
    "OBJECTIVES": ("tune", "--objectives"),
    "MAX_PARAMETERS": ("tune", "--max-parameters"),
    "MAX_LATENCY_MS": ("tune", "--max-latency-ms"),
    "POOL": ("tune", "--pool"),
    "RAY_ADDRESS": ("tune", "--ray-address"),
    "FAULTS": ("faults", "--n-faults"),
}


def make(*arguments: str) -> str:
    # `-o` skips the targets that install packages. Other tests run them.
    installed = [
        word
        for name in (
            *("installed", "installed-dev", "installed-serve", "installed-bench"),
            *("installed-pretrained", "installed-trackers", "installed-docs"),
        )
        for word in ("-o", f".venv/.{name}")
    ]
    command = ["make", "--no-print-directory", "-n", *installed, *arguments]
    # Environment variables of the machine must not reach the commands.
    env = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env=env
    ).stdout


def arguments_of(*arguments: str) -> list[str]:
    (line,) = [
        line
        for line in make(*arguments).splitlines()
        if re.search("-m (tuning|benchmarks|tests)", line)
    ]
    return shlex.split(line)[3:]


def help_lines() -> list[list[str]]:
    """Return the targets and descriptions that `make` alone prints."""
    out = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [line.split(maxsplit=2)[1:] for line in out.splitlines()]


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


@pytest.mark.parametrize("name", VARIABLES)
def test_variable_becomes_its_flag(name: str) -> None:
    target, flag = VARIABLES[name]
    value = "it's $50, a $HOME, $(shell echo x); `x`"
    assert arguments_of(target, f"{name}={value}")[-2:] == [flag, value]


@pytest.mark.parametrize(
    ("name", "target"),
    [("HOST", "serve"), ("PORT", "serve"), ("NAME", "import-optuna"), ("VENV", "clean")],
)
def test_variable_that_other_programs_set_is_not_taken_from_the_environment(
    name: str, target: str
) -> None:
    """csh and conda export HOST; `make clean` removes the folder VENV."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", name: "elsewhere"},
    )
    assert "elsewhere" not in done.stdout
    assert ".venv" in done.stdout


def test_stars_to_drop_are_a_flag_each() -> None:
    assert arguments_of("tune", "DROP_STARS=2 3")[-4:] == ["--drop-stars", "2", "--drop-stars", "3"]


@pytest.mark.parametrize("name", ["data", "LABELS", "N_TRIALS"])
def test_unknown_variable_is_refused(name: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        make("tune", f"{name}=reviews.csv")
    assert f"unknown variable: {name}." in error.value.stderr


def test_storage_is_handed_over_by_the_environment_and_never_printed() -> None:
    assert "secret" not in make("tune", "STORAGE=postgresql://me:secret@host/db")
    assert "export STORAGE" in (ROOT / "Makefile").read_text()
    assert "secret" not in make("import-optuna", "FROM=postgresql://me:secret@host/db", "NAME=x")
    assert "export FROM" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("target", ["tune", "compare", "export-best", "track"])
def test_trackers_are_handed_over_by_the_environment_and_never_printed(target: str) -> None:
    assert "secret" not in make(target, "LOG_TO=mlflow:http://me:secret@host tensorboard:runs")
    assert "export LOG_TO" in (ROOT / "Makefile").read_text()


def test_exchange_takes_its_variables() -> None:
    for target, program in (("import-kerastuner", "DIR=x"), ("import-optuna", "NAME=x")):
        flags = ["--study", "s", "--dir" if program == "DIR=x" else "--name", "x"]
        assert arguments_of(target, "STUDY=s", program) == [target, *flags]
        assert arguments_of(target, "STUDY=s", program, "AS_FINISHED=1")[-1] == "--as-finished"
    assert arguments_of("enqueue", "STUDY=s", "FILE=x") == [
        "enqueue",
        "--study",
        "s",
        "--file",
        "x",
    ]
    written = arguments_of("export-hyperparameters", "STUDY=s", "OUTPUT=x")
    assert written == ["export-hyperparameters", "--study", "s", "--output", "x"]


def test_text_of_predict_is_the_column_of_a_file() -> None:
    assert arguments_of("predict", "FILE=new.csv", "TEXT=body") == [
        "predict",
        "--text-column",
        "body",
        "--file",
        "new.csv",
    ]


@pytest.mark.parametrize(("name", "flag"), [("PORT", "--port"), ("HOST", "--host")])
def test_server_takes_address_and_port(name: str, flag: str) -> None:
    assert arguments_of("serve", f"{name}=x") == ["serve", flag, "x"]


def test_dashboard_takes_a_study_and_an_export_a_slice() -> None:
    assert arguments_of("dashboard", "STUDY=s") == ["dashboard", "--study", "s"]
    assert arguments_of("export-best", "SLICE=c") == ["export-best", "--slice", "c"]


def test_join_is_a_flag() -> None:
    assert arguments_of("tune", "JOIN=1") == ["tune", "--join"]


def test_text_of_predict_is_the_text_itself() -> None:
    assert arguments_of("predict", "TEXT=I love it!") == ["predict", "--text", "I love it!"]


@pytest.mark.parametrize(
    "target",
    [
        "tune",
        "compare",
        "dashboard",
        "report",
        "export-best",
        "import-kerastuner",
        "import-optuna",
        "enqueue",
        "export-hyperparameters",
        "track",
        "predict",
        "serve",
        "status",
        "data-card",
        "spaces",
    ],
)
def test_empty_variables_leave_the_defaults_to_the_command(target: str) -> None:
    assert arguments_of(target, *(f"{name}=" for name in (*VARIABLES, "STORAGE", "LOG_TO"))) == [
        target
    ]


@pytest.mark.parametrize(
    "part", ["", "throughput", "time-to-accuracy", "fasttext", "step", "scale", "serving"]
)
def test_bench_and_its_parts_take_the_same_variables(part: str) -> None:
    target = f"bench-{part}" if part else "bench"
    variables = {
        "DATA": "--data",
        "TEXT": "--text-column",
        "LABEL": "--label-column",
        "WORKERS": "--workers",
        "SEED": "--seed",
    }
    assert arguments_of(target, *(f"{name}=" for name in VARIABLES)) == [part or "all"]
    for name, flag in variables.items():
        assert arguments_of(target, f"{name}=it's $1") == [part or "all", flag, "it's $1"]


def test_compare_takes_its_variables() -> None:
    assert arguments_of("compare", "SPACES=cnn ngrams", "MINUTES=5", "SEED=1", "WORKERS=2") == [
        "compare",
        *("--seed", "1", "--spaces", "cnn ngrams", "--minutes", "5", "--workers", "2"),
    ]


def test_second_call_does_not_install_again() -> None:
    assert "pip install" not in make("tune")


def test_recipes_can_fail() -> None:
    assert not re.search(r"\|\| *(true|:)|^\t-", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_preset_installs_its_packages() -> None:
    packages = "--requirement requirements-pretrained.lock"
    command = ["make", "-n", "-o", ".venv/.installed", "-W", "requirements-pretrained.lock"]
    for target, installs in (
        (["tune", "PRESET=x"], True),
        (["install-pretrained"], True),
        (["tune"], False),
    ):
        done = subprocess.run(
            [*command, *target], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert (packages in done.stdout) == installs


def test_lock_files_leave_out_large_packages_that_nothing_calls() -> None:
    for path in ROOT.glob("requirements*.lock"):
        assert not re.search(r"^(torch|tensorflow-text)==", path.read_text(), re.MULTILINE)


def test_lock_files_name_hashes_and_no_index() -> None:
    for name in (
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-serve.lock",
        "requirements-pretrained.lock",
        "requirements-bench.lock",
    ):
        text = (ROOT / name).read_text()
        packages = re.findall(r"^[a-z0-9][^\s=]*==", text, re.MULTILINE)
        assert len(packages) > 40
        assert text.count("--hash=sha256:") >= len(packages)
        assert "://" not in text
        assert "index" not in text.replace("importlib", "")


@pytest.mark.parametrize("status", [0, 3])
def test_installation_prints_what_it_installs_and_the_output_of_a_failure(
    status: int, tmp_path: Path
) -> None:
    """The interpreter is a shell script that prints a line, as TensorFlow does at its import."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] || exit 0\necho "I0000 start" >&2\nexit {status}\n'
    )
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "--no-print-directory", f"VENV={tmp_path}", "install-serve"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    first, *others = done.stdout.splitlines()
    assert re.search(r"the \d+ packages of requirements\.lock .* minutes", first)
    if status:
        assert done.returncode != 0
        assert "I0000 start" in done.stderr
        assert others == []
    else:
        assert (done.returncode, done.stderr) == (0, "")
        (second,) = others
        assert re.search(r"requirements-serve\.lock .* minutes", second)
