"""The checks of a request before the application receives it: the request is for this host, and its
body is small. Every answer gets headers that restrict the page.

A web page can make a browser send requests to this server. The page can't read the answers unless
the page's own name resolves to this machine (DNS rebinding), so requests for another name are
refused.

Starlette's `TrustedHostMiddleware` is not used: it compares the host with a list of names, and
can't accept every IP address, as a server on all interfaces must. A name that begins with "*." is a
pattern there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from tuning.hosts import is_for

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Maximum size in bytes of a body, which is in memory as a whole before it is parsed.
MAX_BODY = 4 * 2**20
# The path whose body the application reads piece by piece, with a limit of its own (`label_file`).
FILE_PATH = "/label"
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


def guarded(
    app: ASGIApp, *, hosts: Collection[str], policy: str, any_address: bool = False
) -> ASGIApp:
    """Return the application behind the checks.

    `hosts` are the names and addresses that a request may be for, in lower case. `policy` is the
    Content-Security-Policy of all pages. Requests for an IP address of loopback are accepted too,
    and with `any_address` requests for any IP address.
    """

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            if message["type"] == "http.response.start":
                own = [*HEADERS, (b"content-security-policy", policy.encode())]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        async def refuse(status: int, detail: str) -> None:
            # The rest of the body would be read as the next request.
            answer = JSONResponse({"detail": detail}, status, {"connection": "close"})
            await answer(scope, receive, send_with_headers)

        request = Request(scope, receive)
        named = request.headers.getlist("host")
        if len(named) != 1 or not is_for(named[0], hosts, any_address=any_address):
            names = " or ".join(sorted(hosts))
            await refuse(403, f"A request must be for {names}; this request is for another host.")
            return
        try:
            if scope.get("path") == FILE_PATH:
                await app(scope, receive, send_with_headers)
                return
            body = await _body(request)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # The server ends, after `app.SHUTDOWN_SECONDS`.
            if not has_begun:
                await refuse(503, "The server ends; the body had not arrived.")
            return
        if body is None:
            await refuse(413, f"A body must have at most {MAX_BODY:,} bytes.")
            return
        await app(scope, _replay(body, receive), send_with_headers)

    return guard


async def _body(request: Request) -> bytes | None:
    """Return the body, or None if its header Content-Length or its bytes are over the limit."""
    length = request.headers.get("content-length", "")
    # `int` raises an error for more than 4,300 digits.
    if length.isdecimal() and int(length[:20]) > MAX_BODY:
        return None
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a function that returns the body in its first call, and then calls `receive`, which
    reports that the client closed the connection.
    """
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
