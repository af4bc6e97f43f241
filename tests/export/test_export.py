"""Exports of a finished study: the folder `best/` and predictions with it."""

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import numpy as np
import optuna
import pytest

from tests.commands import Ran
from tests.numbered import MAJORITY, NGRAMS, TWO
from tests.paths import ROOT
from tests.servers import address_of, serving
from tests.stored_documents import RECORD, full_manifest
from tests.studies import Setting, copy_study
from tests.texts import make_reviews, substitute
from tuning.api.exports import load_export
from tuning.atomic_io import read_json
from tuning.config import DataConfig, StudyConfig
from tuning.data.files import Progress
from tuning.data.folders import checksum_of_encoder
from tuning.errors import ExportError, SpaceError, StudyError
from tuning.evaluation.predictions import read_predictions
from tuning.evaluation.test_split import N_MISTAKES, evaluations_of
from tuning.export import export, formats, retraining
from tuning.export.description import ChosenTrial
from tuning.export.manifest import FullManifest
from tuning.export.parity import HOSTILE_TEXTS
from tuning.export.retraining import Retraining, Trained, retrain
from tuning.inference.load import load_fastest
from tuning.inference.manifest import read_manifest, verify
from tuning.inference.runtimes import FORMATS
from tuning.metrics import metrics_of
from tuning.outcomes import FailureReason
from tuning.report.page import write_report
from tuning.results import ResultsDir
from tuning.search.tune import Outcome
from tuning.spaces.files import find_space
from tuning.spaces.loading import SearchSpace, load_hypermodel
from tuning.spaces.ranges import Hyperparameter
from tuning.study.handle import StudyHandle
from tuning.study.prepare import prepare_corpus
from tuning.study.study import read_record
from tuning.training import fit
from tuning.training.result import Epoch, FitResult, TrainingJob
from tuning.workers.dispatcher import Dispatcher
from tuning.workers.messages import Ending, Train, TrainingEnded, TrainingFailed


def export_study(results: ResultsDir, **options: Any) -> FullManifest:
    return export.export_best(StudyHandle.of(results, "s"), **options)


@pytest.fixture(scope="module")
def exported_once(
    finished: tuple[ResultsDir, Outcome], tmp_path_factory: pytest.TempPathFactory
) -> ResultsDir:
    """Return the study "s" with an export in every format, which tests must not change."""
    setting = copy_study(finished[0], tmp_path_factory.mktemp("exported"))
    export_study(setting.results, slice_column="star_rating")
    return setting.results


