"""A PostgreSQL server of its own for tests, on 127.0.0.1, that can be restarted and killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "s3cret-word"
START_SECONDS = 30.0


def programs() -> Path | None:
    """The folder of Debian's newest PostgreSQL; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@dataclass(frozen=True)
class Server:
    """A running server; `control` is pg_ctl with its folder, run as a user that PostgreSQL accepts."""

    url: str
    data: Path
    control: tuple[str, ...]
    options: str

    def start(self) -> None:
        self._run("-o", self.options, "start")

    def restart(self) -> None:
        """End open connections at once, and start again."""
        self._run("-m", "fast", "-o", self.options, "restart")

    def kill(self) -> None:
        """kill -9 of the server, which leaves its crash to be recovered from, and a new start."""
        os.kill(int((self.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
        deadline = time.monotonic() + START_SECONDS
        while True:  # its children have to notice first, and the system to forget it
            try:
                return self.start()
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        self._run("-m", "immediate", "stop")

    def _run(self, *arguments: str) -> None:
        subprocess.run([*self.control, *arguments], check=True, capture_output=True, cwd="/")


@contextlib.contextmanager
def server(bin_dir: Path) -> Iterator[Server]:
    """A fresh database while the context lasts."""
    # PostgreSQL refuses to run as root, and its user can't enter pytest's own folder
    folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp"))  # short: a socket's path has 107 characters at most
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
    initdb: list[Any] = [*as_user, bin_dir / "initdb", "-D", data, "-U", "tuner", "--auth=scram-sha-256", f"--pwfile={password_file}"]
    subprocess.run(initdb, check=True, capture_output=True, cwd="/")
    control = tuple(map(str, [*as_user, bin_dir / "pg_ctl", "-D", data, "-w", "-l", folder / "log.txt"]))
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    made = Server(f"postgresql+psycopg://tuner:{PASSWORD}@127.0.0.1:{port}/postgres", data, control, options)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)
