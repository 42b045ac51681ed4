"""Files that are there wholly or not at all, and a lock on a folder that dies with its process."""

from __future__ import annotations

import errno
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import IO

from potstill.errors import StoreError, UserError

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


LOCK = "lock"
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

    Raises
    ------
    UserError
        When the folder cannot be written to.
    """
    waiting = False
    while True:
        try:
            handle = (directory / LOCK).open("a+", encoding="ascii")
        except OSError as error:
            raise UserError(
                f"The folder {directory} cannot be written to: {error.strerror}.",
                hint="Work in a folder of your own.",
            ) from None
        if _try_lock(handle):
            if _is_current(handle, directory / LOCK):
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
        with suppress(OSError):  # on a full disk whoever waits is told less
            handle.truncate(0)
            os.write(handle.fileno(), str(os.getpid()).encode())
        yield
    finally:
        handle.close()


@contextmanager
def locked_if_free(directory: Path) -> Iterator[bool]:
    """Hold the lock of ``directory`` where nobody else does; yields whether it is held."""
    with (directory / LOCK).open("a+", encoding="ascii") as handle:
        yield _try_lock(handle)


def _is_current(handle: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write_whole(data: bytes, path: str | PathLike[str]) -> None:
    """Write a file that is there wholly or not at all: beside it first, to the disk, then renamed.

    Raises
    ------
    StoreError
        When it cannot be written; what was there before is then still there.
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        raise _not_written(target, error) from None
    finally:
        beside.unlink(missing_ok=True)


def _not_written(target: Path, error: OSError) -> StoreError:
    if error.errno == errno.ENOSPC:
        return StoreError(
            f"{target} cannot be written: the disk is full.", hint="Free some space, or write elsewhere."
        )
    if error.errno == errno.ENOENT:
        return StoreError(
            f"{target} cannot be written: there is no folder {target.parent}.", hint="Make the folder first."
        )
    return StoreError(f"{target} cannot be written: {error.strerror}.", hint="Write to a place of your own.")
