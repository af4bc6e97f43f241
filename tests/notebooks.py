"""The notebooks in real Jupyter kernels.

`make notebooks` runs them unchanged, in a new folder, and keeps their outputs; `python -m
tests.notebooks NAME` runs one notebook.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.paths import ROOT

FOLDER = ROOT / "notebooks"
# The order matters: read_a_study opens the study that quick_start creates.
NAMES = ("quick_start", "read_a_study", "your_data", "from_keras_tuner")
PARAMETERS = "parameters"  # tag of the cell with the sizes


def read_notebook(name: str) -> nbformat.NotebookNode:
    """Return a notebook of this repository."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def with_parameters(notebook: nbformat.NotebookNode, source: str) -> nbformat.NotebookNode:
    """Return a notebook in which a cell follows the cell of the parameters and replaces them."""
    cells = list(notebook["cells"])
    (position,) = (
        place for place, cell in enumerate(cells) if PARAMETERS in cell["metadata"].get("tags", [])
    )
    cells.insert(position + 1, nbformat.v4.new_code_cell(source))
    return nbformat.NotebookNode({**notebook, "cells": cells})


def run_notebook(notebook: nbformat.NotebookNode, folder: Path, *, timeout_seconds: float) -> None:
    """Run the cells of a notebook in a new kernel, whose working folder is `folder`, and put their
    outputs into the notebook. `timeout_seconds` is the maximum duration of a cell.
    """
    environment = {
        # Messages name calls in Python, and not the commands of make.
        **{name: value for name, value in os.environ.items() if name != "MAKELEVEL"},
        "PYTHONPATH": str(ROOT),
        "PLOTLY_RENDERER": "plotly_mimetype",  # figures as data, without Plotly's script of 4 MB
        "TF_CPP_MIN_LOG_LEVEL": "3",  # no lines about the processor of this machine
    }
    client = NotebookClient(
        notebook,
        timeout=timeout_seconds,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)


def tidied(outputs: Sequence[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Return outputs without TensorFlow's lines about the processor, and with neighboring texts on
    standard output as one: GitHub would show a gap after each of them.
    """
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if kept and output.get("name") == kept[-1].get("name") == "stdout":
            kept[-1]["text"] += output["text"]
        else:
            kept.append(output)
    return kept


def main(names: Sequence[str]) -> None:
    """Run notebooks, and write them with their outputs."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            sys.stdout.write(f"{name}\n")
            notebook = read_notebook(name)
            run_notebook(notebook, Path(folder), timeout_seconds=1800)
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    cell["outputs"] = tidied(cell["outputs"])
            nbformat.write(notebook, FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main(sys.argv[1:] or NAMES)
