"""One test for each private member and key of Optuna that `tuning.study.optuna_internals` uses. The
test fails where a version of Optuna has renamed or changed the member or key.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from tests.paths import ROOT
from tuning.study import optuna_internals
from tuning.study.storage import open_storage

SOURCES = sorted(
    path for folder in ("tuning", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    """Yield a study in SQLite, as a search has it."""
    storage = open_storage(f"sqlite:///{tmp_path / 'optuna.db'}")
    yield optuna.create_study(storage=storage, study_name="s", directions=["maximize", "minimize"])
    storage.engine.dispose()


def test_storage_and_engine_of_a_study(study: optuna.Study) -> None:
    """`Study._storage` and `_CachedStorage._backend`."""
    storage = optuna_internals.storage_of(study)
    assert [frozen.study_name for frozen in storage.get_all_studies()] == ["s"]
    assert not isinstance(storage, optuna.storages.RDBStorage)  # it is the cache
    engine = optuna_internals.engine_of(storage)
    relational = optuna.storages.RDBStorage(str(engine.url))
    assert optuna_internals.engine_of(relational) is relational.engine
    relational.engine.dispose()


def test_reopened_trial_can_be_written_to(study: optuna.Study) -> None:
    """The constructor of `Trial`, with ids that the storage gives."""
    study.ask()
    second = study.ask()
    optuna_internals.reopen_trial(study, second.number).set_user_attr("reason", "lost")
    assert [t.user_attrs for t in study.trials] == [{}, {"reason": "lost"}]


def test_claim_takes_the_waiting_trials_in_order_and_then_new_ones(study: optuna.Study) -> None:
    """`Study._pop_waiting_trial_id` and `Study._study_id`."""
    for value in (1, 2):
        study.enqueue_trial({"x": value})
    storage = optuna_internals.storage_of(study)
    waits = (False, True, True, True)
    ids = [optuna_internals.claim_trial(study, any_waiting=any_waiting) for any_waiting in waits]
    claimed = [storage.get_trial(trial_id) for trial_id in ids]
    assert [t.number for t in claimed] == [2, 0, 1, 3]
    assert {t.state for t in claimed} == {TrialState.RUNNING}


def test_claim_lets_the_next_draw_see_the_newest_trials(study: optuna.Study) -> None:
    """`Study._thread_local.cached_all_trials`: CMA-ES reads the trials through this cache."""
    optuna_internals.claim_trial(study, any_waiting=False)
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 1  # the cache is filled
    optuna_internals.claim_trial(study, any_waiting=False)
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 2


def test_trial_is_written_read_and_failed_once(study: optuna.Study) -> None:
    """`Trial._trial_id`."""
    trial = study.ask()
    with pytest.raises(NotImplementedError):
        trial.report(0.5, step=1)  # else `set_intermediate_value` is not needed
    optuna_internals.set_intermediate_value(trial, 0.5, step=1)
    frozen = optuna_internals.read_trial(trial)
    assert (frozen.state, frozen.intermediate_values) == (TrialState.RUNNING, {1: 0.5})
    optuna_internals.fail_trial(trial)
    assert optuna_internals.read_trial(trial).state == TrialState.FAIL
    with pytest.raises(UpdateFinishedTrialError):
        optuna_internals.fail_trial(trial)


def test_parameters_of_a_queued_trial(study: optuna.Study) -> None:
    """The system attribute "fixed_params"."""
    study.ask()
    study.enqueue_trial({"x": 1})
    new, queued = study.trials
    assert optuna_internals.fixed_params_of(queued) == {"x": 1} and queued.params == {}
    assert optuna_internals.fixed_params_of(new) == {}


def private(names: list[str]) -> set[str]:
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def private_names() -> set[str]:
    """Return the private members of the objects that Optuna returns to a program."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    objects: list[object] = [
        *(study, study.ask(), study.trials[0], *optuna.get_all_study_summaries(study._storage)),
        *(optuna.samplers.TPESampler(), optuna.samplers.CmaEsSampler()),
        *(optuna.samplers.QMCSampler(), optuna.pruners.HyperbandPruner()),
        *(optuna.pruners.MedianPruner(), optuna.storages.RDBStorage),
        optuna.storages.InMemoryStorage(),
    ]
    return {name for item in objects for name in private(dir(item))} | {"_backend"}


PRIVATE = private_names()
KEYS = {"fixed_params", "constraints"}  # keys of Optuna's system attributes
BASES = {*optuna.samplers.__all__, *optuna.pruners.__all__, *optuna.storages.__all__}


def private_uses(source: str) -> list[str]:
    """Return the private members of Optuna that a module imports, reads, overrides or names in a
    string, and the keys of Optuna that it names.
    """
    tree = ast.parse(source)
    uses = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            module = getattr(node, "module", None)
            names = [f"{module}.{alias.name}" if module else alias.name for alias in node.names]
            optunas = [name for name in names if name.startswith("optuna")]
            uses += private([part for name in optunas for part in name.split(".")])
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE:
            if ast.unparse(node.value) not in ("self", "cls"):
                uses.append(node.attr)
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("optuna."):
            uses += private(ast.unparse(node).split("."))
        elif isinstance(node, ast.FunctionDef) and node.name in PRIVATE:
            uses.append(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            uses += [node.value] if node.value in PRIVATE | KEYS else []
        elif isinstance(node, ast.ClassDef) and BASES & {
            ast.unparse(base).split(".")[-1] for base in node.bases
        }:
            uses += inherited(node)
    return uses


def inherited(node: ast.ClassDef) -> set[str]:
    """Return the private members that a subclass of an Optuna class reads and does not set."""
    members = [n for n in ast.walk(node) if isinstance(n, ast.Attribute)]
    own = [n for n in members if ast.unparse(n.value) == "self" and n.attr in PRIVATE]
    stored = {n.attr for n in own if isinstance(n.ctx, ast.Store)}
    return {n.attr for n in own} - stored


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_optuna_is_private_to_one_module(path: Path) -> None:
    uses = private_uses(path.read_text(encoding="utf-8"))
    assert bool(uses) == (path.stem == "optuna_internals"), uses
