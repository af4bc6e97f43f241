"""`python -m tests.soak --minutes 60`: good, slow, half-sent and hostile clients of a server at the
same time. Each answer is checked, and the answers, latencies and memory are printed.

The server is `python -m tuning serve` with a model of the baseline's size that is not trained. Each
kind of client has a fixed number of clients, which wait between two requests; together they have
fewer connections than the server allows, so that no good client has to make room. The clients are
one process, whose own waits are part of the latencies.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.clients import read_answer, request
from benchmarks.serving import write_export
from tests.servers import HEAD, address_of, serving
from tests.serving.hostile import HEALTH, HOSTILE
from tests.texts import make_reviews
from tuning.inference.load import load_fastest
from tuning.inference.manifest import read_manifest

N_TEXTS = 2_000
BATCH = 100
SLOW_BATCH = 1_000  # number of texts of an answer that is read slowly
N_IDLE = 200  # number of clients that stay connected after an answer
HALVES = {
    "half the headers": (HEAD, None),
    "half the body": (HEAD + b'Content-Length: 15\r\n\r\n{"texts"', 408),
    "half a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", 408),
    "no byte": (b"", None),
}
ANSWER_SECONDS = 60.0
QUIET_SECONDS = 0.3  # time without a byte after which an answer was the last
TOLERANCE = 2e-6  # answers have six digits
N_SAMPLES = 12  # number of readings of the server's memory
IDLE_FILES = 20.0  # seconds after which the server has closed the files of all clients that left

Exchange = Callable[["Soak", random.Random], Awaitable[int | None]]


@dataclass
class Soak:
    """The server's port, the texts with their probabilities, and what was counted.

    Attributes:
        statuses: the number of each status, by the kind of client; None: the server closed the
            connection without an answer.
        seconds: the latency of each request, by the kind of client.
        problems: the answers that were wrong, by the kind of client.
    """

    port: int
    texts: list[str]
    expected: Any
    statuses: dict[str, Counter[int | None]] = field(default_factory=lambda: defaultdict(Counter))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Yield a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def check(self, content: bytes, first: int, n: int) -> None:
        """Check the predictions of `n` texts against the export's own."""
        predictions = json.loads(content)["predictions"]
        values = [[*row["probabilities"].values()] for row in predictions]
        expected = self.expected[first : first + n]
        np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE)


async def predict(soak: Soak, rng: random.Random, *, n: int) -> int:
    """Label `n` texts."""
    first = rng.randrange(len(soak.texts) - n + 1)
    body = json.dumps({"texts": soak.texts[first : first + n]}).encode()
    async with soak.connect() as (reader, writer):
        writer.write(request("/predict", body))
        status, content = await read_answer(reader)
    assert status == 200, content[:200]
    soak.check(content, first, n)
    return status


async def stay_connected(soak: Soak, rng: random.Random) -> int:
    """Keep the connection open after an answer, until the server closes it."""
    async with soak.connect() as (reader, writer):
        writer.write(HEALTH)
        status, content = await read_answer(reader)
        assert status == 200, content[:200]
        assert await reader.read() == b""
    return status


async def send_slowly(soak: Soak, rng: random.Random, *, pieces: int) -> int | None:
    """Send the body of a request in pieces, one each second. The server waits for 10 seconds."""
    data = request("/predict", json.dumps({"texts": soak.texts[:1]}).encode())
    head, end, data = data.partition(b"\r\n\r\n")
    size = len(data) // pieces + 1
    async with soak.connect() as (reader, writer):
        writer.write(head + end)
        answer = asyncio.create_task(read_answer(reader))
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await asyncio.wait([answer], timeout=1)
            if answer.done():
                break
        status, content = await answer
    if pieces > 10:
        assert status == 408, content[:200]
    else:
        assert status == 200, content[:200]
        soak.check(content, 0, 1)
    return status


async def read_slowly(soak: Soak, rng: random.Random) -> int:
    """Read a large answer in 8 pieces, one each second."""
    body = json.dumps({"texts": soak.texts[:SLOW_BATCH]}).encode()
    async with soak.connect() as (reader, writer):
        writer.transport.pause_reading()
        writer.write(request("/predict", body))
        for _ in range(8):
            await asyncio.sleep(1)
            writer.transport.resume_reading()
            await asyncio.sleep(0)
            with suppress(RuntimeError):  # It has paused itself: its buffer is full.
                writer.transport.pause_reading()
        writer.transport.resume_reading()
        status, content = await read_answer(reader)
    assert status == 200, content[:200]
    soak.check(content, 0, SLOW_BATCH)
    return status


async def send_half(soak: Soak, rng: random.Random) -> int | None:
    """Send half of a request, and wait or leave."""
    name = rng.choice([*HALVES])
    data, expected = HALVES[name]
    async with soak.connect() as (reader, writer):
        writer.write(data)
        # uvicorn has no time limit for headers.
        if expected is None or rng.random() < 0.3:
            await asyncio.sleep(rng.uniform(0, 20))
            return None
        statuses = _statuses(await reader.read())
    assert statuses == [expected], f"{name}: {statuses}"
    return expected