@pytest.fixture(scope="module")
def exported(exported_once: ResultsDir, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of `best/` in another folder, so that the tests can't depend on the study's
    files.
    """
    copy = tmp_path_factory.mktemp("elsewhere") / "best"
    shutil.copytree(exported_once.study("s").best_dir, copy)
    return copy


@pytest.fixture
def with_export(exported_once: ResultsDir, tmp_path: Path) -> Setting:
    """Return a copy of the study with its first export that a test may change."""
    return copy_study(exported_once, tmp_path)


@pytest.mark.slow
def test_manifest_has_what_a_reader_asks_for(
    exported: Path, finished: tuple[ResultsDir, Outcome]
) -> None:
    manifest, best = full_manifest(exported), finished[1].summary.best
    assert best is not None
    assert manifest.hyperparameters.items() >= best.params.items()
    assert manifest.epochs == best.user_attrs["best_epoch"]
    assert set(manifest.scores) == {"best", "baseline"}
    assert set(manifest.references) == {MAJORITY, NGRAMS} <= set(manifest.comparisons)
    names = {metric.name for metric in metrics_of("classes")}
    for scores in (manifest.scores | manifest.references).values():
        assert set(scores.test) == names
        bounds = dict(scores.test_intervals)
        assert bounds.pop("expected_calibration_error") == (None, None)
        assert all(low <= high for low, high in bounds.values())
    by_class = manifest.scores["best"].test_f1_by_class
    assert set(by_class) == {"negative", "positive"}
    assert not manifest.scores["baseline"].test_f1_by_class
    # The mistakes are texts of the data, which an export does not contain.
    assert "mistakes" not in read_json(exported / "export.json", version=2)
    assert {measured.form for measured in manifest.forms.values()} == set(FORMATS)
    assert manifest.n_parity_texts == len(HOSTILE_TEXTS) + manifest.n_rows["test"]
    for measured in manifest.forms.values():
        assert measured.latency_ms * measured.first_answer_seconds * measured.memory_mb > 0
    verify(exported, manifest, manifest.files)
    tokenizer = (ROOT / "tuning" / "inputs" / "tokenizer.py").read_text()
    assert (exported / "tokenizer.py").read_text() == tokenizer
    # The scores are those of the exported file.
    config = StudyConfig(study="x", data=DataConfig(data=manifest.data))
    test = prepare_corpus(config, results=finished[0])[1].frames["test"]
    labels = [manifest.class_names[code] for code in test["label"]]
    predicted = load_export(exported).predict(test["text"])["label"]
    accuracy = np.mean([a == b for a, b in zip(predicted, labels, strict=True)])
    assert accuracy == pytest.approx(manifest.scores["best"].test["accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("format_name", FORMATS)
def test_snippet_of_the_card_runs_with_its_format_s_runtime_alone(
    exported: Path, format_name: str
) -> None:
    path = FORMATS[format_name].path
    card = (exported / "README.md").read_text()
    (snippet,) = re.findall(
        rf"^`{path}`, checked with [^\n]*:\n```python\n(.*?)```$", card, re.MULTILINE | re.DOTALL
    )
    packages = "tuning tensorflow keras onnxruntime onnx pandas pyarrow"
    blocked = {*packages.split()} - set(FORMATS[format_name].needs)
    code = f"import sys\nfor name in {sorted(blocked)}: sys.modules[name] = None\n{snippet}"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    streams: dict[str, Any] = {"capture_output": True, "text": True}
    done = subprocess.run(command, cwd=exported, env=env, timeout=120, check=False, **streams)
    assert done.returncode == 0, done.stderr
    probabilities = [float(number) for number in re.findall(r"\d\.\d+(?:e-\d+)?", done.stdout)]
    assert probabilities and all(0 <= number <= 1 for number in probabilities)
    texts = ["I love it"] if format_name == "saved_model" else ["I love it", "It broke after a day"]
    expected = load_fastest(exported, read_manifest(exported))(texts)
    assert probabilities[0] == pytest.approx(
        expected[0, 1 if format_name in ("keras", "h5") else 0], abs=0.02
    )


@pytest.mark.slow
def test_predictions_and_mistakes_of_the_test_split_are_kept(
    exported_once: ResultsDir, finished: tuple[ResultsDir, Outcome]
) -> None:
    folder, best = exported_once.study("s"), finished[1].summary.best
    manifest, mistakes = full_manifest(folder.best_dir), read_json(folder.test_path)["mistakes"]
    (look,) = manifest.test_looks
    assert best is not None and look.trials == {"best": best.number, "baseline": 0}
    seen = read_predictions(folder.test_predictions_path, TWO)
    assert seen is not None and seen.when == look.when
    n_wrong = int((~seen.is_right).sum())
    accuracy = manifest.scores["best"].test["accuracy"]
    assert accuracy == pytest.approx(1 - n_wrong / manifest.n_rows["test"])
    assert seen.column is not None and seen.column.name == "star_rating"
    assert len(mistakes) == min(n_wrong, N_MISTAKES)
    assert all(mistake["label"] != mistake["predicted"] for mistake in mistakes)
    probabilities = [mistake["probability"] for mistake in mistakes]
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_failed_export_leaves_the_earlier_one(
    with_export: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = with_export
    before = (setting.folder.best_dir / "export.json").read_bytes()

    def broken(*args: object, **options: object) -> dict:
        raise ExportError("broken.")

    monkeypatch.setattr(formats, "REQUIRED", ("onnx",))
    monkeypatch.setattr(formats, "check_parity", broken)
    with pytest.raises(ExportError, match="broken"):
        export_study(setting.results)
    assert (setting.folder.best_dir / "export.json").read_bytes() == before
    assert not setting.folder.best_dir.with_name("best.tmp").exists()
    # The failed export has evaluated on the test split, too.
    assert len(evaluations_of(setting.study())) == 2


KILLED_EXPORT = """
import sys
from pathlib import Path
from tuning.export import export
from tuning.results import ResultsDir
from tuning.study.handle import StudyHandle
export.export_best(StudyHandle.of(ResultsDir(Path(sys.argv[1])), "s"))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_export_that_is_killed_leaves_the_earlier_one_and_the_next_one_succeeds(
    with_export: Setting,
) -> None:
    setting = with_export
    best, half = setting.folder.best_dir, setting.folder.best_dir.with_name("best.tmp")
    before = {path: path.read_bytes() for path in best.rglob("*") if path.is_file()}
    with (setting.folder.path / "killed.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_EXPORT, setting.results.path],
            cwd=ROOT,
            stderr=log,
            start_new_session=True,
        )
        for _ in range(1200):
            if (half / "model.keras").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None, (setting.folder.path / "killed.log").read_text()
        # The group includes the process of a parity check.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert {path: path.read_bytes() for path in best.rglob("*") if path.is_file()} == before
    assert half.exists()
    manifest = read_manifest(best)
    verify(best, manifest, manifest.files)
    manifest = export_study(setting.results)
    page, _ = write_report(StudyHandle.of(setting.results, "s"))
    assert f"Evaluated {len(manifest.test_looks)} times" in page.read_text()
    assert "The scores are those of" not in page.read_text()
    assert sorted(path.name for path in setting.folder.path.glob("best*/")) == ["best"]


@pytest.mark.parametrize("content", ["{", '{"schema_version": 1}'])
def test_damaged_scores_prevent_no_export(
    content: str, copied: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied.folder.test_path.write_text(content)
    exported: list[Any] = []
    monkeypatch.setattr(export, "_export", lambda *arguments, **options: exported.append(options))
    export_study(copied.results)
    assert exported


def test_export_refuses_a_space_or_data_that_changed(copied: Setting) -> None:
    copied.edit_space('"lstm_units", 2, 4', '"lstm_units", 2, 5')
    with pytest.raises(SpaceError, match="Put the file back"):
        export_study(copied.results)
    substitute(Path(copied.config.data.data), "item7.", "item seven.")
    with pytest.raises(StudyError, match="fingerprint"):
        export_study(copied.results)
    assert not copied.folder.best_dir.exists()


def test_export_needs_the_encoders_alone_that_its_models_read(tmp_path: Path) -> None:
    """The baseline is left out if its encoder is missing."""
    read, gone = tmp_path / "read.keras", tmp_path / "gone.keras"
    read.write_text("weights")
    checksum, opened = str(checksum_of_encoder(read)), optuna.create_study()
    branches = Hyperparameter(name="branch", kind="choice", default="a", choices=("a", "b"))
    preset = Hyperparameter(name="preset", kind="fixed", default="")
    items = [branches]
    for branch, path in (("a", gone), ("b", read)):
        items.append(replace(preset, default=str(path), conditions=(("branch", (branch,)),)))
        trial = optuna.trial.create_trial(
            value=0.5,
            params={"branch": branch},
            distributions={"branch": optuna.distributions.CategoricalDistribution("ab")},
            user_attrs={"best_epoch": 1},
        )
        opened.add_trial(trial)
    baseline, best = opened.trials
    study: Any = SimpleNamespace(
        space=SearchSpace("mine", tuple(items)),
        record=replace(RECORD, encoders={str(gone): checksum, str(read): checksum}),
        summary=SimpleNamespace(baseline=baseline),
        config=StudyConfig(study="s"),
    )
    chosen = ChosenTrial(trial=best, study=study, opened=opened)
    said: list[str] = []
    by_role, _ = export._retrainings(chosen, None, warn=said.append)
    assert [*by_role] == ["best"]
    assert retraining.presets_of(by_role.values(), study.space) == [str(read)]
    assert len(said) == 1 and str(gone) in said[0] and "not compared with the baseline" in said[0]
    with pytest.raises(StudyError, match=rf"An export must have the encoder at {gone}"):
        export._retrainings(replace(chosen, trial=baseline), None, warn=said.append)
    gone.write_text("weights")
    by_role, _ = export._retrainings(chosen, None, warn=said.append)
    assert [each.trial.number for each in by_role.values()] == [1, 0] and len(said) == 1


def test_labels_of_the_test_split_are_read_in_one_module() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "tuning").rglob("*.py")}
    reads = re.compile(r'split\("test"\)(?!\.texts)')
    assert [name for name, text in sources.items() if reads.search(text)] == ["test_split.py"]
    assert not [name for name, text in sources.items() if 'frames["test"]["label"]' in text]


