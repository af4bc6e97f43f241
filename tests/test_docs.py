"""What the documents say is what the code does."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.goals import GOALS
from tests.paths import ROOT
from tuning.results import ResultsDir
from tuning.search.tune import Outcome
from tuning.spaces.loading import declare, load_hypermodel

README = (ROOT / "README.md").read_text()


def test_file_tree_names_every_module_and_nothing_else() -> None:
    """By their whole paths: a name at the depth of a package's modules belongs to the package above
    it.
    """
    tree = README.split("## Files, in the order")[1].split("```")[1]
    named, folders = set(), [""]
    for indent, name in re.findall(r"^( *)([\w./-]+)", tree, re.MULTILINE):
        folders = folders[: len(indent) // 2 + 1]
        if name.endswith("/"):
            folders.append(f"{folders[-1]}{name}")
        elif name.endswith(".py"):
            named.add(f"{folders[-1]}{name}")
    paths = [
        path.relative_to(ROOT)
        for folder in ("tuning", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert named == {str(path) for path in paths if path.stem not in ("__init__", "__main__")} | {
        "docs/pictures.py"
    }


def test_variables_of_the_makefile_are_in_the_readme() -> None:
    variables = re.findall(r"^([A-Z_]+) +\?=$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    table = README.split("## Commands and variables")[1].split("##")[0]
    assert len(variables) == 29
    assert all(f"`{name}`" in table for name in variables)


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z][a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_goals_in_the_readme_are_those_of_make_bench() -> None:
    table = README.split("## Speed")[1].split("\n## ")[0]
    for goal in GOALS.values():
        assert f"| `{goal.name}` | {goal.text} | {goal.goal_text} |" in table, goal.name


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in (
        ROOT / "README.md",
        ROOT / "search_spaces" / "README.md",
        ROOT / "results" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / link).exists(), link


def test_space_of_the_contract_s_example_works(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        (ROOT / "search_spaces" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    )
    space = declare(path, n_classes=2)
    assert [item.name for item in space.searched] == ["vocab_size", "sequence_length", "units"]
    assert load_hypermodel(path)


def test_results_layout_is_the_documented_one(finished: tuple[ResultsDir, Outcome]) -> None:
    layout = (ROOT / "results" / "README.md").read_text().split("```")[1]

    def names(indent: str) -> set[str]:
        """The first parts of the paths that begin with this indent."""
        entries = re.findall(rf"^{indent}(\S.*?)(?:  |$)", layout, re.MULTILINE)
        return {name.split("/")[0] for entry in entries for name in entry.split(", ")}

    results, _ = finished
    written = {path.name for path in results.path.iterdir()}
    own = {name for name in written if not name.startswith("optuna.db")}  # and its WAL and lock
    assert own <= names("") | {"s"}
    of_study = {path.name for path in results.study("s").path.iterdir()}
    assert {"study.json", "search_space.json", "trials"} <= of_study <= names("  ")


def test_baseline_ranges_in_the_readme_are_the_space_s() -> None:
    text = README.split("## Hyperparameters")[1]
    for file in ("baseline_lstm.py", "masked_lstm.py"):
        space = declare(ROOT / "search_spaces" / file, n_classes=2)
        for item in space.searched:
            if item.low is not None:
                assert f"{item.low:,g} to {item.high:,g}" in text, item


@pytest.mark.slow
def test_pictures_are_drawn(finished: tuple[ResultsDir, Outcome], tmp_path: Path) -> None:
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no Chromium on this machine; .ci/run installs Debian's")
    for name in ("docs", "tuning", "search_spaces"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for old in (tmp_path / "docs").glob("*.png"):
        old.unlink()
    shutil.copytree(finished[0].path, tmp_path / "results")
    subprocess.run(
        [sys.executable, "docs/pictures.py", "--study", "s"], cwd=tmp_path, check=True, timeout=200
    )
    for name in ("report.png", "dashboard.png"):
        assert (tmp_path / "docs" / name).read_bytes().startswith(b"\x89PNG")
