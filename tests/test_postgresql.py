"""A study on a real PostgreSQL server, started for these tests on 127.0.0.1."""

import os

import optuna
import pytest
import sqlalchemy
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tests.postgresql import PASSWORD
from tests.studies import Setting, open_at_once, tune_with
from tuning.study import storage
from tuning.study.handle import StudyHandle, status_of
from tuning.study.storage import close_study, open_storage

pytestmark = pytest.mark.slow


def test_four_processes_may_open_a_fresh_database_at_once(postgresql: str) -> None:
    name = f"fresh_{os.getpid()}"
    engine = sqlalchemy.create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    open_at_once(postgresql.rsplit("/", 1)[0] + f"/{name}")


@pytest.mark.journey
def test_study_runs_resumes_and_is_read(postgresql: str, setting: Setting) -> None:
    for n_trials in (2, 3):
        outcome = tune_with(
            setting.config,
            setting.results,
            storage_url=postgresql,
            n_trials=n_trials,
            n_workers=1,
        )
        assert outcome.summary.n_finished == n_trials
    study = optuna.load_study(study_name="s", storage=postgresql)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 3
    close_study(study)
    status = status_of(StudyHandle(setting.results, setting.folder, postgresql))
    assert status.n_complete == 3
    assert not setting.results.database_path.exists()
    for path in setting.results.path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


@pytest.mark.timeout(60)
def test_rows_of_a_machine_that_is_suspended_in_a_write_are_free_again(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LOCK_SECONDS", 1)
    suspended, other = open_storage(postgresql), open_storage(postgresql)
    study_id = other.create_new_study([StudyDirection.MAXIMIZE], f"locked-{os.getpid()}")
    trial_id = other.create_new_trial(study_id)
    with suspended.engine.connect() as connection:
        locked = sqlalchemy.text("SELECT * FROM trials WHERE trial_id = :number FOR UPDATE")
        connection.execute(locked, {"number": trial_id})
        assert other.set_trial_state_values(trial_id, TrialState.FAIL)
        with pytest.raises(sqlalchemy.exc.DBAPIError, match="idle-in-transaction timeout"):
            connection.execute(sqlalchemy.text("SELECT 1"))
        connection.invalidate()
    for each in (suspended, other):
        each.engine.dispose()


def test_connections_give_a_silent_server_up(postgresql: str) -> None:
    """A timeout in the URL takes precedence over the default."""
    for url, expected in ((postgresql, "30000"), (f"{postgresql}?tcp_user_timeout=7000", "7000")):
        opened = open_storage(url)
        with opened.engine.connect() as connection:
            assert (
                connection.connection.driver_connection.info.get_parameters()["tcp_user_timeout"]
                == expected
            )
        opened.engine.dispose()
