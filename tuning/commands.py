"""Commands in messages, as the user types them: with make, with the installed program, with
`python -m tuning`, or as calls in Python.
"""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

PROGRAM = "keras-text-tuning"  # Console command of the installed package.
# Variables of make whose names are not the names of their flags in capitals.
VARIABLES = {
    "configurations": "FILE",
    "group_column": "GROUP",
    "label_column": "LABEL",
    "n_trials": "TRIALS",
    "source": "FROM",
    "split_column": "SPLIT",
    "text_column": "TEXT",
    "time_column": "TIME",
    "timeout_seconds": "TIMEOUT",
    "weight_column": "WEIGHT",
}
# Functions and methods for the commands that Python users call. The other commands have none.
CALLS = {
    "compare": "tuning.compare",
    "confirm": "study.confirm",
    "export-best": "study.export",
    "report": "study.report",
    "tune": "tuning.tune",
}
# The targets of make that install the packages of extras.
TARGETS = {
    "serve": "install-serve",
    "pretrained": "install-pretrained",
    **dict.fromkeys(("mlflow", "tensorboard", "wandb"), "install-trackers"),
}
# The packages of the extras that no target installs, as in `pyproject.toml`.
REQUIREMENTS = {"postgres": "psycopg[binary]>=3.2,<4", "ray": "ray>=2.60,<3"}
# Fields of `tuning.Data`, which commands and methods of a study have as parameters of their own.
PLACES_OF_DATA = ("data", "data_dir", "validation", "test")
_PACKAGE = Path(__file__).parent
DEFAULT_RESULTS = Path("results")
INTERRUPTED = "Interrupted. Type the same command again to go on."
# The commands of a study that read its export alone.
WITHOUT_STORAGE = ("predict", "serve")
_place: dict[str, object] = {}  # The flags with which the command that runs finds its study.


def typed(command: str, **values: object) -> str:
    """Return a command with its flags as the user types it: `make report STUDY=s` if make started
    this program, `keras-text-tuning report --study s` or `python -m tuning report …` in these
    programs, and `study.report()` in another program of the user or in a notebook.
    """
    if "study" in values:
        values |= {name: value for name, value in _place.items() if name not in values}
        if command in WITHOUT_STORAGE:
            values.pop("storage", None)
    values = {name: value for name, value in values.items() if value is not None}
    if is_python() and command in CALLS:
        return _call(CALLS[command], values)
    # The user replaces the ellipsis.
    quoted = {n: "…" if value == "…" else shlex.quote(str(value)) for n, value in values.items()}
    if "MAKELEVEL" in os.environ:
        words = [f"{VARIABLES.get(name, name.upper())}={value}" for name, value in quoted.items()]
        return " ".join(["make", command, *words])
    is_installed = _program().name == PROGRAM
    flags = [f"--{name.replace('_', '-')} {value}" for name, value in quoted.items()]
    program = PROGRAM if is_installed else f"{shlex.quote(_python())} -m tuning"
    return " ".join([program, command, *flags])


def use_place(results: str | Path, storage: str | None) -> None:
    """Let `typed` name the results folder of the command that runs, unless it is the default, and
    the storage, unless `STORAGE` of the environment is the same: later commands find it there. A
    URL that may contain a password is shown as "…".
    """
    _place.clear()
    if Path(results).absolute() != DEFAULT_RESULTS.absolute():
        _place["results"] = results
    # make exports the variables that its user types, too.
    is_typed = storage != os.environ.get("STORAGE") or "STORAGE=" in os.environ.get("MAKEFLAGS", "")
    if storage and is_typed:
        _place["storage"] = storage if re.fullmatch(r"sqlite:///[^?]*", storage) else "…"


def of_study(folder: Path) -> dict[str, object]:
    """Return the values with which a command finds a study: its name, and the results folder if it
    is not the default.
    """
    is_default = folder.parent.absolute() == DEFAULT_RESULTS.absolute()
    results = {} if is_default else {"results": folder.parent}
    return {"study": folder.name, **results}


def install(extra: str) -> str:
    """Return the command that installs the packages of an extra into the environment that runs this
    program: a target of make if `make install` created the environment, else a call of pip.
    """
    clone = _PACKAGE.parent
    is_of_clone = Path(sys.prefix).resolve() == (clone / ".venv").resolve()
    if is_of_clone and Path(sys.prefix, ".installed").exists():
        if extra in REQUIREMENTS:
            return pip_install(REQUIREMENTS[extra])
        folder = "" if Path.cwd() == clone else f" -C {shlex.quote(str(clone))}"
        return f"make{folder} {TARGETS[extra]}"
    from importlib import metadata

    try:
        metadata.distribution(PROGRAM)
    except metadata.PackageNotFoundError:
        return pip_install(f"{clone}[{extra}]")
    return pip_install(f"{PROGRAM}[{extra}]")


def pip_install(requirement: str) -> str:
    python = shlex.quote(_python(elsewhere=sys.executable))
    return f"{python} -m pip install {shlex.quote(requirement)}"


def package_of(module: str) -> str:
    """Return the name under which pip installs a module."""
    return module.split(".", maxsplit=1)[0].replace("_", "-")


def is_python() -> bool:
    """Return whether the user calls the functions of `tuning`, and typed none of its commands."""
    program = _program()
    is_command = program.name in (PROGRAM, "__main__.py") or _PACKAGE in program.parents
    return "MAKELEVEL" not in os.environ and not is_command


def repeated() -> str:
    return "the same call" if is_python() else "the same command"


def _program() -> Path:
    return Path(sys.argv[0])


def _python(*, elsewhere: str = "python") -> str:
    """Return this interpreter as the user types it: `python`, or its path below the working
    directory if a shell would run another one, as without the activation of `.venv`. `elsewhere`
    is for an interpreter that is not below the working directory.
    """
    running = Path(sys.executable)
    first = shutil.which("python")
    if first is not None and Path(first) == running:
        return "python"
    return str(running.relative_to(Path.cwd())) if running.is_relative_to(Path.cwd()) else elsewhere


def _call(function: str, values: dict[str, object]) -> str:
    """Return a call. The ellipsis of `tuning.tune` and `tuning.compare` is the space and the data;
    these functions also take the study's name.
    """
    is_method = function.startswith("study.")
    arguments = [] if is_method else ["…"]
    for name, value in values.items():
        if name in (("study", "results") if is_method else PLACES_OF_DATA):
            continue
        text = str(value)
        is_text = name == "study" or not (text.isdigit() or text == "N")
        shown = f'"{text}"' if is_text else text
        arguments.append(f"{name}={shown}")
    return f"{function}({', '.join(arguments)})"
