"""What Optuna Dashboard shows of a study beyond its trials: a note, the learning curves, confusion
matrices; and its server.
"""

from __future__ import annotations

import html
import ipaddress
import socket
import warnings
from collections.abc import Container, Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref import simple_server
from wsgiref.simple_server import WSGIServer

import optuna
import optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import save_note, save_plotly_graph_object

from tuning.confirmation.rounds import Confirmation
from tuning.data.data_card import DataCard
from tuning.errors import StudyError
from tuning.report.figures import learning_curves
from tuning.report.next_ranges import advise
from tuning.report.sentences import verdict
from tuning.results import ResultsDir, StudyDir, escape_markdown, translated, visible
from tuning.spaces.loading import SearchSpace
from tuning.study.housekeeping import ARTIFACTS
from tuning.study.storage import open_storage
from tuning.study.summary import Summary
from tuning.study.trials import is_over_limit, value_of

HOST = "127.0.0.1"  # Optuna Dashboard has no authentication


def annotate(
    study: optuna.Study,
    summary: Summary,
    *,
    folder: StudyDir,
    card: DataCard,
    space: SearchSpace,
) -> None:
    """Write the study's note (verdict, data card, space) and its learning curves into
    the storage.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = Confirmation.load(folder)
        save_note(study, note(summary, card=card, space=space, found=found))
        if summary.ranked:
            save_plotly_graph_object(
                study, learning_curves(summary, found), graph_object_id="learning_curves"
            )


def note(
    summary: Summary, *, card: DataCard, space: SearchSpace, found: Confirmation | None = None
) -> str:
    """The study's note, in Markdown; text out of data and spaces is escaped."""
    rows = "\n".join(
        f"| {escape_markdown(item.name)} | {escape_markdown(item.range_text())} |"
        f" {escape_markdown(item.default)} |"
        for item in space.searched
    )
    bounds = "".join(
        f"- {escape_markdown(one.sentence)}\n" for one in advise(summary, space, card, found)
    )
    classes = ", ".join(
        f"{escape_markdown(name)} {sum(counts):,}"
        for name, counts in zip(
            card.class_names, zip(*card.class_counts.values(), strict=True), strict=True
        )
    )
    percentiles = card.length_percentiles
    return (
        f"## Verdict\n{escape_markdown(verdict(summary, found))}\n\n{bounds}\n##"
        f" Data\n{sum(card.n_rows.values()):,} rows of {escape_markdown(card.data or '')}:"
        f" {classes}. Tokens a text: median {percentiles['50']}, 95th percentile"
        f" {percentiles['95']}. {card.n_words:,} different words in the training split;"
        f" {card.n_duplicates} duplicates. Fingerprint {card.fingerprint}.\n\n## Search space"
        f" {escape_markdown(space.name)}\n| hyperparameter | range | baseline"
        f" |\n|---|---|---|\n{rows}\n\nFingerprint {space.fingerprint}.\n"
    )


def upload(trial: optuna.Trial, path: Path, *, artifacts_dir: Path) -> None:
    """Attach a file to a running trial."""
    with translated(artifacts_dir):
        artifacts_dir.mkdir(parents=True, exist_ok=True)
        store = FileSystemArtifactStore(str(artifacts_dir))
        optuna.artifacts.upload_artifact(
            artifact_store=store, file_path=str(path), study_or_trial=trial
        )


