"""The Ray cluster: this process joins a cluster or starts one on this machine, and reads how many
workers its nodes can run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuning.commands import install
from tuning.errors import PoolError
from tuning.hardware import available_cores, available_gpus
from tuning.workers.server import stderr_to, worker_environment

logger = logging.getLogger(__name__)

# Maximum time of the connection to the address of a cluster.
CONNECT_SECONDS = 10.0
# Maximum number of characters of Ray's text in an error message.
MAX_DETAIL = 300
# Environment variables by which a user configures Ray's authentication.
TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def load_ray(*, local: bool) -> Any:
    """`local`: with the settings for a cluster on this machine only."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    if local:
        # With this setting Ray opens its ports on 127.0.0.1 only, on every system.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        # The worker processes of `Pool` have niceness 0 too. With Ray's default of 15, workers get
        # little of the time of a loaded machine.
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ImportError:
        raise PoolError(
            f"pool 'ray' must have Ray, which is not installed. Type `{install('ray')}`."
        ) from None
    return ray


@contextlib.contextmanager
def join_cluster(address: str | None, *, log_path: Path) -> Iterator[None]:
    """Connect this process to the cluster at `address`. Without an address, start a cluster on this
    machine, and end it at the exit of the context manager.
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
            raise _connection_error(address, error) from error
        mode = os.environ.get("RAY_AUTH_MODE") or "not set"
        logger.info(
            "Ray %s: %d nodes; RAY_AUTH_MODE is %s", ray.__version__, len(ray.nodes()), mode
        )
        try:
            yield
        finally:
            ray.shutdown()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray has replaced the handler.


def _connection_error(address: str | None, error: Exception) -> PoolError:
    if not address:
        target, hint = "a Ray of its own on this machine", ""
    else:
        target = f"a cluster at ray_address {address!r}"
        hint = (
            " If that cluster authenticates, RAY_AUTH_MODE=token and its token must be set here"
            " too."
        )
    return PoolError(f"pool 'ray' must reach {target}; Ray gave: {one_line(error)}.{hint}")


def _require_listener(address: str) -> None:
    # Ray itself would retry for two minutes if no program listens at the address.
    from ray._private.services import canonicalize_bootstrap_address

    host, _, port = str(canonicalize_bootstrap_address(address)).rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _own_cluster() -> dict[str, Any]:
    """Return the arguments of `ray.init` that start a cluster on this machine."""
    if not any(os.environ.get(name) for name in TOKEN_VARIABLES):
        # Ray's authentication is on if this variable is set. Without it, Ray would write a token to
        # the user's home directory. The variable stays set after the cluster has ended, because Ray
        # reads the token only once in a process.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    return {
        "address": "local",
        "include_dashboard": False,
        "num_cpus": available_cores(),
        "num_gpus": available_gpus(),
    }


def default_gpus() -> float:
    return 1.0 if load_ray(local=False).cluster_resources().get("GPU", 0) else 0.0


def node_capacities(
    *, cpus: float, gpus: float, n_workers: int | None = None
) -> list[tuple[int, float]]:
    """Return the number of workers and the memory in MB for each of them, for every node that has
    room for a worker. A node may get all of the `n_workers` workers, if this number is given.

    `cpus` and `gpus` are those of a node that each worker takes, which need not be whole.
    """
    capacities = []
    for node in load_ray(local=False).nodes():
        resources: Mapping[str, float] = node["Resources"] if node["Alive"] else {}
        # The quotient of two numbers such as 0.3 and 0.1 may be just below a whole number.
        room = int(resources.get("CPU", 0) / cpus + 1e-9)
        if gpus:
            room = min(room, int(resources.get("GPU", 0) / gpus + 1e-9))
        if room:
            share = resources.get("memory", 0.0) / min(room, n_workers or room)
            capacities.append((room, share / 2**20))
    if not capacities:
        raise PoolError(
            f"The Ray cluster must have a node with room for a worker, which takes {cpus:g}"
            f" CPUs and {gpus:g} GPUs; none has. Lower cpus_per_worker or gpus_per_worker."
        )
    return capacities


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]}…"