def retrained_of(
    finished: tuple[ResultsDir, Outcome],
    retrainings: list[Retraining],
    *,
    parts: int = 1,
    progress: Progress | None = None,
) -> list[Trained]:
    """Retrain configurations of the study "s"."""
    results, outcome = finished
    config = read_record(results.study("s")).config
    config = replace(config, train=replace(config.train, parts_per_epoch=parts))
    retrained = retrain(
        retrainings,
        config,
        outcome.space,
        corpus=prepare_corpus(config, results=results)[0],
        log_path=results.study("s").log_path,
        warn=pytest.fail,
        progress=progress,
    )
    return [retrained[retraining] for retraining in retrainings]


@pytest.mark.parametrize(("epochs", "parts"), [(5, 1), (0.25, 4), (0, 1)])
def test_retraining_trains_the_epochs_that_its_manifest_states(
    epochs: float, parts: int, finished: tuple[ResultsDir, Outcome]
) -> None:
    best = copy.deepcopy(finished[1].summary.ranked[0])
    best.user_attrs["best_epoch"] = epochs
    shares: list[float] = []
    (trained,) = retrained_of(
        finished,
        [Retraining.of(best, seed=0)],
        parts=parts,
        progress=lambda text, share: shares.append(share),
    )
    assert trained.epochs == epochs
    expected = {5: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 0.25: [0.0, 1.0], 0: [0.0]}[epochs]
    assert [*dict.fromkeys(shares)] == pytest.approx(expected)


