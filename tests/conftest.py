"""Fixtures: a tiny corpus made in code, a search space of two units, and the command line in this
process.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The processes of pytest compute as the workers do, whose results some tests compare.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import gc
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.commands import Ran
from tests.postgresql import programs, server
from tests.shared import shared_folder
from tests.studies import TINY_SPACE, Setting, copy_study, tune_with
from tests.texts import make_reviews
from tuning.__main__ import run as run_program
from tuning.config import DataConfig, StudyConfig, TrainConfig
from tuning.results import ResultsDir
from tuning.search.tune import Outcome
from tuning.study.handle import StudyHandle

# Messages name the commands of make, as under `make test`.
os.environ.setdefault("MAKELEVEL", "1")
# `make fuzz` draws new examples in each run. A busy machine would miss the deadline of 0.2 s.
hypothesis.settings.register_profile(
    "tests", derandomize="FUZZ_EXAMPLES" not in os.environ, deadline=None
)
hypothesis.settings.load_profile("tests")
# Fixtures whose tests start worker processes.
OF_WORKERS = {"setting", "copied", "finished", "pool", "run_tune"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests with worker processes last. Otherwise each process of pytest begins with a fork
    server, and both servers compile the kernels at the same time, which takes 26 s.
    """
    items.sort(key=lambda item: not OF_WORKERS.isdisjoint(getattr(item, "fixturenames", ())))


@pytest.fixture(scope="module", autouse=True)
def frozen_imports() -> None:
    """Freeze the objects that imports and earlier modules have created. Each training begins with a
    garbage collection, which takes up to 0.4 s longer if it visits them.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once() -> Iterator[None]:
    """Give each storage the same object with Optuna's migrations. Optuna executes their files each
    time a storage is opened, which takes 30 ms.
    """
    directories: dict[str, ScriptDirectory] = {}
    read = ScriptDirectory.from_config

    def read_once(config: Config) -> ScriptDirectory:
        place = str(config.get_main_option("script_location"))
        if place not in directories:
            directories[place] = read(config)
        return directories[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", read_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Resolve no names of other machines, as on a machine without a network. Child processes find
    the models of Hugging Face in its cache alone.
    """
    resolve, own = socket.getaddrinfo, {None, "", "localhost", socket.gethostname()}

    def resolve_own(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in own and not re.fullmatch(r"[0-9.]+|[0-9a-fA-F:.%]*:[0-9a-zA-Z:.%]*", name):
            raise socket.gaierror(socket.EAI_NONAME, f"no test may need a network: {name}")
        return resolve(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve_own)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture
def reviews_csv(tmp_path: Path) -> Path:
    """Return the path of a CSV file with 240 reviews."""
    path = tmp_path / "reviews.csv"
    make_reviews().to_csv(path, index=False)
    return path


@pytest.fixture
def tiny_space(tmp_path: Path) -> Path:
    """Return the path of a search space whose trials take about a second."""
    path = tmp_path / "tiny.py"
    path.write_text(TINY_SPACE)
    return path


@pytest.fixture
def setting(tmp_path: Path, reviews_csv: Path, tiny_space: Path) -> Setting:
    return Setting(tmp_path, reviews_csv, tiny_space)


@pytest.fixture
def run_cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Return a function that runs a command line in this process.

    An example is `run_cli("tune", "--n-trials", 2)`. The results are below `tmp_path/results`.
    """
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("MAKELEVEL", "1")  # Messages name the commands of make.
    monkeypatch.chdir(tmp_path)  # The results are in the default folder.

    def run(command: str, *arguments: object) -> Ran:
        where = () if command == "spaces" else ("--results", str(tmp_path / "results"))
        monkeypatch.setattr(sys, "argv", ["tuning", command, *map(str, arguments), *where])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_program()
        out, err = capfd.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def onnx_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit exports to the ONNX format, which is written and checked in a second."""
    from tuning.export import formats
    from tuning.inference.runtimes import FORMATS

    monkeypatch.setattr(formats, "FORMATS", {"onnx": FORMATS["onnx"]})


@pytest.fixture
def chromium(tmp_path: Path) -> list[str]:
    """Return the command of a headless Chromium with a profile of its own. Tests append flags and
    the address of a page.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine; .ci/run installs Debian's")
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
        " --disable-component-update --disable-sync"
    )
    return [browser, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}"]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Yield the URL of a new database in the form that users type."""
    bin_dir = programs()
    if bin_dir is None:
        pytest.skip("no PostgreSQL on this machine; .ci/run installs Debian's")
    with server(bin_dir) as made:
        yield made.url.replace("+psycopg", "")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResultsDir, Outcome]:
    """Return a study "s" of eight trials over the tiny corpus, which tests must not change.

    The search runs once for all processes of a test run.
    """

    def search(folder: Path) -> None:
        data, space = folder / "reviews.csv", folder / "tiny.py"
        make_reviews().to_csv(data, index=False)
        space.write_text(TINY_SPACE)
        of_files: dict[str, Any] = {"space": str(space), "data": DataConfig(data=str(data))}
        config = StudyConfig(
            study="s", sampler="random", pruner="none", train=TrainConfig(epochs=2), **of_files
        )
        there = ResultsDir(folder / "results")
        tune_with(config, there, storage_url=there.storage_url(None), n_trials=8, n_workers=2)

    results = ResultsDir(tmp_path_factory.mktemp("finished") / "results")
    searched = shared_folder(tmp_path_factory, "searched", search)
    shutil.copytree(searched / "results", results.path)
    study = StudyHandle.of(results, "s")
    return results, Outcome(study.summary, study.space, "finished", 8)


