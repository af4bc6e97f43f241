"""A study on a real PostgreSQL, started for these tests on 127.0.0.1."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.test_tune import Setting
from tuning.study import close_study
from tuning.summary import status_of
from tuning.tune import tune

pytestmark = pytest.mark.slow
PASSWORD = "s3cret-word"


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a fresh database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("no PostgreSQL on this machine; .ci/run installs Debian's")
    bin_dir = programs[-1].parent
    # PostgreSQL refuses to run as root, and its user can't enter pytest's own folder
    folder = Path("/tmp") / f"postgresql-{os.getpid()}"
    folder.mkdir()
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o644)
    data = folder / "data"
    initdb = [*as_user, bin_dir / "initdb", "-D", data, "-U", "tuner", "--auth=scram-sha-256", f"--pwfile={password_file}"]
    subprocess.run(initdb, check=True, capture_output=True, cwd="/")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control = [*as_user, bin_dir / "pg_ctl", "-D", data, "-w", "-l", folder / "log.txt"]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd="/")
    yield f"postgresql+psycopg://tuner:{PASSWORD}@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/")
    shutil.rmtree(folder)


@pytest.fixture
def setting(tmp_path: Path, reviews_csv: Path, tiny_space: Path) -> Setting:
    return Setting(tmp_path, reviews_csv, tiny_space)


def test_study_runs_resumes_and_is_read(postgresql: str, setting: Setting) -> None:
    for n_trials in (2, 3):
        outcome = tune(setting.config, results=setting.results, storage_url=postgresql, n_trials=n_trials, n_workers=1)
        assert outcome.summary.n_finished == n_trials
    study = optuna.load_study(study_name="s", storage=postgresql)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 3
    close_study(study)
    values, _, _ = status_of(setting.results, setting.folder, storage_url=postgresql)
    assert values["n_complete"] == 3
    assert not setting.results.database_path.exists()
    for path in setting.results.path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
