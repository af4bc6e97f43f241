"""The checks of a request before the application receives it: the request is for this host, and its
body is small and arrives in time. Every answer gets headers that restrict the page.

A web page can make a browser send requests to this server. The page can't read the answers unless
the page's own name resolves to this machine (DNS rebinding), so requests for another name are
refused. Starlette's `TrustedHostMiddleware` is not used: it can't accept every IP address, as a
server on all interfaces must.
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
# Maximum time in which the body must arrive after the headers. uvicorn has no limit of its own.
BODY_SECONDS = 10.0
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Refusal(Exception):
    """The status and the sentence for a request that the application does not receive."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def limited(
    app: ASGIApp, *, hosts: Collection[str], policy: str, any_address: bool = False
) -> ASGIApp:
    """Return the application behind the checks.

    `hosts` are the names and addresses that a request may be for, in lower case. `policy` is the
    Content-Security-Policy of the page. Requests for an IP address of loopback are accepted too,
    and with `any_address` requests for any IP address.
    """
    own = [*HEADERS, (b"content-security-policy", policy.encode())]

    async def limit(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        request = Request(scope, receive)
        try:
            named = request.headers.getlist("host")
            if len(named) != 1 or not is_for(named[0], hosts, any_address=any_address):
                names = " or ".join(sorted(hosts))
                raise Refusal(403, f"A request must be for {names}; it is for another host.")
            body = await _body(request)
        except ClientDisconnect:
            return
        except Refusal as refusal:
            # The rest of the body would be read as the next request.
            answer = JSONResponse(
                {"detail": refusal.detail}, refusal.status, {"connection": "close"}
            )
            await answer(scope, receive, send_with_headers)
            return
        await app(scope, _replay(body, receive), send_with_headers)

    return limit


async def _body(request: Request) -> bytes:
    too_large = Refusal(413, f"A body must have at most {MAX_BODY:,} bytes.")
    length = request.headers.get("content-length", "")
    # `int` raises an error for more than 4,300 digits.
    if length.isdecimal() and int(length[:20]) > MAX_BODY:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY:
                    raise too_large
    except TimeoutError as error:
        raise Refusal(408, f"A body must arrive within {BODY_SECONDS:g} seconds.") from error
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