@pytest.fixture(scope="session")
def tiny_preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny BERT, which tests must not change."""
    pytest.importorskip("keras_hub", reason="the extra `pretrained` is not installed")
    from tests.presets import write_bert

    return write_bert(tmp_path_factory.mktemp("preset") / "tiny_bert")


@pytest.fixture
def results(tmp_path: Path) -> ResultsDir:
    """Return the folder of all studies of `run_cli`."""
    return ResultsDir(tmp_path / "results")


@pytest.fixture
def copied_results(finished: tuple[ResultsDir, Outcome], tmp_path: Path) -> ResultsDir:
    """Return a copy of the finished study's folder, of `run_cli`, that a test may change."""
    return ResultsDir(shutil.copytree(finished[0].path, tmp_path / "results"))


@pytest.fixture
def copied(finished: tuple[ResultsDir, Outcome], tmp_path: Path) -> Setting:
    """Return a copy of the study "s" that a test may change."""
    folder = tmp_path / "copied"
    folder.mkdir()
    return copy_study(finished[0], folder)


@pytest.fixture(scope="session")
def onnx_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an export of an untrained model with the ONNX format only, which tests
    must not change.
    """
    from tuning.documents import write
    from tuning.export.onnx_graph import chain, write_graph
    from tuning.inference.manifest import ExportedFormat, Manifest, digests
    from tuning.inputs.contract import ModelInput
    from tuning.models import lstm_classifier

    folder = tmp_path_factory.mktemp("onnx") / "best"
    folder.mkdir()
    model = lstm_classifier(vocab_size=5, embedding_dim=3, lstm_units=2)
    model.set_weights([9 * weights for weights in model.get_weights()])
    (folder / "vocabulary.txt").write_text("good\nbad\nfilm")
    (folder / "model.onnx").write_bytes(
        write_graph(chain(model) or [], length=4, n_classes=2).SerializeToString()
    )
    onnx = ExportedFormat(form="onnx", takes="token ids", needs=["onnxruntime"], bytes=0)
    manifest = Manifest(
        study="s",
        created="2026-01-01T00:00:00+00:00",
        class_names=["negative", "positive"],
        input=ModelInput(vocab_size=5, sequence_length=4, truncating="pre"),
        forms={"model.onnx": onnx},
        files=digests(folder),
    )
    write(folder / "export.json", manifest, version=2)
    return folder
