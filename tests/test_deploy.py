"""The files of `deploy/` and their page: they are valid and linted and contain no password, and the
command line accepts every command.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import sqlalchemy
import yaml
from cyclopts import CycloptsError

from tests.paths import ROOT
from tests.postgresql import PASSWORD, programs
from tuning.cli.app import app
from tuning.study.coordinators import N_TRIALS
from tuning.study.storage import open_storage

SCRIPT, MANIFEST, IMAGE = (
    ROOT / "deploy" / name for name in ("slurm.sh", "kubernetes.yaml", "Containerfile")
)
PAGE = ROOT / "docs" / "many-machines.md"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))
PODS = [made["spec"]["template"]["spec"] for made in OBJECTS if "template" in made["spec"]]
CONTAINERS = [
    container for pod in PODS for container in (*pod.get("initContainers", []), *pod["containers"])
]
OURS = [container for container in CONTAINERS if container["image"].startswith("keras-text-tuning")]
RECORDER = """#!/bin/sh
# stands for Python: writes down what it was called with; a joiner finds a study the second time
[ -n "$HANGS" ] && trap 'exit 130' TERM
printf '%s\\n' "$*" >> calls.txt
[ -n "$HANGS" ] && while :; do sleep 0.1; done
case "$*" in *--join*) [ "$(grep -c -e --join calls.txt)" -ge {joined_at} ];; esac
"""


def object_of(kind: str, name: str) -> dict[str, Any]:
    (manifest_object,) = [
        made for made in OBJECTS if (made["kind"], made["metadata"]["name"]) == (kind, name)
    ]
    return manifest_object


def parse(command: str | list[str]) -> None:
    """Parse the words after `python -m tuning` as the command line does, without running the
    command."""
    words = shlex.split(command) if isinstance(command, str) else command
    app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("version", ["1.29.0", kubernetes_validate.latest_version()])
def test_manifest_holds_to_the_schemas_of_kubernetes(version: str) -> None:
    for made in OBJECTS:
        kubernetes_validate.validate(made, version, strict=True)
    spoilt = {**OBJECTS[0], "spec": {**OBJECTS[0]["spec"], "portz": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoilt, version, strict=True)


def test_pods_have_no_rights_that_they_do_not_need() -> None:
    assert len(PODS) == 3
    for pod in PODS:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in CONTAINERS:
        rights = dict(container["securityContext"])
        assert rights.pop("allowPrivilegeEscalation") is False, container["name"]
        assert rights.pop("readOnlyRootFilesystem") is True, container["name"]
        assert rights == {"capabilities": {"drop": ["ALL"]}}, container["name"]
        assert "memory" in container["resources"]["limits"], container["name"]


def test_parts_of_the_manifest_name_one_another() -> None:
    labels = [
        made["spec"]["template"]["metadata"]["labels"]
        for made in OBJECTS
        if "template" in made["spec"]
    ]
    policy = object_of("NetworkPolicy", "tuning-postgres")["spec"]
    for selector in (
        object_of("Service", "tuning-postgres")["spec"]["selector"],
        policy["podSelector"]["matchLabels"],
    ):
        assert labels.count(selector) == 1
    assert labels.count(policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"]) == 2
    claims = {
        made["metadata"]["name"] for made in OBJECTS if made["kind"] == "PersistentVolumeClaim"
    }
    volumes = [volume for pod in PODS for volume in pod["volumes"]]
    assert {
        v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v
    } == claims
    for pod in PODS:
        mounted = {
            mount["name"]
            for c in (*pod.get("initContainers", []), *pod["containers"])
            for mount in c.get("volumeMounts", [])
        }
        assert mounted <= {volume["name"] for volume in pod["volumes"]} | {"database"}


def test_studies_of_all_containers_are_one() -> None:
    names = {container["args"][container["args"].index("--study") + 1] for container in OURS}
    (waits,) = [container for container in CONTAINERS if container["name"] == "wait-for-study"]
    assert len(names) == 1
    assert f"'{names.pop()}'" in waits["args"][0]
    urls = {
        value["value"]
        for container in OURS
        for value in container["env"]
        if value["name"] == "STORAGE"
    }
    (url,) = map(sqlalchemy.make_url, urls)
    assert (url.host, url.port) == ("tuning-postgres", 5432)


@pytest.mark.parametrize("path", [SCRIPT, MANIFEST, IMAGE, PAGE], ids=lambda path: path.name)
def test_no_password_stands_in(path: Path) -> None:
    text = path.read_text()
    urls = re.findall(r"postgresql(?:\+psycopg)?://[^\s`'\"<>),}]+", text)
    assert path == IMAGE or urls
    assert all(sqlalchemy.make_url(url).password is None for url in urls)
    for line in re.findall(r"(?:name: PGPASSWORD|name: POSTGRES_PASSWORD\w*).*\n +(.*)", text):
        assert line.startswith(("valueFrom:", "value: /run/secrets/")), line
    assert not re.search(r"PGPASSWORD=", text)


@pytest.mark.parametrize("container", OURS, ids=lambda container: container["args"][0])
def test_commands_of_the_manifest_are_the_command_line_s(container: dict[str, Any]) -> None:
    parse(container["args"])
    with pytest.raises(CycloptsError, match="--nosuch"):
        parse([*container["args"], "--nosuch"])


def test_image_copies_what_is_there_and_installs_as_the_makefile_does() -> None:
    text = IMAGE.read_text()
    copied = [
        word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()
    ]
    assert copied
    assert all((ROOT / word).exists() for word in copied)
    assert re.search(r"^FROM docker\.io/library/python:3\.11-slim$", text, re.MULTILINE)
    assert "psycopg[binary]>=3.2,<4" in text
    assert "psycopg[binary]>=3.2,<4" in (ROOT / "pyproject.toml").read_text()


def test_script_is_linted() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def task(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Yield a function that starts a task of the script as Slurm does, with fakes of Python,
    `scontrol` and `sleep`.
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "scontrol").write_text('#!/bin/sh\necho "$*" >> requeued.txt\n')
    (programs / "scontrol").chmod(0o755)
    started = []

    def start(
        number: int, *arguments: str, joined_at: int = 1, **variables: str
    ) -> subprocess.Popen[str]:
        python = programs / "python"
        python.write_text(RECORDER.format(joined_at=joined_at))
        python.chmod(0o755)
        (tmp_path / "calls.txt").unlink(missing_ok=True)
        slurm = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "8"}
        env = {
            "SLURM_CPUS_PER_TASK": "2",
            "PATH": f"{programs}:/usr/bin:/bin",
            "PYTHON": str(python),
            "STORAGE": "postgresql+psycopg://tuner@db/tuning",
            "RETRY_SECONDS": "0",
            **slurm,
            **variables,
        }
        streams: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}
        command = ["bash", str(SCRIPT), *arguments]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=env, start_new_session=True, **streams
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def calls(folder: Path) -> list[str]:
    path = folder / "calls.txt"
    return (
        [line.removeprefix("-m tuning ") for line in path.read_text().splitlines()]
        if path.exists()
        else []
    )


def test_first_task_creates_and_exports_and_the_others_join(
    task: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    assert task(0, "--n-trials", "40", "--data", "my reviews.csv").wait(30) == 0
    first = calls(tmp_path)
    assert [command.split()[0] for command in first] == ["tune", "export-best"]
    assert task(3, "--n-trials", "40", "--data", "my reviews.csv").wait(30) == 0
    (joined,) = calls(tmp_path)
    assert "--join" in joined
    assert "--join" not in first[0]
    for command in (*first, joined):
        parse(command.replace("my reviews.csv", "reviews.csv"))
    assert len({re.findall(r"--results (\S+)", command)[0] for command in (*first, joined)}) == 2


def test_joiner_waits_for_the_study_and_no_longer(
    task: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    assert task(1, joined_at=3).wait(30) == 0
    assert len(calls(tmp_path)) == 3
    assert task(1, joined_at=100, WAIT_SECONDS="0").wait(30) == 1
    joined = tmp_path / "results" / "slurm-task1" / "slurm" / "study.json"
    joined.parent.mkdir(parents=True)
    joined.touch()
    assert task(1, joined_at=100).wait(30) == 1
    assert len(calls(tmp_path)) == 1


@pytest.mark.parametrize(
    ("number", "requeued"),
    [(signal.SIGUSR1, "requeue 7_2\n"), (signal.SIGTERM, None)],
    ids=["time", "canceled"],
)
def test_signal_reaches_the_search(
    task: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    number: signal.Signals,
    requeued: str | None,
) -> None:
    process = task(2, HANGS="1")
    deadline = time.monotonic() + 30
    while not calls(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, number) if number == signal.SIGTERM else process.send_signal(number)
    assert process.wait(30) == 130
    path = tmp_path / "requeued.txt"
    assert (path.read_text() if path.exists() else None) == requeued
    assert len(calls(tmp_path)) == 1


def test_script_says_that_it_needs_a_storage(task: Callable[..., subprocess.Popen[str]]) -> None:
    process = task(0, STORAGE="")
    assert process.wait(30) == 1
    assert "STORAGE" in process.stderr.read()


@pytest.mark.slow
def test_pod_of_a_joiner_waits_until_there_is_a_study(postgresql: str) -> None:
    """The test runs the command of the waiting container with PostgreSQL's own client."""
    (waits,) = [container for container in CONTAINERS if container["name"] == "wait-for-study"]
    port = str(sqlalchemy.make_url(postgresql).port)
    env = {"PATH": f"{programs()}:/usr/bin:/bin", "PGHOST": "127.0.0.1", "PGPORT": port}
    env |= {"PGDATABASE": "postgres", "PGUSER": "tuner", "PGPASSWORD": PASSWORD}
    script = waits["args"][0].replace("sleep 5", "sleep 0.2")
    process = subprocess.Popen([*waits["command"], script], env=env, stderr=subprocess.DEVNULL)
    storage = open_storage(postgresql)
    try:
        study_id = storage.create_new_study([], "movie-reviews")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        storage.set_study_user_attr(study_id, N_TRIALS, 4)
        assert process.wait(30) == 0
    finally:
        storage.engine.dispose()
        process.kill()
        process.wait()
