"""A PostgreSQL server for tests, on 127.0.0.1, that tests can restart and kill."""

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
    """Return the folder of Debian's newest PostgreSQL, or None if no PostgreSQL is installed."""
    initdb_paths = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return initdb_paths[-1].parent if initdb_paths else None


@dataclass(frozen=True)
class Server:
    """A running server. `control` is the command of `pg_ctl` with the data folder, run as a user
    that PostgreSQL accepts.
    """

    url: str
    data: Path
    control: tuple[str, ...]
    options: str
    is_ready: tuple[str, ...]
    # Folder of a small disk below the server's folder, if mounting is allowed.
    disk: Path | None = None

    def fill_disk(self) -> Path:
        """Fill the disk of the data, and return the path of the file to remove to free space."""
        assert self.disk
        filler = self.disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 2**12)
        return filler

    def revive(self) -> None:
        """Start the server if it ended, and wait until it accepts connections.

        After a panic the server recovers without a restart.
        """
        if (
            subprocess.run(
                [*self.control, "status"], check=False, capture_output=True, cwd="/"
            ).returncode
            != 0
        ):
            return self.start()
        deadline = time.monotonic() + START_SECONDS
        while (
            subprocess.run(self.is_ready, check=False, capture_output=True, cwd="/").returncode != 0
        ):
            assert time.monotonic() < deadline, "PostgreSQL must recover"
            time.sleep(0.2)

    def start(self) -> None:
        self._run("-o", self.options, "start")

    def restart(self) -> None:
        """End open connections at once, and start the server again."""
        self._run("-m", "fast", "-o", self.options, "restart")

    def kill(self) -> None:
        """Send SIGKILL to the server, and start it again; the new server must recover."""
        os.kill(int((self.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
        deadline = time.monotonic() + START_SECONDS
        # The server starts only after its child processes have ended and released their resources.
        while True:
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
def server(bin_dir: Path, *, disk_mb: int | None = None) -> Iterator[Server]:
    """Yield a server with a new database; if mounting is allowed, its disk has `disk_mb` MB."""
    # PostgreSQL refuses to run as root, and its user can't enter pytest's own folder. The path
    # must be short, because the path of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp"))
    folder.chmod(0o755)
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    mount = ["mount", "-t", "tmpfs", "-o", f"size={disk_mb}m,mode=755", "tmpfs", str(folder)]
    mounted = (
        disk_mb is not None
        and os.geteuid() == 0
        and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    )
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
    # WAL is recycled in small pieces, so that it takes little space on a small disk.
    options = (
        f"-p {port} -c min_wal_size=32MB -c max_wal_size=32MB -c listen_addresses=127.0.0.1 -c"
        f" unix_socket_directories={folder}"
    )
    is_ready = (str(bin_dir / "pg_isready"), "-h", "127.0.0.1", "-p", str(port))
    made = Server(
        f"postgresql+psycopg://tuner:{PASSWORD}@127.0.0.1:{port}/postgres",
        data,
        control,
        options,
        is_ready,
        folder if mounted else None,
    )
    made.start()
    try:
        yield made
    finally:
        made.stop()
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(folder)
