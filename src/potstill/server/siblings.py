"""The other workers of the same server: each answers over a socket of its own, in a folder they share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, final

log = logging.getLogger("potstill.server")

ANSWER_S = 2.0
"""Seconds that another worker has to answer; one that is about to end may not."""

_DONE, _FAILED = b"+", b"-"
"""What an answer begins with."""

Answer: TypeAlias = Callable[[str], bytes]
"""Takes what a question is about, gives the answer."""


@final
class Siblings:
    """Asks the other workers, and answers them.

    Parameters
    ----------
    folder
        Where every worker has its socket, named by the number of its process; nobody but their user may
        enter it. Empty where there is one worker alone: it has nobody to ask.
    answers
        What is asked to what answers it, in a thread.
    """

    def __init__(self, folder: str, answers: Mapping[str, Answer]) -> None:
        self._folder = Path(folder) if folder else None
        self._answers = answers
        self._listening: asyncio.Server | None = None

    @property
    def name(self) -> str:
        """Of this worker."""
        return str(os.getpid())

    @property
    def alone(self) -> bool:
        """Whether there never is another worker."""
        return self._folder is None

    async def open(self) -> None:
        """Begin to answer."""
        if self._folder is not None:
            self._listening = await asyncio.start_unix_server(self._answer, self._folder / self.name)

    async def close(self) -> None:
        """Answer no more."""
        if self._listening is not None and self._folder is not None:
            self._listening.close()
            (self._folder / self.name).unlink(missing_ok=True)

    async def ask(self, question: str, about: str = "") -> dict[str, bytes]:
        """Name of each other worker to what it says; those that do not answer are left out."""
        if self._folder is None:
            return {}
        names = [path.name for path in sorted(self._folder.iterdir()) if path.name != self.name]
        told = await asyncio.gather(*(self._ask(name, f"{question} {about}\n") for name in names))
        return {name: answer for name, answer in zip(names, told, strict=True) if answer is not None}

    async def _ask(self, name: str, line: str) -> bytes | None:
        assert self._folder is not None
        path = self._folder / name
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(path)
                with contextlib.closing(writer):
                    writer.write(line.encode())
                    ok, answer = await reader.readexactly(1), await reader.read()
                    return answer if ok == _DONE else None
        except ConnectionRefusedError:  # it was killed and has left its socket
            path.unlink(missing_ok=True)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.warning("worker %s does not answer: %s", name, type(error).__name__)
        return None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            question, _, about = (await reader.readline()).decode().rstrip("\n").partition(" ")
            try:
                writer.write(_DONE + await asyncio.to_thread(self._answers[question], about))
            except Exception:  # whatever is wrong here, the other goes on without
                log.exception("another worker got no answer")
                writer.write(_FAILED)
            await writer.drain()
