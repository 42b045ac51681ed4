"""A soak of `potstill serve` at a share of its capacity, with faults on the way.

    python benchmarks/serving/soak.py MODEL.onnx [--minutes 10] [--share 0.8] [--calm]

First 16 clients find out how many rows a second the server answers; then they ask for a share of that,
evenly in time, and every answer is held against the model's own. Meanwhile, unless ``--calm``: the artifact
is exchanged for a copy and ``SIGHUP`` sent, callers send half a request and stay, and bodies cut off or with
bytes exchanged are sent, which must be answered with 200 or a 4xx. The server's memory is read from /proc.
The load takes a core of its own; where it has none, the latencies are those of the load as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from load import HEAD_END, Questions, many_at_once, split
from pages import OUT, save
from servers import free_port, running, wait_for

import potstill

N_CLIENTS = 16
CAPACITY_S = 3.0
WARM_UP_SHARE = 0.1
ABSOLUTE_TOLERANCE = 1e-6


class Soaked(msgspec.Struct, frozen=True):
    """What a soak has seen; memory is the growth from the end of the warm-up to the end."""

    seconds: float
    capacity_per_s: float
    asked_per_s: float
    n_answers: int
    n_wrong: int
    n_failed: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    memory_mb: float
    grown_mb: float
    n_exchanged: int
    n_malformed: int
    n_malformed_badly_answered: int
    n_slow_callers: int


@dataclass
class Seen:
    """Counters while the soak goes on."""

    took_ms: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    n_wrong: int = 0
    n_failed: int = 0
    n_exchanged: int = 0
    n_malformed: int = 0
    n_badly: int = 0
    n_slow: int = 0


@dataclass(frozen=True)
class Target:
    """The server under load: where it is, what it is asked and what is right."""

    process: subprocess.Popen[bytes]
    artifact: Path
    questions: Questions
    expected: list[list[float]]

    def right(self, at: int, status: bytes, body: bytes) -> bool:
        if status != b"200":
            return False
        said = json.loads(body)["predictions"][0]
        values = list(said["probabilities"].values()) if "probabilities" in said else [said["value"]]
        wanted = self.expected[at % len(self.expected)]
        return all(
            abs(a - b) <= ABSOLUTE_TOLERANCE * max(1, abs(b)) for a, b in zip(values, wanted, strict=True)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--share", type=float, default=0.8, help="of the capacity (default 0.8)")
    parser.add_argument("--calm", action="store_true", help="no faults")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help="of the results")
    asked = parser.parse_args()
    model = potstill.load(asked.model)
    rows = model.probe_rows
    bodies = [json.dumps({"instances": [row]}).encode() for row in rows]
    columns = {name: [row[name] for row in rows] for name in model.schema.names}
    answers = model.predict_proba(columns) if model.classes else model.predict(columns)[:, None]
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder, "model.onnx")
        shutil.copy(asked.model, artifact)
        port = free_port()
        command = [sys.executable, "-m", "potstill.cli", "serve", folder, "--port", str(port)]
        with running(command) as process:
            questions = Questions(port, "/v1/models/model:predict", bodies)
            wait_for(questions)
            target = Target(process, artifact, questions, answers.tolist())
            capacity = many_at_once(questions, n_clients=N_CLIENTS, seconds=CAPACITY_S)
            soaked = asyncio.run(soak(target, asked, capacity))
    for name, value in msgspec.structs.asdict(soaked).items():
        print(f"{name:28} {value:,.3f}" if isinstance(value, float) else f"{name:28} {value:,}")
    save("soak", soaked, asked.out)
    sys.exit(bool(soaked.n_wrong or soaked.n_failed or soaked.n_malformed_badly_answered))


async def soak(target: Target, asked: argparse.Namespace, capacity_per_s: float) -> Soaked:
    seen, seconds = Seen(), 60 * asked.minutes
    every_s = N_CLIENTS / (asked.share * capacity_per_s)
    clients = [client(target, seen, at, every_s=every_s, seconds=seconds) for at in range(N_CLIENTS)]
    others = [memory(target, seen)]
    if not asked.calm:
        others += [exchanges(target, seen), malformed(target, seen), slow_callers(target, seen)]
    tasks = [asyncio.create_task(other) for other in others]
    begin = time.perf_counter()
    await asyncio.gather(*clients)
    took_s = time.perf_counter() - begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    cuts = statistics.quantiles(seen.took_ms, n=1000)
    settled = seen.rss_mb[int(WARM_UP_SHARE * len(seen.rss_mb))]
    return Soaked(
        seconds=took_s,
        capacity_per_s=capacity_per_s,
        asked_per_s=len(seen.took_ms) / took_s,
        n_answers=len(seen.took_ms),
        n_wrong=seen.n_wrong,
        n_failed=seen.n_failed,
        p50_ms=cuts[499],
        p99_ms=cuts[989],
        p999_ms=cuts[998],
        memory_mb=seen.rss_mb[-1],
        grown_mb=seen.rss_mb[-1] - settled,
        n_exchanged=seen.n_exchanged,
        n_malformed=seen.n_malformed,
        n_malformed_badly_answered=seen.n_badly,
        n_slow_callers=seen.n_slow,
    )


async def client(target: Target, seen: Seen, start: int, *, every_s: float, seconds: float) -> None:
    """One connection that asks every so often; what is late is asked at once, none is left out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.questions.port)
    begin = time.perf_counter() + every_s * start / N_CLIENTS
    for turn in itertools.count():
        due = begin + turn * every_s
        if due > begin + seconds:
            break
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asked_at = time.perf_counter()
        try:
            answer = await ask(reader, writer, target.questions.request(start + turn))
        except (OSError, asyncio.IncompleteReadError):
            seen.n_failed += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", target.questions.port)
            continue
        seen.took_ms.append(1000 * (time.perf_counter() - asked_at))
        seen.n_wrong += not target.right(start + turn, *answer)
    writer.close()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[bytes, bytes]:
    writer.write(request)
    received = b""
    while (answer := split(received)) is None:
        more = await reader.read(65536)
        if not more:
            raise asyncio.IncompleteReadError(received, None)
        received += more
    return answer


