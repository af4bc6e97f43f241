"""The time limit for sending a request, and the choice of the connection that is closed if the
server has too many.

The application receives a request only when its headers are complete, so these limits belong to the
protocol below the application.

Other servers were tried with 1,500 clients and 1,024 open files: uvicorn closes no half-sent
request, and with `limit_concurrency` refuses good clients too. Hypercorn never ends a body of which
a byte arrives each second, in spite of `read_timeout`, and Granian no half-sent body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http import HTTPStatus

from starlette.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tuning.serving.guard import HEADERS

# Maximum number of connections. It is more than `microbatch.MAX_REQUESTS`, so a new client can
# connect while the model has its maximum number of requests.
MAX_CONNECTIONS = 320
# Maximum size in bytes of headers that are not complete. Headers that end within one read of the
# socket can be longer, up to asyncio's 256 KiB per read. The parser has no limit of its own and
# keeps all headers in memory.
MAX_HEAD = 64 * 2**10
# Maximum number of requests of one connection that wait for the answer to an earlier request.
# uvicorn has no limit and keeps all of them in memory.
MAX_PIPELINED = 100
# Maximum time in which a request must arrive. uvicorn waits without a limit, so clients that send
# half a request would keep other clients out.
REQUEST_SECONDS = 10.0
# Further bytes of a body for which a request gets a second more: a file of 100 MB may take 17
# minutes, as in a network of 0.8 Mbit/s.
BYTES_PER_SECOND = 100_000
# Maximum time for which a client reads nothing of an answer that fills the buffers. A client that
# has stopped would keep one of the few places for files (`label_file.MAX_FILES`).
READ_SECONDS = 60.0


class Connection(HttpToolsProtocol):
    """A connection with a time limit for each request: from the start of the connection, or from
    the first byte after an answer, until the last byte of the request. The time does not run while
    a request is answered, but the client must read the answer. An idle connection after an answer
    has uvicorn's own limit, `timeout_keep_alive`.
    """

    # Time of the event loop since which the server waits for the client.
    waits_since = 0.0
    # Time of the event loop since which the client has not read the answer; None if it reads.
    _unread_since: float | None = None
    _timer: asyncio.TimerHandle | None = None
    # Whether a part of the next request has arrived.
    _has_begun = False
    # Number of bytes since the last piece of a body or the last complete headers.
    _n_head = 0

    @property
    def _waits_for_request(self) -> bool:
        if self.pipeline:
            return False
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    # The signature is uvicorn's.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waits_since = self.loop.time()
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._check_time)
        if len(self.connections) > MAX_CONNECTIONS:
            # A client that has not read its answers makes room too. The new connection is always in
            # this list, so it is the one that is refused if all others get answers.
            waiting = [
                connection
                for connection in self.connections
                if isinstance(connection, Connection)
                and (connection._waits_for_request or connection.flow.write_paused)
            ]
            min(waiting, key=lambda connection: connection.waits_since).refuse(
                503, "The server has too many connections; ask again later."
            )

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._n_head += len(data)
        super().data_received(data)
        if self._n_head > MAX_HEAD:
            self.refuse(431, f"The headers of a request must have at most {MAX_HEAD:,} bytes.")
        elif len(self.pipeline) > MAX_PIPELINED:
            self.refuse(
                503, f"At most {MAX_PIPELINED} requests of a connection can wait for their answers."
            )

    def on_message_begin(self) -> None:
        # The time of the first request began with the connection.
        if self._waits_for_request and self.cycle is not None:
            self.waits_since = self.loop.time()
        self._has_begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._n_head = 0
        super().on_headers_complete()
        # uvicorn adds the trailers of a body in chunks to the headers, such as a second Host.
        self.headers = []

    def pause_writing(self) -> None:
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unread_since = None
        super().resume_writing()

    def on_body(self, body: bytes) -> None:
        self._n_head = 0
        self.waits_since = min(self.waits_since + len(body) / BYTES_PER_SECOND, self.loop.time())
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_begun = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.waits_since = self.loop.time()
        # Here uvicorn starts its timer of an idle connection, which the next bytes stop. The client
        # sent a part of the next request before this answer, so the connection is not idle.
        if self._has_begun:
            self._unset_keepalive_if_required()

    def send_400_response(self, msg: str) -> None:
        self.refuse(400, msg)

    def refuse(self, status: int, detail: str) -> None:
        """Answer in one sentence, unless the client has not read its earlier answers, and close the
        connection.
        """
        self.connections.discard(self)
        if not self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.transport.write(_answer(status, detail, self.server_state.default_headers))
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _check_time(self) -> None:
        unread_since = self._unread_since
        if unread_since is not None and self.loop.time() - unread_since > READ_SECONDS:
            self.transport.abort()
            return
        left = REQUEST_SECONDS
        if self._waits_for_request:
            left = self.waits_since + REQUEST_SECONDS - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._check_time)
        elif self._has_begun:
            self.refuse(
                408,
                f"A request must arrive within {REQUEST_SECONDS:g} seconds, and a second for each"
                f" {BYTES_PER_SECOND:,} bytes of its body.",
            )
        else:
            # No answer: a browser may have opened the connection in advance, and would show an
            # answer as the answer to its next request.
            self.transport.close()


def _answer(status: int, detail: str, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    again = {"retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    answer = JSONResponse({"detail": detail}, headers={"connection": "close", **again})
    headers = (*default_headers, *answer.raw_headers, *HEADERS)
    lines = [b"%s: %s" % header for header in headers]
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()
    return b"\r\n".join([first, *lines, b"", bytes(answer.body)])