def confusion_svg(
    matrix: Sequence[Sequence[int]], class_names: Sequence[str], *, title: str
) -> str:
    """A confusion matrix as an SVG picture: true classes in rows, predicted ones in columns, shaded
    by share of the row.
    """
    cell, left, top = 92, 130, 84
    size = len(matrix)
    names = [html.escape(visible(str(name)[:16])) for name in class_names or range(size)]
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + size * cell + 20}"'
            f' height="{top + size * cell + 20}" font-family="sans-serif" font-size="13"'
            ' text-anchor="middle">'
        ),
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left + size * cell / 2}" y="22" font-size="15">{html.escape(title)}</text>',
        f'<text x="{left + size * cell / 2}" y="46" fill="#555">predicted</text>',
        (
            f'<text x="14" y="{top + size * cell / 2}" fill="#555" transform="rotate(-90 14'
            f' {top + size * cell / 2})">true</text>'
        ),
    ]
    for row, counts in enumerate(matrix):
        y = top + row * cell
        parts.append(
            f'<text x="{left - 8}" y="{y + cell / 2 + 5}" text-anchor="end">{names[row]}</text>'
        )
        parts.append(f'<text x="{left + (row + 0.5) * cell}" y="{top - 10}">{names[row]}</text>')
        for column, count in enumerate(counts):
            share = count / max(sum(counts), 1)
            x, colour = left + column * cell, "white" if share > 0.5 else "black"
            fill = f"rgb({int(245 - 215 * share)},{int(248 - 150 * share)},{int(252 - 60 * share)})"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}" fill="{fill}"/>'
            )
            parts.append(
                f'<text x="{x + cell / 2}" y="{y + cell / 2}" fill="{colour}">{count:,}</text>'
            )
            parts.append(
                f'<text x="{x + cell / 2}" y="{y + cell / 2 + 18}" fill="{colour}"'
                f' font-size="11">{share:.1%}</text>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def make_server(
    results: ResultsDir, *, storage_url: str, port: int, host: str = HOST
) -> WSGIServer:
    """Optuna Dashboard bound to `host`; call `serve_forever` on it.

    It runs in this process, so that a storage URL with a password stands in no list of processes.

    Raises:
        StudyError: there is no study yet, or the port is in use.
        ValueError: `host` is no name or address, or `port` is none.
    """
    local = storage_url == results.storage_url(None)
    storage = (
        None if local and not results.database_path.exists() else open_storage(storage_url, _Shown)
    )
    if storage is None or not optuna.get_all_study_names(storage):
        where = results.database_path if local else "the storage"
        raise StudyError(
            f"The Dashboard needs a study to show; {where} holds none. Type `make tune` first."
        )
    check_port(port, host)
    with translated(results.artifacts_dir):
        results.artifacts_dir.mkdir(parents=True, exist_ok=True)
    assert isinstance(storage, _Shown)  # for mypy
    storage.artifacts_dir = results.artifacts_dir
    store = FileSystemArtifactStore(str(results.artifacts_dir))
    app = _under_own_name(optuna_dashboard.wsgi(storage, artifact_store=store), host)
    server_class = _ThreadedServer6 if _resolved(host)[0] == socket.AF_INET6 else _ThreadedServer
    return simple_server.make_server(
        host, port, app, server_class=server_class, handler_class=_QuietHandler
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound to `host`.

    Raises:
        ValueError: it is no name or address.
    """
    return ipaddress.ip_address(_resolved(host)[1].partition("%")[0]).is_loopback


def _resolved(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        if not host:
            raise OSError
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"--host must be a name or an address of this machine, such as {HOST}; received"
            f" {host!r}."
        ) from error
    return family, str(address[0])


def _under_own_name(app: Any, host: str) -> Any:
    """Refuse requests for another host: a web page could else reach the Dashboard through a name of
    its own that it resolves to here.

    An address can't be resolved to another one: those of this machine alone are taken on loopback,
    and all elsewhere.
    """
    local = is_loopback(host)
    names = {host.lower(), "localhost"} | (set() if local else {socket.gethostname().lower()})

    def is_own(name: str) -> bool:
        try:
            asked = urlsplit(f"//{name}").hostname or ""
            return asked in names or ipaddress.ip_address(asked).is_loopback or not local
        except ValueError:
            return False

    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        if not is_own(environ.get("HTTP_HOST", "")):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"Ask for the address that make dashboard printed.\n"]
        return app(environ, start_response)

    return guarded


class _Shown(RDBStorage):
    """A storage that tells the Dashboard of constraints in the form that it reads, and of no
    artifact whose file was removed.

    A missing file is an internal error to the Dashboard, with a traceback in the terminal.

    Optuna Dashboard 0.21 knows the list of Optuna 4, not the named constraints of Optuna 5, and
    takes `get_best_trial` for the best though it may violate them. Of this program's own studies no
    trial over a limit is complete; other studies may share the storage.
    """

    artifacts_dir: Path | None = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        for trial in trials:
            trial.system_attrs.setdefault("constraints", [*trial.constraints.values()])
            for name in set(trial.system_attrs) - set(self._present(trial.system_attrs)):
                del trial.system_attrs[name]
        return trials

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self._present(super().get_trial_system_attrs(trial_id))

    def _present(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """The attributes without the artifacts that are gone."""
        folder = self.artifacts_dir
        return {
            name: value
            for name, value in attributes.items()
            if not name.startswith(ARTIFACTS)
            or folder is None
            or (folder / name.removeprefix(ARTIFACTS)).exists()
        }

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        complete = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
        within = [trial for trial in complete if not is_over_limit(trial)]
        if not within:
            return super().get_best_trial(study_id)
        (direction,) = self.get_study_directions(study_id)
        best = max if direction == StudyDirection.MAXIMIZE else min
        return best(within, key=value_of)


class _ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ThreadedServer6(_ThreadedServer):
    address_family = socket.AF_INET6


class _QuietHandler(simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: the page polls several times a second."""


def check_port(port: int, host: str = HOST) -> None:
    """Refuse a port that can't be bound.

    Raises:
        StudyError: it is in use or not allowed, or `host` is another machine's.
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"--port must lie in 1..65535; received {port}.")
    with socket.socket(_resolved(host)[0], socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StudyError(
                f"The Dashboard needs a free port of this machine; {port} on {host} gave"
                f" {error.strerror!r}. Name another with --port (make: PORT=), or another address"
                " with --host (make: HOST=)."
            ) from error
