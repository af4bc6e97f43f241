"""What the documents say is what the code does."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.goals import GOALS
from tuning.results import ResultsDir
from tuning.spaces import declare, load_hypermodel
from tuning.tune import Outcome

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_file_tree_names_every_module_and_nothing_else() -> None:
    tree = README.split("## Files, in the order")[1].split("```")[1]
    named = set(re.findall(r"[\w/]+\.py", tree))
    modules = {p.name for folder in ("tuning", "benchmarks") for p in (ROOT / folder).rglob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name.rsplit("/", 1)[-1] for name in named} == modules | {"pictures.py"}


def test_variables_of_the_makefile_are_in_the_readme() -> None:
    variables = re.findall(r"^([A-Z_]+) +\?=$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    table = README.split("## Commands and variables")[1].split("##")[0]
    assert len(variables) == 24
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
    pages = ("README.md", "search_spaces/README.md", "results/README.md", "docs/many-machines.md")
    for document in (ROOT / page for page in pages):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / link).exists(), link


def test_space_of_the_contract_s_example_works(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text((ROOT / "search_spaces" / "README.md").read_text().split("```python\n")[1].split("```")[0])
    space = declare(path, n_classes=2)
    assert [item.name for item in space.searched] == ["vocab_size", "sequence_length", "units"]
    assert load_hypermodel(path)


def test_results_layout_is_the_documented_one(finished: tuple[ResultsDir, Outcome]) -> None:
    text = (ROOT / "results" / "README.md").read_text()
    written = {p.name for p in finished[0].study("s").path.iterdir()} | {p.name for p in finished[0].path.iterdir()} - {"s"}
    unknown = {name for name in written if f"{name} " not in text and f"{name}/" not in text and not name.startswith("optuna.db")}
    assert not unknown


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
    subprocess.run([sys.executable, "docs/pictures.py", "--study", "s"], cwd=tmp_path, check=True, timeout=200)
    for name in ("report.png", "dashboard.png"):
        assert (tmp_path / "docs" / name).read_bytes().startswith(b"\x89PNG")
