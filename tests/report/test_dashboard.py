"""Notes, pictures and the server of Optuna Dashboard."""

import contextlib
import json
import re
import socket
import subprocess
import threading
import urllib.error
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
from tuning.report.dashboard_server import HOST, make_server, page_of
from tuning.results import ResultsDir
from tuning.search.tune import Outcome


def test_server_without_a_study_names_the_command_to_type(tmp_path: Path) -> None:
    results = ResultsDir(tmp_path)
    for url in (results.storage_url(None), f"sqlite:///{tmp_path}/mistyped.db"):
        with pytest.raises(StudyError, match="make tune"):
            make_server(results, storage_url=url, port=8080)
    assert [*tmp_path.iterdir()] == []


def test_note_escapes_what_comes_from_data(finished: tuple[ResultsDir, Outcome]) -> None:
    _, outcome = finished
    card = replace(CARD, data="<script>|[x](y)", counts_validation=True)
    text = note(outcome.summary, card=card, space=outcome.space)
    assert "<script>" not in text
    assert r"\|\[x\]" in text
    assert "words in the training and the validation split: " in text
    assert "The steps of a trial are folds." not in text


def test_study_carries_its_note_and_learning_curves(
    finished: tuple[ResultsDir, Outcome], served: str
) -> None:
    study = optuna.load_study(study_name="s", storage=finished[0].storage_url(None))
    text = get_note(study)
    assert re.match(r"## Verdict at 20\d\d-\d\d-\d\d \d\d:\d\d UTC\n", text)
    assert all(heading in text for heading in ("## Data", "## Search space tiny"))
    detail = json.loads(get(f"{served}/api/studies/{study._study_id}"))
    assert [graph["id"] for graph in detail["plotly_graph_objects"]] == ["learning_curves"]


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


def test_constraints_are_given_in_the_format_of_optuna_4(
    finished: tuple[ResultsDir, Outcome], served: str
) -> None:
    study = optuna.create_study(
        study_name="constrained", storage=finished[0].storage_url(None), direction="maximize"
    )
    study.add_trial(optuna.trial.create_trial(value=0.9, constraints={"n_parameters": -1.0}))
    detail = json.loads(get(f"{served}/api/studies/{study._study_id}"))
    assert [trial["constraints"] for trial in detail["trials"]] == [[-1.0]]
    optuna.delete_study(study_name="constrained", storage=finished[0].storage_url(None))


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


@contextlib.contextmanager
def serving(results: ResultsDir, *, host: str = HOST) -> Iterator[str]:
    """Give the Dashboard's address on loopback while it serves these results."""
    port = free_port()
    server = make_server(results, storage_url=results.storage_url(None), port=port, host=host)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://{HOST}:{port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def served(finished: tuple[ResultsDir, Outcome]) -> Iterator[str]:
    """Give the Dashboard's address while it serves the finished study."""
    with serving(finished[0]) as address:
        yield address


def status_under(served: str, name: str) -> int:
    """Return the status of the answer to a request with this host name."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{served}/api/studies", headers={"Host": name}), timeout=20
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (403, "evil.example evil.example:8080 192.0.2.1 127.0.0.1.evil.example [ a@b:c:d"),
        (200, "127.0.0.1 127.0.0.1:9 localhost:8080 LOCALHOST [::1]:8080"),
    ],
    ids=["other names", "loopback"],
)
def test_request_is_answered_under_a_name_of_loopback_alone(
    served: str, status: int, names: str
) -> None:
    assert {name: status_under(served, name) for name in names.split()} == dict.fromkeys(
        names.split(), status
    )


def test_server_that_others_may_reach_answers_to_addresses_and_its_own_name(
    finished: tuple[ResultsDir, Outcome],
) -> None:
    with serving(finished[0], host="0.0.0.0") as served:
        status_of_host = {
            name: status_under(served, name)
            for name in ("192.0.2.1:80", socket.gethostname(), "evil.example", "0.0.0.0")
        }
    assert status_of_host == {
        "192.0.2.1:80": 200,
        socket.gethostname(): 200,
        "evil.example": 403,
        "0.0.0.0": 200,
    }


def test_address_that_can_not_be_bound_is_reported(
    finished: tuple[ResultsDir, Outcome],
) -> None:
    results = finished[0]
    url = results.storage_url(None)
    with pytest.raises(StudyError, match="host"):
        make_server(results, storage_url=url, port=8080, host="192.0.2.1")
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(StudyError, match="port"):
            make_server(results, storage_url=url, port=taken.getsockname()[1])
