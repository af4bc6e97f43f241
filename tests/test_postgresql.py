"""A study on a real PostgreSQL server, started for these tests on 127.0.0.1."""

import optuna
import pytest
from optuna.trial import TrialState

from tests.postgresql import PASSWORD
from tests.studies import Setting, tune_with
from tuning.study.handle import StudyHandle, status_of
from tuning.study.storage import close_study

pytestmark = pytest.mark.slow


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
