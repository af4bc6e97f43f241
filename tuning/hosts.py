"""Hosts and ports of the servers: `host`, the header Host of a request, and ports.

A request for another name than the server's may come from a web page whose own name resolves to
this machine (DNS rebinding), so `serve` compares the header Host with its names. An IP address
is not resolved, so a request for an address can't be such a request.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection

from tuning.errors import ArgumentError

LOCAL = ("127.0.0.1", "localhost")
_HEADER = re.compile(r"(\[(?P<address>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(:[0-9]*)?")


def resolve(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        if not host:
            raise OSError
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ArgumentError(
            f"host must be a name or an address of this machine, such as {LOCAL[0]}; received"
            f" {host!r}."
        ) from error
    return family, str(address[0])


def is_loopback(host: str) -> bool:
    return is_loopback_address(resolve(host)[1])


def name_of(header: str) -> str:
    """Return the host of a header Host, in lower case, without its port and its brackets; empty if
    the header is not a host with an optional port.
    """
    match = _HEADER.fullmatch(header)
    return (match["address"] or match["name"] or "").lower() if match else ""


def is_for(header: str, names: Collection[str], *, any_address: bool) -> bool:
    """Return whether a request with this header Host is for one of `names`, for loopback, or with
    `any_address` for any IP address.
    """
    name = name_of(header)
    return name in names or (is_address if any_address else is_loopback_address)(name)


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback_address(name: str) -> bool:
    return is_address(name) and ipaddress.ip_address(name).is_loopback


def check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise ArgumentError(f"port must lie in 1..65535; received {port}.")


def refusal_of_port(server: str, host: str, port: int, error: OSError) -> str:
    return (
        f"{server} needs a free port of this machine; {port} on {host} gave {error.strerror!r}."
        " Choose another port or host."
    )
