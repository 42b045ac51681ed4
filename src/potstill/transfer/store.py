"""Where teachers' answers are kept: shards beside a manifest, written whole or not at all.

A *job* is a folder for one teacher on one set of training rows. It holds ``manifest.json`` and the shards
that the manifest names, with their rows and hashes. A shard is written under a temporary name, flushed to
the disk and renamed, and only then named in the manifest; so what the manifest names is whole, and what it
does not name does not exist. A run killed at any moment is taken up where the last finished shard ended.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import final

import msgspec
import numpy as np
import pyarrow as pa

from potstill.errors import StoreError, UserError
from potstill.files import LOCK, locked, locked_if_free
from potstill.types import Floats

FORMAT = 1
MANIFEST = "manifest.json"
Facts = dict[str, float]


class Shard(msgspec.Struct, frozen=True):
    """One file of answers.

    Parameters
    ----------
    file
        Its name, in the job's folder.
    rows
        Rows in it.
    sha256
        Hex digest of its bytes.
    source
        Hex digest of the rows that were answered; empty where the shard's name has it.
    facts
        What was measured when it was made, e.g. ``seconds``.
    """

    file: str
    rows: int
    sha256: str
    source: str = ""
    facts: Facts = {}


class Manifest(msgspec.Struct, frozen=True):
    """What a job's folder holds.

    Parameters
    ----------
    format
        Version of this layout.
    key
        Hex digest of everything the answers depend on.
    what
        The job in words, for a reader.
    shards
        Name to shard, finished ones only.
    facts
        Name to measurements that belong to no single shard, e.g. those of one fold's model.
    complete
        Whether all that was asked for is here.
    """

    format: int
    key: str
    what: str
    shards: dict[str, Shard] = {}
    facts: dict[str, Facts] = {}
    complete: bool = False


@final
class Landing:
    """A shard being written: a temporary path, and what will be said of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.source = ""
        self.facts: Facts = {}


@final
class Job:
    """An opened job; made by `open_job`."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self._verified: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the shard is there and its bytes are those that were written."""
        shard = self.manifest.shards.get(name)
        if shard is None:
            return False
        if name not in self._verified:
            path = self.directory / shard.file
            if not path.is_file() or _sha256(path) != shard.sha256:
                return False
            self._verified.add(name)
        return True

    @contextmanager
    def landing(self, name: str, *, suffix: str) -> Iterator[Landing]:
        """Write a shard: the caller fills ``landing.path``; leaving without an error adds it to the job.

        Raises
        ------
        StoreError
            The disk is full or cannot be written.
        """
        file = f"shard-{name}{suffix}"
        landing = Landing(self.directory / f"{file}.tmp")
        try:
            yield landing
            with guarded(self.directory):
                digest = _sha256(landing.path)
                _settle(landing.path, self.directory / file)
        finally:
            landing.path.unlink(missing_ok=True)
        shard = Shard(file, landing.rows, digest, landing.source, landing.facts)
        self._update(shards={**self.manifest.shards, name: shard}, complete=False)
        self._verified.add(name)

    def path(self, name: str) -> Path:
        """The file of a shard."""
        return self.directory / self.manifest.shards[name].file

    def batches(self, name: str) -> Iterator[Floats]:
        """The shard's answers, ``(n, K)`` float32 read-only views of the mapped file, in order."""
        with pa.memory_map(str(self.path(name))) as source:
            reader = pa.ipc.open_file(source)
            for index in range(reader.num_record_batches):
                column = reader.get_batch(index).column(0)
                yield column.flatten().to_numpy().reshape(len(column), -1)

    def record(self, name: str, facts: Facts) -> None:
        """Keep measurements under ``name``."""
        self._update(facts={**self.manifest.facts, name: facts})

    def keep_only(self, names: Sequence[str]) -> None:
        """Remove the shards of other names: those of a source that was longer once."""
        others = {name: shard for name, shard in self.manifest.shards.items() if name not in names}
        if others:
            self._update(shards={name: self.manifest.shards[name] for name in names})
            for shard in others.values():
                (self.directory / shard.file).unlink(missing_ok=True)

    def finish(self) -> None:
        """Say that all that was asked for is here."""
        if not self.manifest.complete:
            self._update(complete=True)

    def _update(self, **changes: object) -> None:
        self.manifest = msgspec.structs.replace(self.manifest, **changes)
        temporary = self.directory / f"{MANIFEST}.tmp"
        text = msgspec.json.format(msgspec.json.encode(self.manifest), indent=1)
        with guarded(self.directory):
            temporary.write_bytes(text)
            _settle(temporary, self.directory / MANIFEST)


@contextmanager
def answers_file(landing: Landing, *, n_outputs: int) -> Iterator[Callable[[Floats], None]]:
    """Write a landing as Arrow IPC: yields a function that appends ``(n, K)`` answers."""
    schema = pa.schema([pa.field("answers", pa.list_(pa.float32(), n_outputs), nullable=False)])
    with guarded(landing.path.parent):
        sink = pa.OSFile(str(landing.path), "wb")
        writer = pa.ipc.new_file(sink, schema)

    def append(answers: Floats) -> None:
        flat = pa.array(np.ascontiguousarray(answers, dtype=np.float32).ravel())
        with guarded(landing.path.parent):
            writer.write_batch(pa.record_batch([pa.FixedSizeListArray.from_arrays(flat, n_outputs)], schema))
        landing.rows += len(answers)

    try:
        yield append
        with guarded(landing.path.parent):
            writer.close()
    finally:
        sink.close()


