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
from tuning.commands import install
from tuning.errors import ExportError
from tuning.inference.load import load_fastest
from tuning.inference.manifest import read_manifest
from tuning.inference.runtimes import (
    ENCODER_TOLERANCE,
    FORMATS,
    RAW_TEXT,
    TOKEN_IDS,
    format_of,
    load_format,
)
from tuning.inputs.contract import ModelInput
from tuning.inputs.ngrams import Ngrams

INPUT = ModelInput(vocab_size=5, sequence_length=4, truncating="pre")
TEXTS = ["", "Good, good film!", "a bad film, a very bad film", "日本 \x00"]
HEAVY = ("tensorflow", "keras", "onnx", "sklearn", "scipy", "pandas", "optuna")


def test_onnx_format_loads_without_tensorflow_keras_and_scikit_learn(onnx_export: Path) -> None:
    probabilities = load_fastest(onnx_export, read_manifest(onnx_export))
    expected = probabilities(TEXTS)
    assert expected.dtype == np.float64
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-6)
    assert probabilities([]).shape == (0, 2)
    code = f"""
import json, sys
from pathlib import Path
for name in {(*HEAVY, "pyarrow", "filelock")}: sys.modules[name] = None
from tuning.inference.load import load_fastest
from tuning.inference.manifest import read_manifest
folder = Path({str(onnx_export)!r})
print(json.dumps(load_fastest(folder, read_manifest(folder))({TEXTS!r}).tolist()))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-6)


@pytest.mark.parametrize("format_name", ["onnx"])
def test_file_that_is_no_model_is_refused_by_its_runtime(format_name: str, tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_text("good")
    path = FORMATS[format_name].path
    (tmp_path / path).write_bytes(b"junk")
    with pytest.raises(ExportError, match=f"must be a model of this export; loading {path} gave"):
        load_format(tmp_path, format_name, inputs=INPUT)


def test_runtime_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match=r"vocabulary\.txt"):
        load_format(tmp_path, "onnx", inputs=INPUT)
    (tmp_path / "vocabulary.txt").write_text("good")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match="-m pip install onnxruntime"):
        load_format(tmp_path, "onnx", inputs=INPUT)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ExportError, match=re.escape(install("pretrained"))):
        load_format(tmp_path, "onnx", inputs=replace(INPUT, preset="p"))


def test_format_with_a_keras_model_as_encoder_needs_no_keras_hub() -> None:
    known = format_of("keras", replace(INPUT, preset="encoder.keras"))
    assert known == replace(FORMATS["keras"], tolerance=ENCODER_TOLERANCE)


def test_formats_of_an_input_without_keras_layers_take_token_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = replace(INPUT, ngrams=2, ngram_vocab_size=5)
    assert format_of("keras", both).takes == format_of("saved_model", both).takes == RAW_TEXT
    monkeypatch.setattr(Ngrams, "has_layers", False)
    assert {format_of(name, both).takes for name in FORMATS} == {TOKEN_IDS}
    assert format_of("keras", INPUT).takes == RAW_TEXT
