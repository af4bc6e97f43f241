"""A study on a real PostgreSQL server, started for these tests on 127.0.0.1."""

import os

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from tests.postgresql import PASSWORD
from tests.studies import Setting, open_at_once, tune_with
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


def test_connections_give_a_silent_server_up(postgresql: str) -> None:
    """A timeout in the URL takes precedence over the default."""
    for url, expected in ((postgresql, "30000"), (f"{postgresql}?tcp_user_timeout=7000", "7000")):
        storage = open_storage(url)
        with storage.engine.connect() as connection:
            assert (
                connection.connection.driver_connection.info.get_parameters()["tcp_user_timeout"]
                == expected
            )
        storage.engine.dispose()
