"""Open, resume or refuse a study; its storage, sampler and pruner by name.

Optuna's storage is the record of trials. `study.json` and `search_space.json` hold what the study is, and never change.
"""

from __future__ import annotations

import contextlib
import itertools
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState

from tuning.config import StudyConfig, differences
from tuning.errors import StorageError, StudyError
from tuning.hyperparameters import grid
from tuning.results import ResultsDir, StudyDir, parsed, read_json, translated, write_json
from tuning.spaces import SearchSpace

STARTUP_TRIALS = 10  # drawn at random before TPE has a model: Optuna's default
FULL_TPE_TRIALS = 1000
SCHEMA_KEY = 7_021_958_113  # of the advisory lock, any number that others do not take
RETRY_OF = "retry_of"  # attribute of a trial that is made again: the number of the first
PACKAGES = ("tensorflow", "keras", "keras-tuner", "optuna", "numpy", "pandas", "scikit-learn")


def derive_seed(seed: int, number: int) -> int:
    """The seed of one trial's sampling, from (study's seed, position in the stream): a resumed study goes on as if it had not stopped."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def stream_position(trials: Sequence[FrozenTrial]) -> int:
    """Which draw of the sampler the next trial is, counted from 0.

    A trial that is made again has the place of the first, so that a study that was interrupted draws what it would have drawn.
    """
    waiting = next((t for t in trials if t.state == TrialState.WAITING), None)
    first = waiting.user_attrs.get(RETRY_OF) if waiting else None
    own = (t for t in trials if RETRY_OF not in t.user_attrs and t.state != TrialState.WAITING)
    return sum(first is None or t.number < first for t in own)


def make_sampler(name: str, *, space: SearchSpace, seed: int, number: int = 0) -> optuna.samplers.BaseSampler:
    """The sampler for the trial at this position of the stream.

    Random, TPE and CMA-ES draw from `derive_seed`; QMC walks one fixed sequence, so its seed is the study's. The points of a grid
    are queued one by one (`grid_points`), so its sampler never draws.
    """
    own = derive_seed(seed, number)
    conditional = any(item.conditions for item in space.hyperparameters)
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=own)
    if name == "cmaes":
        independent = optuna.samplers.RandomSampler(seed=own)
        return optuna.samplers.CmaEsSampler(
            seed=own, independent_sampler=independent, warn_independent_sampling=False, consider_pruned_trials=True
        )
    if name == "qmc":
        return optuna.samplers.QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False, warn_asynchronous_seeding=False)
    # An ask costs candidates × trials, 0.6 s of the coordinator at 24 × 5,000 (Optuna's default); beyond 1,000 trials it grows no more.
    n_candidates = max(24 * FULL_TPE_TRIALS // max(number, FULL_TPE_TRIALS), 2)
    # Groups fit conditional spaces; the multivariate default of Optuna 5 is kept for the others. Paused trials are not finished ones,
    # so the start-up is counted by the trial's number.
    return optuna.samplers.TPESampler(
        seed=own,
        group=conditional,
        multivariate=True if conditional else None,
        n_startup_trials=STARTUP_TRIALS if number < STARTUP_TRIALS else 1,
        n_ei_candidates=n_candidates,
    )


def grid_points(space: SearchSpace, *, seed: int) -> list[dict[str, Any]]:
    """Optuna parameters of every point of the grid, in an order drawn from the seed.

    Optuna's own GridSampler stops a study through `Study.stop`, which works inside `optimize` only.

    Raises:
        SpaceError: the space can't be enumerated.
    """
    values = grid(space.hyperparameters)
    points = [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]
    return [points[i] for i in np.random.default_rng(seed).permutation(len(points))]


def make_pruner(name: str, *, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner by name; epochs are the fidelity. ASHA is the search's own (`asha`): Optuna is asked for none.

    Hyperband keeps Optuna's reduction factor of 3.
    """
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    return optuna.pruners.NopPruner()


def open_storage(url: str, kind: type[optuna.storages.RDBStorage] = optuna.storages.RDBStorage) -> optuna.storages.RDBStorage:
    """The storage at a URL; SQLite in WAL mode, so that the Dashboard reads while a search writes.

    Raises:
        StorageError: it can't be opened; the message hides the URL's password.
    """
    shown = hide_password(url)
    try:
        address = sqlalchemy.make_url(url)
        options: dict[str, Any] = {"pool_pre_ping": True}
        is_sqlite = address.drivername.startswith("sqlite")
        if is_sqlite:
            options["connect_args"] = {"timeout": 60}
            path = Path(address.database or "")
            with translated(path):
                path.parent.mkdir(parents=True, exist_ok=True)
        with _schema_lock(address):
            if is_sqlite:
                _prepare_sqlite(path)
            return kind(url, engine_kwargs=options)
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, ImportError, ValueError) as error:
        lacks_driver = isinstance(error, ImportError) and url.startswith("postgresql")
        hint = f" Install its driver: {sys.executable} -m pip install 'psycopg[binary]'." if lacks_driver else ""
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StorageError(
            f"The storage must be reachable and writable; {shown} gave: {reason}.{hint} Mend its permissions or disk space, or name "
            "another with --storage."
        ) from error


