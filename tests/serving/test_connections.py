"""Slow, silent and many clients over real sockets: the time and the memory of each client are
limited, and no client blocks the others.
"""

import asyncio
import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.servers import HEAD, MANIFEST, connected, fake, served
from tuning.serving import app, connections
from tuning.targets.target import Array

HEADERS = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HALF_BODY = HEAD + b'Content-Length: 15\r\n\r\n{"text"'
REST_OF_BODY = b':"good"}'
HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
REQUEST_SECONDS = 0.3

Connect = Callable[[bytes], socket.socket]


@pytest.fixture
def address() -> Iterator[str]:
    with served(app.make_app(fake, MANIFEST)) as made:
        yield made


@contextlib.contextmanager
def clients(address: str) -> Iterator[Connect]:
    """Give a function that connects a client and sends its bytes. All clients are closed at the
    end.
    """
    with contextlib.ExitStack() as stack:

        def connect(data: bytes) -> socket.socket:
            client = stack.enter_context(connected(address))
            client.sendall(data)
            return client

        yield connect


@pytest.fixture
def connect(address: str) -> Iterator[Connect]:
    with clients(address) as made:
        yield made


def until_closed(client: socket.socket) -> bytes:
    """Return all bytes that the server sends before it closes the connection. The test fails if the
    server keeps the connection open.
    """
    answer = b""
    with contextlib.suppress(
        ConnectionResetError
    ):  # the server closed before it had read everything
        while part := client.recv(65536):
            answer += part
    return answer


def send_until_answered(client: socket.socket, data: bytes) -> None:
    """Send the data again and again, until the server answers or closes the connection."""
    for _ in range(200):
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
        if select.select([client], [], [], 0.05)[0]:
            return
    pytest.fail("the server waits on")


def read_answer(client: socket.socket) -> bytes:
    """Return one answer with a body of JSON."""
    answer = b""
    while not answer.endswith(b"}"):
        part = client.recv(65536)
        assert part
        answer += part
    return answer


