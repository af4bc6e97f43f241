"""A format needs only its own runtime. An error names the missing part in one sentence."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.paths import ROOT
from tests.stored_documents import files_of
from tuning.atomic_io import write_json
from tuning.commands import install
from tuning.data.corpus import encode
from tuning.errors import ExportError
from tuning.export.onnx_graph import chain, write_graph
from tuning.inference.load import load
from tuning.inference.manifest import ModelInput
from tuning.inference.runtimes import FORMATS, load_format
from tuning.models import lstm_classifier
from tuning.training.batching import WordView

WORDS = ["good", "bad", "film"]
INPUT = ModelInput(vocab_size=5, sequence_length=4, truncating="pre")
TEXTS = ["", "Good, good film!", "a bad film, a very bad film", "日本 \x00"]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the ONNX format only. Its `expected.json` contains the ids and the
    probabilities of `TEXTS`.
    """
    folder = tmp_path_factory.mktemp("export")
    model = lstm_classifier(vocab_size=5, embedding_dim=3, lstm_units=2)
    model.set_weights([9 * w for w in model.get_weights()])
    (folder / "vocabulary.txt").write_text("\n".join(WORDS))
    graph = write_graph(chain(model) or [], length=4, n_classes=2)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    output = model.predict_on_batch(
        WordView(encode(TEXTS, WORDS), 5, 4).batch(np.arange(len(TEXTS)))
    )
    (folder / "expected.json").write_text(json.dumps(output[:, 0].tolist()))
    manifest = {
        "class_names": ["a", "b"],
        "input": vars(INPUT),
        "forms": {},
        "left_out": {},
        "files": files_of(folder),
    }
    write_json(folder / "export.json", {"schema_version": 2, **manifest})
    return folder


def test_onnx_format_gives_the_model_s_probabilities(export: Path) -> None:
    expected = json.loads((export / "expected.json").read_text())
    probabilities = load(export, format_name="onnx", n_threads=1)
    predicted = probabilities(TEXTS)
    assert predicted.dtype == np.float64
    np.testing.assert_allclose(predicted[:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-6)
    assert probabilities([]).shape == (0, 2)


def test_onnx_format_loads_without_tensorflow_keras_and_scikit_learn(export: Path) -> None:
    heavy = (
        "tensorflow",
        "keras",
        "onnx",
        "ai_edge_litert",
        "sklearn",
        "scipy",
        "pandas",
        "pyarrow",
        "optuna",
    )
    code = f"""
import json, sys
from dataclasses import replace
from pathlib import Path
for name in {heavy}: sys.modules[name] = None
from tuning.inference.load import load
print(json.dumps(load(Path({str(export)!r}), format_name="onnx")({TEXTS!r})[:, 1].tolist()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(
        json.loads(done.stdout), json.loads((export / "expected.json").read_text()), atol=1e-6
    )


@pytest.mark.parametrize("format_name", ["onnx", "litert", "litert_int8"])
def test_file_that_is_no_model_is_refused_by_its_runtime(format_name: str, tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_text("good")
    (tmp_path / FORMATS[format_name].path).write_bytes(b"junk")
    with pytest.raises(
        ExportError,
        match=f"must be a model of this export; loading {FORMATS[format_name].path} gave",
    ):
        load_format(tmp_path, format_name, inputs=INPUT)


def test_runtime_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vocabulary.txt").write_text("good")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ExportError, match="-m pip install ai-edge-litert"):
        load_format(tmp_path, "litert", inputs=INPUT)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ExportError, match=re.escape(install("pretrained"))):
        load_format(tmp_path, "onnx", inputs=replace(INPUT, preset="p"))
