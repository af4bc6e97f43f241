"""A Ray cluster: one that is joined, or one of this call's own on this machine; and what room it
has for workers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.errors import PoolError
from tuning.hardware import available_cores
from tuning.workers.pool import available_gpus, stderr_to, worker_environment

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
MAX_DETAIL = 300  # characters of what Ray says
TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What a worker takes of its node. `gpus` None: one where the cluster has GPUs."""

    cpus: float = 1.0
    gpus: float | None = None


def load_ray(*, local: bool) -> Any:
    """The package `ray`, told before it is loaded to report nothing, and to leave its nodes' log
    lines in their logs.

    Raises:
        PoolError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    if local:
        os.environ.setdefault(
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"
        )  # on every system: all ports on 127.0.0.1 alone
        os.environ.setdefault(
            "RAY_worker_niceness", "0"
        )  # as the other pool's; Ray's 15 leaves a loaded machine to everyone else
    try:
        import ray
    except ImportError:
        raise PoolError(
            "--pool ray must have Ray; it is not installed. Type .venv/bin/pip install"
            " 'ray>=2.60,<3'."
        ) from None
    return ray


@contextlib.contextmanager
def joined(address: str | None, *, log_path: Path) -> Iterator[None]:
    """Be a driver of the cluster at `address`, or of one that is started on this machine and ended
    with this call.

    Raises:
        PoolError: Ray is not installed, or there is no cluster that takes this program.
    """
    ray = load_ray(local=address is None)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    handler = signal.getsignal(signal.SIGTERM)
    with stderr_to(log_path), worker_environment():
        try:
            if address:
                _require_listener(address)
            ray.init(
                **({"address": address} if address else _own_cluster()),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            where = (
                f"a cluster at --ray-address {address!r}"
                if address
                else "a Ray of its own on this machine"
            )
            hint = (
                " If that cluster authenticates, RAY_AUTH_MODE=token and its token must be set here"
                " too."
                if address
                else ""
            )
            raise PoolError(
                f"--pool ray must reach {where}; Ray gave: {short(error)}.{hint}"
            ) from error
        mode = os.environ.get("RAY_AUTH_MODE") or "not set"
        logger.info(
            "Ray %s: %d nodes; RAY_AUTH_MODE is %s", ray.__version__, len(ray.nodes()), mode
        )
        try:
            yield
        finally:
            ray.shutdown()
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there


def _require_listener(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would try for two minutes.

    Raises:
        OSError: nothing does, or no cluster is known on this machine.
    """
    from ray._private.services import canonicalize_bootstrap_address

    host, _, port = str(canonicalize_bootstrap_address(address)).rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _own_cluster() -> dict[str, Any]:
    """What starts a Ray on this machine. Where the user has not set how Ray authenticates, a random
    token does, out of this process's environment: Ray's own would stand in the user's home. It
    stays for a second call, because Ray reads it once a process.
    """
    if not any(os.environ.get(name) for name in TOKEN_VARIABLES):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(
            32
        )  # with which Ray turns its authentication on
    return {
        "address": "local",
        "include_dashboard": False,
        "num_cpus": available_cores(),
        "num_gpus": available_gpus(),
    }


def gpus_of(shares: Shares) -> float:
    """The GPUs of a worker, in the cluster that this process has joined."""
    if shares.gpus is not None:
        return shares.gpus
    return 1.0 if load_ray(local=False).cluster_resources().get("GPU", 0) else 0.0


def room(shares: Shares) -> list[tuple[int, float]]:
    """For each node that holds a worker: how many, and MB of memory for each of them."""
    gpus = gpus_of(shares)
    found = []
    for node in load_ray(local=False).nodes():
        resources: Mapping[str, float] = node["Resources"] if node["Alive"] else {}
        n = int(resources.get("CPU", 0) / shares.cpus + 1e-9)
        if gpus:
            n = min(n, int(resources.get("GPU", 0) / gpus + 1e-9))
        if n:
            found.append((n, resources.get("memory", 0.0) / n / 2**20))
    if not found:
        raise PoolError(
            f"The Ray cluster must have a node with room for a worker, which takes {shares.cpus:g}"
            f" CPUs and {gpus:g} GPUs; none has. Lower --cpus-per-worker or --gpus-per-worker."
        )
    return found


def short(error: BaseException) -> str:
    """What Ray says, on one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]}…"
