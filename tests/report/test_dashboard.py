"""Notes and pictures in Optuna Dashboard, and its program."""

import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note

from tests.servers import free_port
from tests.stored_documents import CARD
from tuning.errors import StudyError
from tuning.report.dashboard import note
from tuning.report.dashboard_server import HOST, dashboard, page_of
from tuning.results import ResultsDir
from tuning.search.tune import Outcome


def test_storage_without_a_study_is_refused_and_not_created(tmp_path: Path) -> None:
    results = ResultsDir(tmp_path)
    for url in (results.storage_url(None), f"sqlite:///{tmp_path}/mistyped.db"):
        with pytest.raises(StudyError, match="make tune"):
            page_of(results, None, storage_url=url)
    assert [*tmp_path.iterdir()] == []


def test_note_escapes_what_comes_from_data(finished: tuple[ResultsDir, Outcome]) -> None:
    _, outcome = finished
    card = replace(CARD, data="<script>|[x](y)", counts_validation=True)
    text = note(outcome.summary, card=card, space=outcome.space)
    assert "<script>" not in text
    assert r"\|\[x\]" in text
    assert "words in the training and the validation split: " in text
    assert "The steps of a trial are folds." not in text


def test_study_carries_its_note(finished: tuple[ResultsDir, Outcome], served: str) -> None:
    study = optuna.load_study(study_name="s", storage=finished[0].storage_url(None))
    text = get_note(study)
    assert re.match(r"## Verdict at 20\d\d-\d\d-\d\d \d\d:\d\d UTC\n", text)
    assert all(heading in text for heading in ("## Data", "## Search space tiny"))


@pytest.mark.journey
def test_page_in_chromium_shows_the_trials_and_the_best_value(
    finished: tuple[ResultsDir, Outcome], served: str, chromium: list[str]
) -> None:
    _, outcome = finished
    assert outcome.summary.best is not None
    study = optuna.load_study(study_name="s", storage=finished[0].storage_url(None))
    command = [*chromium, "--virtual-time-budget=30000", "--dump-dom"]
    history, trials = (
        subprocess.run(
            [*command, f"{served}/dashboard/{page}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for page in (
            f"studies/{study._study_id}",
            f"studies/{study._study_id}/trials?numbers={outcome.summary.best.number}",
        )
    )
    assert str(outcome.summary.best.value) in history
    assert all(f"Trial {trial.number}<" in trials for trial in outcome.summary.trials)


def test_dashboard_opens_at_the_named_study(
    finished: tuple[ResultsDir, Outcome], served: str, tmp_path: Path
) -> None:
    results = finished[0]
    url = results.storage_url(None)
    study_id = optuna.load_study(study_name="s", storage=url)._study_id
    for name in ("s", None):  # The study that was used last is "s", too.
        assert page_of(results, name, storage_url=url) == f"/dashboard/studies/{study_id}"
    assert "<html" in get(f"{served}{page_of(results, 's', storage_url=url)}")
    with pytest.raises(StudyError, match=r"'t' must be in the storage; it has .*s"):
        page_of(results, "t", storage_url=url)
    assert page_of(ResultsDir(tmp_path), None, storage_url=url) == "/dashboard"


def get(url: str) -> str:
    assert url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def served(finished: tuple[ResultsDir, Outcome]) -> Iterator[str]:
    """Give the Dashboard's address while it serves the finished study."""
    port = free_port()
    with dashboard(finished[0].storage_url(None), port=port) as process:
        yield f"http://{HOST}:{port}"
    assert process.poll() is not None


def test_command_line_does_not_show_the_storage(
    finished: tuple[ResultsDir, Outcome],
) -> None:
    url = f"{finished[0].storage_url(None)}?timeout=60"
    port = free_port()
    with dashboard(url, port=port) as process:
        shown = [*map(str, process.args)] if isinstance(process.args, list) else []
        assert "--from-config" in shown and not any("timeout=60" in word for word in shown)
        assert not Path(shown[-1]).exists()  # The program has read it.
        assert "study_summaries" in get(f"http://{HOST}:{port}/api/studies")


def test_program_that_ends_is_reported() -> None:
    with (
        pytest.raises(StudyError, match="optuna-dashboard ended with exit status 1"),
        dashboard("nonsense://", port=free_port()),
    ):
        pass


def test_port_that_is_taken_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with (
            pytest.raises(StudyError, match="port"),
            dashboard("sqlite://", port=taken.getsockname()[1]),
        ):
            pass
