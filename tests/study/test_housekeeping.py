"""Files that no study needs: listed, and removed on request."""

from collections.abc import Callable

import optuna
import pytest
from filelock import FileLock

from tests.commands import Ran
from tuning.results import ResultsDir
from tuning.study import housekeeping
from tuning.study.housekeeping import Removable, find_removable, remove
from tuning.study.lock import is_locked


@pytest.fixture
def results(copied_results: ResultsDir) -> ResultsDir:
    return copied_results


def reasons(removables: list[Removable], results: ResultsDir) -> dict[str, str]:
    return {str(item.path.relative_to(results.path)): item.reason for item in removables}


def found(results: ResultsDir) -> list[Removable]:
    return find_removable(results, storage_url=results.storage_url(None))


def make_litter(results: ResultsDir) -> dict[str, str]:
    """Write the files that dead processes and deleted studies leave. Return the reasons by path."""
    study = results.study("s")
    (results.path / "cache" / "0123456789abcdef").mkdir()
    (results.path / "cache" / "0123456789abcdef" / "train.ids.npy").write_bytes(b"x" * 1000)
    study.checkpoint_path(1).write_bytes(b"x" * 100)
    study.config_path.with_name("report.html.tmp").write_text("half")
    (results.path / "artifacts").mkdir()
    (results.path / "artifacts" / "nobody").write_text("<svg/>")
    return {
        "s/report.html.tmp": "a process ended while it wrote this file",
        "s/trials/0001/checkpoint.npz": "its trial has ended",
        "cache/0123456789abcdef": "no study uses these tokenized data",
        "artifacts": "this version does not read it",
    }


def test_litter_is_listed_with_its_size_and_removed(results: ResultsDir) -> None:
    before = {path for path in results.path.rglob("*") if not path.name.startswith("optuna.db")}
    expected = make_litter(results)
    removables = found(results)
    assert reasons(removables, results) == expected
    assert sorted(item.n_bytes for item in removables) == [4, 6, 100, 1000]
    remove(removables)
    after = {path for path in results.path.rglob("*") if not path.name.startswith("optuna.db")}
    assert after - {results.study("s").lock_path} == before - {results.study("s").lock_path}
    assert found(results) == []


def test_locked_study_is_left_alone(results: ResultsDir) -> None:
    make_litter(results)
    with FileLock(results.study("s").lock_path):
        assert is_locked(results.study("s").lock_path)
        assert found(results) == []
    assert not is_locked(results.study("s").lock_path)


def test_export_that_is_being_written_is_kept(results: ResultsDir) -> None:
    (results.study("s").path / "best.tmp").mkdir()
    assert set(reasons(found(results), results)) == {"s/best.tmp"}
    with FileLock(results.study("s").export_lock_path):
        assert found(results) == []


def test_caches_stay_while_a_new_study_tokenizes(results: ResultsDir) -> None:
    """The new study has no study.json yet, and holds the lock of its folder."""
    make_litter(results)
    new = results.study("new")
    new.path.mkdir()
    with FileLock(new.lock_path):
        paths = reasons(found(results), results)
        assert not [path for path in paths if path.startswith(("cache/", "artifacts"))]


def test_study_that_can_not_be_read_keeps_all_caches(
    results: ResultsDir, caplog: pytest.LogCaptureFixture
) -> None:
    make_litter(results)
    path = results.study("other").config_path
    path.parent.mkdir()
    path.write_text("torn")
    assert housekeeping.unused_caches(results) == []
    assert f"all tokenized data are kept: {path} must contain JSON" in caplog.text


def test_checkpoint_of_a_paused_trial_stays(results: ResultsDir) -> None:
    study = optuna.load_study(study_name="s", storage=results.storage_url(None))
    number = study.ask().number
    path = results.study("s").checkpoint_path(number)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert found(results) == []


def test_study_in_a_storage_that_is_not_named_gets_no_file(results: ResultsDir) -> None:
    path = results.study("s").checkpoint_path(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    results.database_path.unlink()
    assert found(results) == []
    assert not results.database_path.exists()


def test_clean_names_first_and_removes_with_yes(
    results: ResultsDir, run_cli: Callable[..., Ran]
) -> None:
    make_litter(results)
    ran = run_cli("clean")
    assert ran.code == 0 and "MB to free" in ran.out and "--yes" in ran.out
    assert (results.path / "artifacts" / "nobody").exists()
    ran = run_cli("clean", "--yes")
    assert ran.code == 0 and "freed" in ran.out
    assert not (results.path / "artifacts" / "nobody").exists()
    assert "nothing to remove" in run_cli("clean").out
