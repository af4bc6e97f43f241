"""What a request must be before the application sees it: for this host, and small. What every
answer carries: headers that lock its pages.

A web page can make a browser send requests here. It can't read the answers, unless its own name is
made to resolve to this machine; so requests under another name are refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 4 * 2**20
LOCAL = ("127.0.0.1", "localhost")
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


def guarded(
    app: ASGIApp, *, hosts: Collection[str], policy: str, any_address: bool = False
) -> ASGIApp:
    """The application behind the checks.

    `policy` is the Content-Security-Policy. `any_address` lets in requests for any IP address too,
    which no name can be made to resolve to by somebody else.
    """

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def locked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    *message.get("headers", []),
                    *HEADERS,
                    (b"content-security-policy", policy.encode()),
                ]
                message = {**message, "headers": headers}
            await send(message)

        headers = dict(scope["headers"])
        host = _name(headers.get(b"host", b"").decode("latin-1"))
        if host not in hosts and not (any_address and is_address(host)):
            await _refuse(
                locked,
                403,
                f"A request must be for {' or '.join(sorted(hosts))}; this one is for another"
                " host.",
            )
            return
        try:
            body = await _body(headers, receive)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # the server ends, and has waited for as long as it does
            await _refuse(locked, 503, "The server ends; the body had not arrived.")
            return
        if body is None:
            await _refuse(locked, 413, f"A body must have at most {MAX_BODY:,} bytes.")
            return
        await app(scope, _replay(body, receive), locked)

    return guard


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
    """The whole body; None where it is too large, which is known as soon as its length is said, or
    so many bytes have come.

    Raises:
        ClientDisconnect: the connection ended before the whole body arrived.
    """
    said = headers.get(b"content-length", b"")
    if said.isdigit() and int(said[:20]) > MAX_BODY:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """What gives the body once, and then whatever comes: that the client went away."""
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _name(host: str) -> str:
    """A Host header without its port, in lower case."""
    return (
        host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    ).lower()


def is_address(host: str) -> bool:
    """Whether it is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _refuse(send: Send, status: int, detail: str) -> None:
    """Answer before the body was read; the connection ends, since the rest of it would be taken for
    a next request.
    """
    headers, body = refusal(detail)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def refusal(detail: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of an answer that refuses a request and ends its connection."""
    body = json.dumps({"detail": detail}).encode()
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ], body
