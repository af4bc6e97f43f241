"""The trainings that an ensemble needs beside those of the confirmation."""

from pathlib import Path
from typing import Any

import pytest

import tuning
from tuning.api import trainings
from tuning.confirmation.rounds import Confirmation
from tuning.results import ResultsDir

SPACE = """
import keras
from keras import layers

POOLING = {
    "mean": layers.GlobalAveragePooling1D,
    "max": layers.GlobalMaxPooling1D,
    "flat": layers.Flatten,
}


def build(hp):
    kind = hp.Choice("kind", [*POOLING])
    rows = hp.Int("vocab_size", 10, 40, default=30)
    hp.Fixed("sequence_length", 8)
    dim = 3
    with hp.conditional_scope("kind", ["mean"]):
        if kind == "mean":
            dim = hp.Int("mean_dim", 2, 4)
    parts = [layers.Embedding(rows, dim), POOLING[kind](), layers.Dense(1, "sigmoid")]
    model = keras.Sequential([keras.Input((8,)), *parts])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model
"""


@pytest.mark.slow
def test_export_of_an_ensemble_trains_a_model_of_each_architecture_once(
    tmp_path: Path, reviews_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kinds.py").write_text(SPACE)
    root = ResultsDir(tmp_path / "results")
    study = tuning.tune(
        reviews_csv,
        space=tmp_path / "kinds.py",
        study="s",
        n_trials=12,
        epochs=1,
        workers=1,
        confirm=False,
        sampler="random",
        pruner="none",
        results=root.path,
    )
    assert study.confirm(top=1, seeds=2, share=9.0, workers=1) is study
    folder = root.study("s")
    exports: list[Confirmation | None] = []

    def export(*_: Any, **__: Any) -> None:
        exports.append(Confirmation.load(folder))

    monkeypatch.setattr("tuning.export.export.export_best", export)
    monkeypatch.setattr(trainings, "print_test_scores", lambda manifest: None)
    options: dict[str, Any] = {"storage_url": root.storage_url(None), "number": None}
    for ensemble in (None, "auto", "auto"):
        trainings.export_best(root, folder, ensemble=ensemble, slice_column=None, **options)
        if ensemble:
            # The second export trains nothing.
            monkeypatch.setattr("tuning.search.confirm.confirm", None)
    monkeypatch.undo()
    alone, first, second = exports
    assert alone is not None and first is not None
    assert not alone.others
    assert first == second
    assert first.finalists == alone.finalists
    kinds = {item.values["kind"] for item in (*first.finalists, *first.others)}
    assert kinds == {"mean", "max", "flat"}
    for other in first.others:
        assert [*other.repeats] == first.seeds[:1]
        assert folder.repeat_path(other.trial, first.seeds[0]).exists()
    study.confirm(top=1, seeds=3, share=9.0, workers=1)
    assert study.confirmation is not None
    assert study.confirmation.others == first.others