async def exchanges(target: Target, seen: Seen) -> None:
    """Twice a second the artifact is replaced as a whole, and the server told."""
    copy = target.artifact.with_suffix(".copy")
    while True:
        await asyncio.sleep(0.5)
        shutil.copy(target.artifact, copy)
        copy.replace(target.artifact)
        os.kill(target.process.pid, signal.SIGHUP)
        seen.n_exchanged += 1


async def malformed(target: Target, seen: Seen) -> None:
    """Fifty times a second a body that is cut off, or in which some bytes are others."""
    chance = random.Random(0)
    while True:
        await asyncio.sleep(0.02)
        body = bytearray(chance.choice(target.questions.bodies))
        if chance.random() < 0.3:
            del body[chance.randrange(len(body)) :]
        for _ in range(chance.randrange(1, 6) if body else 0):
            body[chance.randrange(len(body))] = chance.randrange(256)
        head = f"POST {target.questions.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
        reader, writer = await asyncio.open_connection("127.0.0.1", target.questions.port)
        try:
            status, answer = await ask(reader, writer, head.encode() + HEAD_END + bytes(body))
            seen.n_badly += status != b"200" and not (status[:1] == b"4" and "error" in json.loads(answer))
        except (OSError, asyncio.IncompleteReadError, ValueError):
            seen.n_badly += 1
        seen.n_malformed += 1
        writer.close()


async def slow_callers(target: Target, seen: Seen) -> None:
    """Ten times a second somebody sends half of a request, stays for three seconds and goes."""

    async def stay() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", target.questions.port)
        request = target.questions.request(0)
        writer.write(request[: random.randrange(1, len(request))])
        seen.n_slow += 1
        await asyncio.sleep(3)
        writer.close()

    async with asyncio.TaskGroup() as callers:
        while True:
            callers.create_task(stay())
            await asyncio.sleep(0.1)


async def memory(target: Target, seen: Seen) -> None:
    """Twice a second, the server's resident memory."""
    while True:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{target.process.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    seen.rss_mb.append(int(line.split()[1]) / 1024)
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    main()