async def attack(soak: Soak, rng: random.Random) -> int:
    """Send a hostile request, and read all answers to it."""
    name = rng.choice([*HOSTILE])
    data, expected = HOSTILE[name]
    async with soak.connect() as (reader, writer):
        writer.write(data)
        answer = b""
        with suppress(ConnectionError, TimeoutError):
            while part := await asyncio.wait_for(
                reader.read(2**16), QUIET_SECONDS if b"\r\n\r\n" in answer else ANSWER_SECONDS
            ):
                answer += part
    statuses = _statuses(answer)
    assert statuses == [expected], f"{name}: {statuses}, {answer[:200]!r}"
    return expected


def _statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@dataclass(frozen=True)
class Kind:
    """A kind of client: what it does, the number of clients, and the seconds between two times."""

    exchange: Exchange
    n_clients: int
    pause: float


KINDS = {
    "one text": Kind(partial(predict, n=1), 4, 0.2),
    f"{BATCH} texts": Kind(partial(predict, n=BATCH), 2, 0.5),
    "request in 4 s": Kind(partial(send_slowly, pieces=5), 4, 1),
    "answer read in 8 s": Kind(read_slowly, 1, 10),
    "idle after an answer": Kind(stay_connected, N_IDLE, 0.2),
    "a byte each second": Kind(partial(send_slowly, pieces=10_000), 8, 1),
    "half a request": Kind(send_half, 300, 1),
    "hostile": Kind(attack, 4, 0.2),
}


async def _client(soak: Soak, name: str, *, seed: str, until: float) -> None:
    kind, rng = KINDS[name], random.Random(seed)
    await asyncio.sleep(rng.uniform(0, kind.pause))
    while time.monotonic() < until:
        started = time.perf_counter()
        try:
            status = await asyncio.wait_for(kind.exchange(soak, rng), ANSWER_SECONDS)
        except (AssertionError, OSError, EOFError, TimeoutError) as error:
            soak.problems[name].append(f"{type(error).__name__}: {str(error)[:300]}")
        else:
            soak.statuses[name][status] += 1
            soak.seconds[name].append(time.perf_counter() - started)
        await asyncio.sleep(kind.pause * rng.uniform(0.5, 1.5))


async def _run(soak: Soak, server: psutil.Process, *, seconds: float) -> None:
    until = time.monotonic() + seconds
    clients = [
        asyncio.create_task(_client(soak, name, seed=f"{name} {number}", until=until))
        for name, kind in KINDS.items()
        for number in range(kind.n_clients)
    ]
    for number in count():
        _print_server(server, f"{number * seconds / N_SAMPLES / 60:5.1f} min")
        if number == N_SAMPLES:
            break
        await asyncio.sleep(seconds / N_SAMPLES)
    await asyncio.gather(*clients)


def _print_server(server: psutil.Process, when: str) -> None:
    n_files, memory = server.num_fds(), server.memory_info().rss / 2**20
    print(f"{when}: {memory:.0f} MiB, {n_files} open files", flush=True)


def _print_kinds(soak: Soak) -> None:
    print("\n| client | clients | answers | statuses | median | 99 % | longest | wrong |")
    print("|---|---|---|---|---|---|---|---|")
    for name, kind in KINDS.items():
        statuses = soak.statuses[name]
        counted = ", ".join(f"{n:,} of {key or 'no answer'}" for key, n in statuses.most_common())
        seconds = np.percentile(soak.seconds[name] or [0], (50, 99, 100))
        times = " | ".join(f"{1000 * value:,.0f} ms" for value in seconds)
        row = [name, kind.n_clients, f"{statuses.total():,}", counted, times]
        print("|", *(f"{cell} |" for cell in (*row, len(soak.problems[name]))))


def main() -> int:
    """Read the flags, run, print; return 1 if an answer was wrong or the server failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    texts = make_reviews(N_TEXTS)["review_body"].tolist()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder, log = Path(name) / "best", Path(name) / "errors.txt"
        write_export(folder=folder, texts=texts, masked=False)
        expected = load_fastest(folder, read_manifest(folder))(texts)
        assert np.ptp(expected) > 100 * TOLERANCE, "wrong answers must differ from right answers"
        with log.open("w") as errors, serving(folder, errors=errors) as started:
            port = int(address_of(started).rsplit(":", 1)[1])
            soak, server = Soak(port, texts, expected), psutil.Process(started.pid)
            asyncio.run(predict(soak, random.Random(0), n=1))
            _print_server(server, "before")
            n_files = server.num_fds()
            asyncio.run(_run(soak, server, seconds=60 * minutes))
            time.sleep(IDLE_FILES)
            _print_server(server, " after")
            n_left = server.num_fds() - n_files
            started.send_signal(signal.SIGTERM)
            code = started.wait(60)
        log_text = log.read_text()
    _print_kinds(soak)
    problems = [f"{name}: {text}" for name, texts in soak.problems.items() for text in texts[:5]]
    problems += [f"the server ended with {code}"] if code else []
    problems += [f"{n_left} files are left open"] if n_left > 0 else []
    problems += ["the log has a traceback"] if "Traceback" in log_text else []
    print("\n" + "\n".join(problems or ["All answers were right."]))
    print(f"The server wrote {len(log_text.splitlines()):,} lines to its standard error.")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
