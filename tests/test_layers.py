"""Who may import whom, read from the sources."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tuning"

# Lowest first. A module imports from lower lines, and from its own where an arrow in README's "Design" says so.
LAYERS = [
    {"errors", "machine"},
    {"config", "results", "asha", "chunks", "html_tables", "options", "progress", "tokenizer"},
    {"logs", "owner", "storage", "manifest", "runtimes"},
    {"datasets", "tokenizing"},
    {"vocabulary"},
    {"batching", "metrics", "hyperparameters", "corpus", "models", "checkpoints", "architecture"},
    {"statistics", "references"},
    {"looks", "confirmation", "duplicates"},
    {"judgement"},
    {"spaces"},
    {"prediction", "trials", "targets"},
    {"epochs", "samplers"},
    {"training", "coordinators", "predict", "onnx_graph"},
    {"study"},
    {"streaming", "serving", "worker", "summary", "proof", "writers", "card", "versions", "server", "clean"},
    {"forms", "retraining", "serve"},
    {"verdicts", "importances"},
    {"pool", "figures", "advice", "tables"},
    {"watch", "ray_worker", "ray_cluster"},
    {"ray_pool"},
    {"pools"},
    {"dashboard", "report", "export", "cost"},
    {"record"},
    {"search"},
    {"tune"},
    {"confirm"},
    {"display"},
    {"cli"},
    {"__main__"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE)


def imports_of(path: Path, *, lazy: bool = True) -> set[str]:
    """Dotted names that a file imports; `lazy` includes imports inside functions, `if TYPE_CHECKING` never counts."""
    tree = ast.parse(path.read_text())
    ignored = {
        id(n) for block in ast.walk(tree) if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test) for n in ast.walk(block)
    }
    nodes = ast.walk(tree) if lazy else iter(tree.body)
    names = set()
    for node in nodes:
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def unit(path: Path) -> str:
    """A module's name in `LAYERS`: packages count as one."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_downward_only(path: Path) -> None:
    own = unit(path)
    used = {name.split(".")[1] for name in imports_of(path) if name.startswith("tuning.")} - {own, "__version__"}
    too_high = {name for name in used if LEVEL[name] > LEVEL[own]}
    assert not too_high


@pytest.mark.parametrize(
    "module",
    [
        "chunks",
        "datasets",
        "tokenizing",
        "vocabulary",
        "config",
        "results",
        "errors",
        "corpus",
        "batching",
        "metrics",
        "predict",
        "streaming",
        "serving",
        "serve",
        "statistics",
        "references",
    ],
)
def test_data_modules_know_no_optuna_and_no_keras_tuner(module: str) -> None:
    files = [PACKAGE / f"{module}.py"] if (PACKAGE / f"{module}.py").exists() else (PACKAGE / module).glob("*.py")
    for file in files:
        assert not {n.split(".")[0] for n in imports_of(file)} & {"optuna", "keras_tuner", "optuna_dashboard"}


def test_worker_knows_no_optuna() -> None:
    for module in ("worker", "training", "spaces", "models/lstm"):
        assert not {n.split(".")[0] for n in imports_of(PACKAGE / f"{module}.py")} & {"optuna", "optuna_dashboard"}


def test_ray_is_loaded_by_one_module_alone_and_only_where_it_is_used() -> None:
    assert [unit(p) for p in MODULES if {n.split(".")[0] for n in imports_of(p)} & {"ray"}] == ["ray_cluster"]
    assert not {n.split(".")[0] for n in imports_of(PACKAGE / "ray_cluster.py", lazy=False)} & {"ray"}


def test_optuna_and_keras_tuner_meet_in_hyperparameters_alone() -> None:
    source = {p: p.read_text() for p in MODULES}
    both = {unit(p) for p, text in source.items() if "import keras_tuner" in text and "import optuna" in text}
    assert both == {"hyperparameters"}


def test_only_the_command_line_prints() -> None:
    for path in MODULES:
        calls = [
            n
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"
        ]
        assert not calls, path


def test_package_names_no_search_space() -> None:
    for path in MODULES:
        assert not {n for n in imports_of(path) if n.startswith("search_spaces")}