def refusal(answer: bytes) -> tuple[int, str]:
    """Return the status and message of an answer after which the server closes the connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert {
        b"connection: close",
        b"content-type: application/json",
        b"content-length: %d" % len(body),
    } <= set(lines)
    sentence = json.loads(body)["detail"]
    assert sentence.endswith(".")
    return int(head.split(b" ")[1]), sentence


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEADERS, id="half the headers"),
        pytest.param(HALF_BODY, id="half the body"),
        pytest.param(HEALTH, id="idle"),
    ],
)
def test_client_that_has_waited_longest_makes_room(
    data: bytes, monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    first = connect(data)
    if data == HEALTH:
        read_answer(first)
    second, third = connect(HALF_BODY), connect(HALF_BODY)
    status, sentence = refusal(until_closed(first))
    assert (status, "too many connections" in sentence) == (503, True)
    for client in (second, third):
        client.sendall(REST_OF_BODY)
        assert b'"label":"good"' in read_answer(client)


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", REQUEST_SECONDS)


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize(
    ("data", "further"),
    [
        pytest.param(HEADERS, b"", id="headers"),
        pytest.param(HALF_BODY, b"", id="body"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", b"", id="chunk"),
        pytest.param(HEALTH + HALF_BODY, b"", id="body of a second request"),
        pytest.param(HEALTH + HEADERS, b"", id="headers of a second request"),
        pytest.param(HEADERS + b"X: ", b"x", id="headers, byte by byte"),
        pytest.param(HEAD + b"Content-Length: 500\r\n\r\n", b"x", id="body, byte by byte"),
        pytest.param(HEALTH + HEADERS, b"x", id="second, byte by byte"),
    ],
)
def test_request_that_does_not_arrive_whole_is_refused(
    data: bytes, further: bytes, connect: Connect
) -> None:
    """A byte now and then gives no more time."""
    client = connect(data)
    if data.startswith(HEALTH):
        read_answer(client)
    if further:
        send_until_answered(client, further)
    status, sentence = refusal(until_closed(client))
    assert (status, "within 0.3 seconds" in sentence) == (408, True)


@pytest.mark.usefixtures("short_limit")
def test_large_body_gets_the_time_that_a_slow_network_needs(
    monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    monkeypatch.setattr(connections, "BYTES_PER_SECOND", 1_000)
    body = b'{"text":"' + b"good " * 400 + b'"}'
    client = connect(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 100):
        time.sleep(0.05)
        client.sendall(body[start : start + 100])
    assert b"200 OK" in read_answer(client)


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("data", [b"", HEALTH], ids=["new", "after an answer"])
def test_connection_without_a_request_is_closed_without_an_answer(
    data: bytes, connect: Connect
) -> None:
    """Empty lines may precede a request. They are not a request, and the server does not wait
    longer for them.
    """
    client = connect(data)
    if data:
        read_answer(client)
    send_until_answered(client, b"\r\n")
    assert until_closed(client) == b""


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="one request"),
        pytest.param(HEADERS, id="half the headers of a next", marks=pytest.mark.slow),
        pytest.param(HALF_BODY, id="half the body of a next", marks=pytest.mark.slow),
    ],
)
def test_answer_that_takes_long_is_not_cut_off(data: bytes) -> None:
    def slow(texts: Sequence[str]) -> Array:
        time.sleep(4 * REQUEST_SECONDS)
        return fake(texts)

    with served(app.make_app(slow, MANIFEST)) as address, clients(address) as connect:
        client = connect(HALF_BODY + REST_OF_BODY + data)
        assert b'"label":"good"' in read_answer(client)


def test_new_client_is_refused_where_no_other_can_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    n_asked, may_end = threading.Semaphore(0), threading.Event()

    async def slow(request: Request) -> Response:
        await request.body()
        n_asked.release()
        await asyncio.to_thread(may_end.wait, 20)
        return Response("{}")

    with (
        served(Starlette(routes=[Route("/predict", slow, methods=["POST"])])) as address,
        clients(address) as connect,
    ):
        answered = [connect(HALF_BODY + REST_OF_BODY) for _ in range(2)]
        assert n_asked.acquire(timeout=20)
        assert n_asked.acquire(timeout=20)
        status, sentence = refusal(until_closed(connect(HEALTH)))
        assert (status, "too many connections" in sentence) == (503, True)
        may_end.set()
        for client in answered:
            assert b"200 OK" in read_answer(client)


@pytest.mark.parametrize("n_requests", [1, 2])
def test_client_that_reads_no_answers_makes_room(
    n_requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    answered = threading.Event()

    async def large(_: Request) -> Response:
        return Response(b"x" * 2**25, background=BackgroundTask(answered.set))

    async def small(_: Request) -> Response:
        return Response("{}")

    with (
        served(Starlette(routes=[Route("/large", large), Route("/health", small)])) as address,
        clients(address) as connect,
    ):
        connect(HEALTH.replace(b"/health", b"/large") * n_requests)
        assert answered.wait(20)
        assert b"200 OK" in read_answer(connect(HEALTH))


def test_requests_that_are_sent_ahead_of_their_answers_are_limited(
    address: str, connect: Connect
) -> None:
    few = connect(HEALTH * 50)
    many = connect(b"")
    with pytest.raises(ConnectionError):
        many.sendall(HEALTH * 200_000)
    answers = b""
    while answers.count(b"200 OK") < 50:
        answers += few.recv(65536)
    assert httpx.get(f"{address}/health").status_code == 200


def test_headers_without_end_are_refused_by_their_size(connect: Connect) -> None:
    client = connect(HEADERS)
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            client.sendall(b"X" * 2**16)
    assert refusal(until_closed(client))[0] == 431


def test_bytes_that_are_no_request_are_refused_in_a_sentence_and_not_logged(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    status, sentence = refusal(until_closed(connect(b"BREW / HTTP/1.1\r\n\r\n")))
    assert (status, "HTTP request" in sentence) == (400, True)
    upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert b"200 OK" in read_answer(connect(HEALTH[:-2] + upgrade))
    assert caplog.text == ""


def test_limits_of_time_are_the_documented_ones() -> None:
    limits = connections.REQUEST_SECONDS, connections.BYTES_PER_SECOND, connections.READ_SECONDS
    assert limits == (10, 100_000, 60)