@contextmanager
def open_job(
    directory: Path, *, key: str, what: str, on_wait: Callable[[str], None] = lambda _: None
) -> Iterator[Job]:
    """Open a job's folder, alone: another process that wants the same folder waits.

    A folder made here goes again if nothing was finished in it. Leftovers of a killed run are
    removed; a manifest that cannot be read, or of another format, starts anew.

    Raises
    ------
    UserError
        The folder holds another job's answers.
    StoreError
        The folder cannot be written.
    """
    is_new = not directory.exists()
    with ExitStack() as stack:
        with guarded(directory):
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(directory, on_wait=on_wait))
        for leftover in (*directory.glob("shard-*.tmp"), directory / f"{MANIFEST}.tmp"):
            leftover.unlink(missing_ok=True)
        manifest = _read_manifest(directory / MANIFEST)
        if manifest is not None and manifest.key != key:
            raise UserError(
                f"Wanted a folder for {what}; {directory} already holds {manifest.what}.",
                hint="Give another folder, or delete this one.",
            )
        try:
            yield Job(directory, manifest or Manifest(FORMAT, key, what))
        except BaseException:
            if is_new and {path.name for path in directory.iterdir()} <= {LOCK}:
                shutil.rmtree(directory, ignore_errors=True)
            raise


@final
class Store:
    """A folder of jobs, one for each key.

    Parameters
    ----------
    root
        The folder; made when the first job is.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @classmethod
    def default(cls) -> Store:
        """The user's own: ``$POTSTILL_CACHE``, else the system's folder for caches."""
        named = os.environ.get("POTSTILL_CACHE")
        if named:
            return cls(Path(named))
        import platformdirs

        return cls(Path(platformdirs.user_cache_dir("potstill")))

    @classmethod
    def temporary(cls) -> Store:
        """One that is removed with the object: nothing is kept."""
        store = cls(Path(tempfile.mkdtemp(prefix="potstill-")))
        weakref.finalize(store, shutil.rmtree, store.root, ignore_errors=True)
        return store

    @contextmanager
    def job(self, key: str, *, what: str, on_wait: Callable[[str], None] = lambda _: None) -> Iterator[Job]:
        """Open the job of ``key``, see `open_job`."""
        with open_job(self.root / key[:40], key=key, what=what, on_wait=on_wait) as job:
            yield job

    def in_use(self, key: str) -> bool:
        """Whether another process is at work on the job of ``key``."""
        directory = self.root / key[:40]
        if not (directory / LOCK).exists():
            return False
        with locked_if_free(directory) as free:
            return not free

    def array(self, shape: tuple[int, ...], *, in_memory_bytes: int) -> Floats:
        """Room for a float32 array of zeros, above ``in_memory_bytes`` in an unnamed file here.

        Raises
        ------
        StoreError
            The disk is full.
        """
        n_bytes = int(np.prod(shape)) * 4
        if n_bytes <= in_memory_bytes:
            return np.zeros(shape, dtype=np.float32)
        with guarded(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as file:
                _reserve(file.fileno(), n_bytes)
                return np.memmap(file, dtype=np.float32, mode="r+", shape=shape)

    def size_bytes(self) -> int:
        """Bytes of all files kept."""
        total = 0
        for path in self.root.rglob("*"):
            with suppress(FileNotFoundError):  # another run may rename or remove it meanwhile
                total += path.stat().st_size if path.is_file() else 0
        return total

    def prune(self, max_bytes: int) -> int:
        """Remove whole jobs, the longest unchanged first, down to ``max_bytes``; jobs in use stay.

        Returns the number of bytes removed.
        """
        before = remaining = self.size_bytes()
        manifests = sorted(self.root.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
        for manifest in manifests:
            if remaining <= max_bytes:
                break
            with locked_if_free(manifest.parent) as free:
                if free:
                    manifest.unlink()
                    shutil.rmtree(manifest.parent)
            remaining = self.size_bytes()
        return before - remaining


@contextmanager
def guarded(directory: Path) -> Iterator[None]:
    """Turn the system's refusal to write in ``directory`` into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"The disk is full: no room for the teachers' answers in {directory}.",
                hint="Free some space, or choose a folder on another disk (--cache, POTSTILL_CACHE). "
                "What is finished is kept and will be reused.",
            ) from error
        raise StoreError(
            f"Wanted to keep the teachers' answers in {directory}, which cannot be written: "
            f"{error.strerror or error}.",
            hint="Choose a folder you may write (--cache, POTSTILL_CACHE).",
        ) from error


def _read_manifest(path: Path) -> Manifest | None:
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return manifest if manifest.format == FORMAT else None


def _settle(temporary: Path, final_path: Path) -> None:
    """Flush to the disk, then rename: after a crash there is the old file or the new, never a half."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(final_path)
    if os.name == "posix":
        folder = os.open(final_path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _reserve(descriptor: int, n_bytes: int) -> None:
    """Claim the room now: a mapped file that finds the disk full later kills the process."""
    if os.name == "posix":
        os.posix_fallocate(descriptor, 0, n_bytes)
    else:
        os.ftruncate(descriptor, n_bytes)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
