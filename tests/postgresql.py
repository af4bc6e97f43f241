"""A PostgreSQL server for tests, on 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "s3cret-word"


def programs() -> Path | None:
    """Return the folder of Debian's newest PostgreSQL, or None if no PostgreSQL is installed."""
    initdb_paths = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return initdb_paths[-1].parent if initdb_paths else None


@dataclass(frozen=True)
class Server:
    """A running server. `control` is the command of `pg_ctl` with the data folder, run as a user
    that PostgreSQL accepts.
    """

    url: str
    control: tuple[str, ...]
    options: str

    def start(self) -> None:
        self._run("-o", self.options, "start")

    def stop(self) -> None:
        self._run("-m", "immediate", "stop")

    def _run(self, *arguments: str) -> None:
        subprocess.run([*self.control, *arguments], check=True, capture_output=True, cwd="/")


@contextlib.contextmanager
def server(bin_dir: Path) -> Iterator[Server]:
    # PostgreSQL refuses to run as root, and its user can't enter pytest's own folder. The path
    # must be short, because the path of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp"))
    folder.chmod(0o755)
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password_file, data = folder / "password", folder / "data"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o644)
    initdb: list[Any] = [
        *as_user,
        bin_dir / "initdb",
        "-D",
        data,
        "-U",
        "tuner",
        "--auth=scram-sha-256",
        f"--pwfile={password_file}",
    ]
    subprocess.run(initdb, check=True, capture_output=True, cwd="/")
    control = tuple(
        map(str, [*as_user, bin_dir / "pg_ctl", "-D", data, "-w", "-l", folder / "log.txt"])
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    made = Server(
        f"postgresql+psycopg://tuner:{PASSWORD}@127.0.0.1:{port}/postgres",
        control,
        options,
    )
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)
