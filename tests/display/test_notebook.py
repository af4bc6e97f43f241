"""A study in a real Jupyter kernel: a class of a cell, progress, the stop button."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.paths import ROOT
from tests.texts import make_reviews

CLASS = """
import keras
import keras_tuner
import pandas as pd
import tuning

class Mine(keras_tuner.HyperModel):
    def build(self, hp):
        size = hp.Int("vocab_size", 10, 400, default=30)
        hp.Fixed("sequence_length", 8)
        layers = [keras.layers.Embedding(size, 3), keras.layers.GlobalAveragePooling1D()]
        model = keras.Sequential([*layers, keras.layers.Dense(1, "sigmoid")])
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        return model
"""
TUNE = """
study = tuning.tune(
    pd.read_csv("reviews.csv"),
    space=Mine,
    n_trials={n_trials},
    epochs=1,
    folds=1,  # so that no trial is pruned
    workers=1,
    confirm=False,
)
"""


def outputs_of(cell: nbformat.NotebookNode) -> str:
    # JupyterLab shows 50 outputs of a cell. The texts of a stream are one.
    assert sum(output["output_type"] == "display_data" for output in cell["outputs"]) < 9
    return "".join(str(output.get("text") or output.get("data")) for output in cell["outputs"])


def run_cells(folder: Path, *sources: str) -> list[str]:
    """Run a notebook in a new kernel and return the output of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, sources)])
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    notebook["cells"].insert(0, nbformat.v4.new_code_cell(path))
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=250, resources=resources).execute()
    return [outputs_of(cell) for cell in notebook["cells"][1:]]


@pytest.mark.journey
def test_class_of_a_cell_is_tuned_with_progress(tmp_path: Path) -> None:
    make_reviews().to_csv(tmp_path / "reviews.csv", index=False)
    _, tuned, shown = run_cells(tmp_path, CLASS, TUNE.format(n_trials=3), "study")
    assert "[0/3] trial 0 starts" in tuned and "[3/3] trial" in tuned
    assert "<table" in shown
    # Another kernel continues the study of the same cells.
    _, _, number = run_cells(
        tmp_path, CLASS, TUNE.format(n_trials=4), "print(len(study.trials_dataframe()))"
    )
    assert int(number) == 4


# The stop button sends the signal of Ctrl-C to the kernel and its children. Here it does so when
# trial 1 ends.
STOP = """
import os, pathlib, signal, threading, time

def stop():
    while not [*pathlib.Path("results").glob("*/trials/0001/history.csv")]:
        time.sleep(0.1)
    os.killpg(os.getpgrp(), signal.SIGINT)

threading.Thread(target=stop).start()
"""
COUNT = "print(sum(study.trials_dataframe()['state'] == 'COMPLETE'))"


@pytest.mark.slow
def test_stop_button_pauses_and_another_kernel_goes_on(tmp_path: Path) -> None:
    make_reviews().to_csv(tmp_path / "reviews.csv", index=False)
    _, _, _, stopped = run_cells(tmp_path, CLASS, STOP, TUNE.format(n_trials=200), COUNT)
    assert 1 <= int(stopped) < 200
    _, _, number = run_cells(tmp_path, CLASS, TUNE.format(n_trials=int(stopped) + 2), COUNT)
    assert int(number) == int(stopped) + 2