@contextlib.contextmanager
def _schema_lock(url: sqlalchemy.URL) -> Iterator[None]:
    """Let one process at a time make the tables: Optuna 5 fails where several open a fresh database at once."""
    if url.drivername.startswith("postgresql"):
        engine = sqlalchemy.create_engine(url)
        with contextlib.closing(engine.connect()) as connection:  # the lock ends with its connection
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": SCHEMA_KEY})
            try:
                yield
            finally:
                connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:key)"), {"key": SCHEMA_KEY})
        engine.dispose()
        return
    lock = FileLock(f"{url.database}.lock") if url.drivername.startswith("sqlite") and url.database else None
    if lock is not None:
        try:
            lock.acquire()
        except OSError:  # a folder that takes nothing: what is there can be read all the same
            lock = None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def hide_password(url: str) -> str:
    """A storage URL as it may be shown."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return "the storage (its URL can't be parsed)"


def _prepare_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def describe_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def git_commit(folder: Path) -> str | None:
    """The commit of the checkout, or None outside one."""
    try:
        done = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def recorded_config(folder: StudyDir) -> StudyConfig:
    """The configuration a study was created with.

    Raises:
        StudyError: `study.json` is missing or does not hold one.
    """
    if not folder.config_path.exists():
        raise StudyError(f"Study {folder.name!r} must have a {folder.config_path.name}; there is none. Type `make tune` first.")
    with parsed(folder.config_path, "a study's configuration"):
        return StudyConfig.from_dict(read_json(folder.config_path)["config"])


def recorded_space(folder: StudyDir) -> SearchSpace:
    """The search space a study was created with.

    Raises:
        StudyError: `search_space.json` does not hold one.
    """
    with parsed(folder.space_path, "a search space"):
        return SearchSpace.from_dict(read_json(folder.space_path))


def open_study(results: ResultsDir, config: StudyConfig, space: SearchSpace, *, data_fingerprint: str, storage_url: str) -> optuna.Study:
    """Create a study, or resume it if it is the same.

    Raises:
        StudyError: the study was created with another configuration, space or data; both sides are shown.
        StorageError: the storage or the results folder can't be written.
    """
    folder = results.study(config.study)
    storage = open_storage(storage_url)
    now = {
        "config": config.to_dict(),
        "space_fingerprint": space.fingerprint,
        "data_fingerprint": data_fingerprint,
    }
    if folder.config_path.exists():
        refuse_differences(folder, now)
    names = optuna.get_all_study_names(storage)
    if folder.config_path.exists() and config.study not in names:
        raise StudyError(
            f"Study {folder.name!r} must be in the storage; {hide_password(storage_url)} does not hold it. Name the storage it was "
            "tuned in with --storage, or start another study with --study NAME."
        )
    if config.study in names and not folder.config_path.exists():
        raise StudyError(
            f"A study in the storage must have its folder; {config.study!r} is in {hide_password(storage_url)}, but "
            f"{folder.config_path} is missing. Choose another name with --study, or put the folder back."
        )
    study = optuna.create_study(
        storage=storage,
        study_name=config.study,
        directions=config.directions,
        load_if_exists=True,
        pruner=make_pruner(config.pruner, epochs=config.train.epochs),
    )
    study.set_metric_names([config.metric, *config.costs])
    if not folder.config_path.exists():
        study.set_user_attr("space", f"{space.name} {space.fingerprint}")
        study.set_user_attr("data", f"{config.data.data} {data_fingerprint}")
        write_json(folder.space_path, space.to_dict())
        made = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "versions": describe_versions()}
        write_json(folder.config_path, {**now, **made, "git_commit": git_commit(Path(__file__).parent)})
    return study


def refuse_differences(folder: StudyDir, requested: Mapping[str, Any]) -> None:
    """Compare with `study.json`.

    Raises:
        StudyError: with every difference, both sides shown.
    """
    recorded = {name: value for name, value in read_json(folder.config_path).items() if name in requested}
    recorded["config"] = recorded_config(folder).to_dict()  # with the defaults of what an older version did not know
    if recorded["data_fingerprint"] == requested["data_fingerprint"]:  # the same texts and labels, wherever they lie now
        recorded, requested = _without_data(recorded), _without_data(requested)
    lines = differences(recorded, requested)
    if lines:
        raise StudyError(
            f"Study {folder.name!r} must go on as it was created; " + "; ".join(lines) + ". "
            "Use the same values, or start another study with --study NAME."
        )


def _without_data(record: Mapping[str, Any]) -> dict[str, Any]:
    return {**record, "config": {name: value for name, value in record["config"].items() if name != "data"}}


def load_study(results: ResultsDir, folder: StudyDir, *, storage_url: str) -> optuna.Study:
    """An existing study, to read.

    Raises:
        StudyError: the storage does not hold it.
    """
    if storage_url.startswith("sqlite:///") and not results.database_path.exists() and storage_url == results.storage_url(None):
        raise StudyError(
            f"Study {folder.name!r} must be in {results.database_path}; that file is missing. "
            "Name the storage it was tuned in with --storage."
        )
    storage = open_storage(storage_url)
    try:
        return optuna.load_study(study_name=folder.name, storage=storage)
    except KeyError:
        raise StudyError(
            f"Study {folder.name!r} must be in the storage; {hide_password(storage_url)} does not hold it. "
            "Name the storage it was tuned in with --storage."
        ) from None


def close_study(study: optuna.Study) -> None:
    """Close the database connections of a study that is not needed any more."""
    backend: Any = getattr(study._storage, "_backend", study._storage)  # Optuna wraps a relational storage in a cache
    backend.engine.dispose()


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turn a storage's failure in the middle of a search into a `StorageError` that says the study can go on."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        raise StorageError(
            f"The storage must stay reachable and writable; {hide_password(url)} gave: {reason}. Finished trials are kept: mend it, "
            "then go on with the same command."
        ) from error