@pytest.mark.slow
def test_models_load_as_they_were_retrained(
    finished: tuple[ResultsDir, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members of an ensemble have seeds of their own; there may be fewer workers than models."""
    monkeypatch.setattr(retraining, "default_workers", lambda: 2)
    results, outcome = finished
    config = read_record(results.study("s")).config
    corpus = prepare_corpus(config, results=results)[0]
    first, second = outcome.summary.ranked[:2]
    retrainings = [
        Retraining.of(first, seed=config.seed),
        Retraining.of(second, seed=config.seed),
        Retraining(first, epochs=1, seed=8),
    ]
    doing: set[str] = set()
    retrained = retrained_of(finished, retrainings, progress=lambda text, share: doing.add(text))
    assert doing == {f"training again: trial {first.number}, trial {second.number}"}
    hypermodel = load_hypermodel(find_space(config.space))
    texts = corpus.split("train") + corpus.split("validation")
    for wanted, trained in zip(retrainings, retrained, strict=True):
        job = TrainingJob(
            values=trained.source.values,
            target=TWO,
            train=replace(config.train, epochs=wanted.epochs),
            seed=wanted.seed,
        )
        alone, _ = fit.fit(hypermodel, job, train=texts, validation=None)
        assert trained.trial is wanted.trial
        assert trained.epochs == wanted.epochs
        weights = trained.source.model.get_weights()
        for here, there in zip(alone.get_weights(), weights, strict=True):
            np.testing.assert_allclose(here, there, atol=1e-5)


def test_retraining_whose_worker_is_killed_is_started_again(
    finished: tuple[ResultsDir, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started, best = Dispatcher.start, [], finished[1].summary.ranked[0]

    def killing(self: Dispatcher[Retraining], worker: Any, job: Retraining, request: Train) -> None:
        started.append(worker.pid)
        if len(started) == 1:
            os.kill(worker.pid, signal.SIGKILL)
        start(self, worker, job, request)

    monkeypatch.setattr(Dispatcher, "start", killing)
    (trained,) = retrained_of(finished, [Retraining.of(best, seed=0)])
    assert len(set(started)) == 2
    assert trained.epochs == best.user_attrs["best_epoch"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (TrainingEnded(FitResult(history=[Epoch(1, {}, 0.1)])), r"number of epochs, 4; .* 1\."),
        (TrainingFailed(FailureReason.OUT_OF_MEMORY, "9 GB"), "'out of memory': 9 GB"),
    ],
)
def test_retraining_that_does_not_train_as_the_search_did_is_refused(
    message: Ending,
    expected: str,
    finished: tuple[ResultsDir, Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    best = copy.deepcopy(finished[1].summary.ranked[0])
    best.user_attrs["best_epoch"] = 4
    monkeypatch.setattr(Dispatcher, "events", lambda self, seconds: ended(self, message))
    with pytest.raises(ExportError, match=expected):
        retrained_of(finished, [Retraining.of(best, seed=0)])


def ended(
    dispatcher: Dispatcher[Retraining], message: Ending
) -> Iterator[tuple[Retraining, Ending]]:
    """Make every job of a dispatcher end with this message."""
    for job in dispatcher.running:
        dispatcher.release(job)
        yield job, message


PUBLIC_STYLE = """
import keras_tuner
from keras import Sequential
from keras.layers import LSTM, Bidirectional, Dense, Embedding
from keras.metrics import Precision, Recall
from keras.optimizers import Adam


class Reviews(keras_tuner.HyperModel):
    def build(self, hp):
        vocab_size = hp.Fixed("vocab_size", 40)
        hp.Fixed("sequence_length", 12)
        model = Sequential()
        model.add(Embedding(vocab_size, hp.Int("embedding_dim", 2, 6, default=4), mask_zero=True))
        model.add(Bidirectional(LSTM(hp.Int("units", 2, 6, default=3))))
        model.add(Dense(2, activation="softmax"))
        model.compile(
            optimizer=Adam(0.03),
            loss="categorical_crossentropy",
            metrics=["accuracy", Precision(), Recall()],
        )
        return model

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, batch_size=hp.Choice("batch_size", [16, 32]), **kwargs)


hypermodel = Reviews()
"""


@pytest.mark.journey
@pytest.mark.usefixtures("onnx_alone")
def test_hypermodel_as_public_repositories_write_it_is_tuned_confirmed_exported_and_served(
    run_cli: Callable[..., Ran], tmp_path: Path, reviews_csv: Path
) -> None:
    """The hypermodel has a lazy Sequential, one-hot labels and an own `fit`, the data groups."""
    space = tmp_path / "public.py"
    space.write_text(PUBLIC_STYLE)
    make_reviews().assign(product=[n // 10 for n in range(240)]).to_csv(reviews_csv, index=False)
    flags = ("--data", reviews_csv, "--group-column", "product", "--folds", 1, "--pruner", "none")
    flags += ("--space", space, "--study", "s", "--epochs", 3, "--n-trials", 4, "--workers", 1)
    ran = run_cli("tune", *flags)
    assert ran.code == 0, ran.err
    assert "confirmed best" in ran.out
    exported = run_cli("export-best", "--study", "s")
    assert exported.code == 0, exported.err
    assert re.search(r"best/, compared on \d+ texts", exported.out)
    assert re.search(r"model\.onnx .* \d\.\de-\d\d", exported.out)
    best = tmp_path / "results" / "s" / "best"
    manifest = full_manifest(best)
    assert (manifest.left_out, [*manifest.forms]) == ({}, ["model.onnx"])
    assert "batch_size" in manifest.hyperparameters
    assert run_cli("report", "--study", "s").code == 0
    with serving(best) as started:
        address = address_of(started)
        answer = httpx.post(
            f"{address}/predict", json={"texts": ["great lovely phone"]}, timeout=60
        )
    (expected,) = load_export(best).predict(["great lovely phone"])["label"]
    assert answer.json()["predictions"][0]["label"] == expected


POLICY_IN_CALL = """
import keras
from keras import layers, ops

keras.mixed_precision.set_global_policy("mixed_float16")


class Mean(layers.Layer):
    def call(self, x):
        n = ops.cast(ops.ones_like(x[:, :, :1]), keras.mixed_precision.dtype_policy().compute_dtype)
        return ops.sum(x * n, axis=1) / 8


def build(hp):
    model = keras.Sequential([
        keras.Input((8,), dtype="int32"), layers.Embedding(30, 2), Mean(),
        layers.Dense(1, "sigmoid", dtype="float32"),
    ])
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
    return model
"""


@pytest.mark.slow
def test_export_has_the_policy_of_the_space_s_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Callable[..., Ran]
) -> None:
    """A layer reads the policy when an export traces it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed.py").write_text(POLICY_IN_CALL)
    make_reviews().to_csv("reviews.csv", index=False)
    flags = ("--space", "mixed.py", "--data", "reviews.csv", "--epochs", 2, "--workers", 1)
    assert run_cli("tune", "--study", "s", *flags, "--n-trials", 1, "--no-confirm").code == 0
    exported = run_cli("export-best", "--study", "s")
    assert exported.code == 0, exported.err


def test_model_that_fails_on_the_test_texts_records_no_evaluation() -> None:
    def fail(texts: object) -> None:
        raise MemoryError

    study = optuna.create_study()
    chosen: Any = SimpleNamespace(opened=study, config=StudyConfig(study="s"))
    model: Any = SimpleNamespace(source=SimpleNamespace(probabilities=fail))
    corpus: Any = SimpleNamespace(split=lambda name: SimpleNamespace(texts=None))
    with pytest.raises(MemoryError):
        export._evaluate(
            chosen, {"best": model}, {}, corpus=corpus, of_test=None, target=TWO, progress=None
        )
    assert evaluations_of(study) == []
