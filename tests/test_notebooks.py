"""The notebooks run in a real kernel at small sizes, and are kept with their outputs."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from tests.notebooks import FOLDER, NAMES, read_notebook, run_notebook, with_parameters
from tests.paths import ROOT
from tests.texts import make_reviews

SMALL = {
    "quick_start": 'DATA, N_TRIALS, EPOCHS = "reviews.csv", 3, 1',
    "read_a_study": 'STUDY = "text-reviews"',
    "your_data": "N_REVIEWS, N_TRIALS, EPOCHS = 300, 2, 1",
    "from_keras_tuner": "N_REVIEWS, N_TRIALS, EPOCHS = 300, 2, 1",
}
# A text that the output of the last cells contains, for each notebook.
SAYS = {
    "quick_start": "probability",
    "read_a_study": "ngram_vocab_size",
    "your_data": "text_column must be one of product, body, stars",
    "from_keras_tuner": "embedding_dim",
}


def code_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def output_of(cell: nbformat.NotebookNode) -> str:
    return "".join(
        str(output.get("text") or output.get("data", {}).get("text/plain", ""))
        for output in cell["outputs"]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of all notebooks: the second one reads the study of the first one."""
    folder = tmp_path_factory.mktemp("notebooks")
    make_reviews().to_csv(folder / "reviews.csv", index=False)
    return folder


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_at_small_sizes(name: str, folder: Path) -> None:
    notebook = with_parameters(read_notebook(name), SMALL[name])
    run_notebook(notebook, folder, timeout_seconds=250)
    cells = code_of(notebook)
    assert SAYS[name] in "".join(map(output_of, cells[-3:]))
    logged = [out for cell in cells for out in cell["outputs"] if out.get("name") == "stderr"]
    # Log lines of libraries go into the log of the study, unless a cell itself imports Keras.
    assert name == "from_keras_tuner" or not logged


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs_name_calls_and_no_flags_except_in_commands(name: str) -> None:
    outputs = "".join(output_of(cell) for cell in code_of(read_notebook(name)))
    assert re.findall(r"--[a-z][a-z-]+", re.sub(r"`[^`]*`", "", outputs)) == []
    assert re.findall(r"make [a-z-]+ [A-Z]+=", outputs) == []


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES) == set(SMALL)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_kept_with_its_outputs(name: str) -> None:
    """Every cell ran, in the cells' order, and a cell that ends with an expression shows it."""
    cells = code_of(read_notebook(name))
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    for cell in cells:
        if isinstance(ast.parse(cell["source"]).body[-1], ast.Expr):
            assert cell["outputs"], cell["source"]
        assert all(output["output_type"] != "error" for output in cell["outputs"])
        # What libraries log goes into the log of the study.
        assert not [output for output in cell["outputs"] if output.get("name") == "stderr"]


@pytest.mark.parametrize("name", NAMES)
def test_notebook_has_no_path_of_a_machine(name: str) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert len(text) < 500_000
    for place in (str(ROOT), str(Path.home()), "/tmp/", "/home/"):
        assert place not in text
