"""The allowed imports between packages, compared with the sources."""

import ast
import functools
import re
from itertools import chain
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGE = ROOT / "tuning"
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists())


# For each package, the packages that its modules may import, as docs/design.md has them. All
# packages may import the modules directly in `tuning`.
TABLE = (ROOT / "docs" / "design.md").read_text().split("## Who imports whom")[1].split("```")[1]
MAY_IMPORT = {
    name: {*FOLDERS} - {name} if used == "all" else {*re.findall(r"\w+", used)} - {"base"}
    for name, used in re.findall(r"^(\w+) +→ (.+)$", TABLE, re.MULTILINE)
}


@functools.cache
def imports_of(path: Path, *, lazy: bool = True) -> frozenset[str]:
    """Return the dotted names that a file imports.

    `lazy` includes imports inside functions. Imports under `if TYPE_CHECKING` are never included.
    """
    tree = ast.parse(path.read_text())
    ignored = {
        id(n)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for n in ast.walk(block)
    }
    nodes = ast.walk(tree) if lazy else iter(tree.body)
    names: set[str] = set()
    for node in nodes:
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def package_of(path: Path) -> str:
    """Return the package of a module; empty for the modules directly in `tuning`."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def outside(path: Path, *, lazy: bool = True) -> set[str]:
    """Return the top-level packages that a module imports, without `tuning`."""
    return {name.split(".")[0] for name in imports_of(path, lazy=lazy)} - {"tuning"}


def name_of(path: Path) -> str:
    """Return the path of a module below `tuning`."""
    return path.relative_to(PACKAGE).as_posix()


def modules(*packages: str) -> list[Path]:
    return [path for path in MODULES if package_of(path) in packages]


def test_every_package_is_in_the_table() -> None:
    assert sorted(MAY_IMPORT) == FOLDERS


def test_table_has_no_cycle() -> None:
    left = {name: set(used) for name, used in MAY_IMPORT.items()}
    while left:
        free = {name for name, used in left.items() if not used & set(left)}
        assert free, left
        left = {name: used for name, used in left.items() if name not in free}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_what_its_package_may(path: Path) -> None:
    own = package_of(path)
    if path.name == "__main__.py":
        # This module starts the command line.
        return
    used = {name.split(".")[1] for name in imports_of(path) if name.startswith("tuning.")} & set(
        FOLDERS
    )
    assert used - {own} <= MAY_IMPORT.get(own, set())


@pytest.mark.parametrize("name", sorted(set(FOLDERS) - {"models"}))
def test_package_itself_imports_nothing(name: str) -> None:
    """Imports in `__init__.py` would slow down the fork server and --help. `tuning.models` is
    exempt, because search spaces import it.
    """
    assert not imports_of(PACKAGE / name / "__init__.py")


@pytest.mark.parametrize(
    ("packages", "libraries"),
    [
        # Packages for the data, the evaluation and the inference.
        (
            ("data", "inputs", "evaluation", "confirmation", "inference", "serving"),
            {"optuna", "keras_tuner", "optuna_dashboard"},
        ),
        # Packages that run in workers.
        (("training", "models", "kernels", "workers"), {"optuna", "optuna_dashboard"}),
        # Packages that run in the coordinator.
        (("study", "confirmation", "report", "search"), {"keras", "tensorflow", "keras_tuner"}),
    ],
    ids=["data", "workers", "coordinator"],
)
def test_packages_do_without_libraries(packages: tuple[str, ...], libraries: set[str]) -> None:
    for path in modules(*packages):
        # This module reads the trials of a study.
        if name_of(path) != "evaluation/test_split.py":
            assert not outside(path) & libraries, path


@pytest.mark.parametrize(
    ("library", "users"),
    [
        ("ray", ["workers/ray_cluster.py"]),
        # The functions of `preset.py` that need KerasHub run in a child process.
        ("keras_hub", ["inputs/preset.py", "models/transformer.py"]),
    ],
)
def test_library_is_loaded_only_where_it_is_used(library: str, users: list[str]) -> None:
    assert [name_of(path) for path in MODULES if library in outside(path)] == users
    for name in users:
        assert library not in outside(PACKAGE / name, lazy=False)


def test_packages_of_trackers_are_loaded_only_where_they_are_used() -> None:
    """Their modules are imported when a tracker is opened."""
    users = {
        package: [name_of(path) for path in MODULES if package in outside(path)]
        for package in ("mlflow", "tensorboard", "wandb")
    }
    assert users == {
        "mlflow": ["trackers/mlflow_tracker.py"],
        "tensorboard": ["trackers/tensorboard_tracker.py"],
        "wandb": ["trackers/wandb_tracker.py"],
    }
    names = set(chain.from_iterable(users.values()))
    own = {f"tuning.{name.removesuffix('.py').replace('/', '.')}" for name in names}
    for path in MODULES:
        used = {name.rpartition(".")[0] for name in imports_of(path, lazy=False)}
        assert name_of(path) in names or not used & own, path


def test_no_module_imports_both_optuna_and_keras_tuner() -> None:
    assert [path for path in MODULES if {"optuna", "keras_tuner"} <= outside(path)] == []


def test_package_names_no_search_space() -> None:
    for path in MODULES:
        assert not {n for n in imports_of(path) if n.startswith("search_spaces")}
