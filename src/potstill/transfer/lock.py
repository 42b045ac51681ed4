"""A lock on a folder that the system lets go of by itself when the process that held it dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: IO[str]) -> bool:
        handle.seek(1 << 30)
        try:
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(handle: IO[str]) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


NAME = "lock"
_POLL_S = 0.05


@contextmanager
def locked(directory: Path, *, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of ``directory``; while another process holds it, wait.

    The lock is the operating system's, on the file ``lock``: a killed process leaves none behind, whatever
    its number was and whoever has that number now.

    Parameters
    ----------
    directory
        An existing folder.
    on_wait
        Told once, in one sentence, when there is something to wait for.
    """
    waiting = False
    while True:
        handle = (directory / NAME).open("a+", encoding="ascii")
        if _try_lock(handle):
            if _is_current(handle, directory / NAME):
                break
            handle.close()  # the folder was pruned between opening and locking
            directory.mkdir(parents=True, exist_ok=True)
            continue
        if not waiting:
            handle.seek(0)
            on_wait(f"waiting for process {handle.read().strip() or 'unknown'}, which works in {directory}")
            waiting = True
        handle.close()
        time.sleep(_POLL_S)
    try:
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
    finally:
        handle.close()


@contextmanager
def locked_if_free(directory: Path) -> Iterator[bool]:
    """Hold the lock of ``directory`` where nobody else does; yields whether it is held."""
    with (directory / NAME).open("a+", encoding="ascii") as handle:
        yield _try_lock(handle)


def _is_current(handle: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False
