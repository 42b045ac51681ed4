"""A model repository in a plain folder: any program can read it, a copy of it is a backup.

::

    potstill-repository.json     what says that this is one
    objects/ab/abcd….onnx        the files, by the SHA-256 of their bytes; never changed
    models/income.json           the manifest of one model: versions, aliases, history

A manifest is replaced by one rename, so whoever reads sees the old state or the new one and nothing between;
an old file stays where it was, so that who has it open goes on answering. Writers hold a lock on the folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

from potstill.artifact import load
from potstill.errors import ArtifactError, UserError
from potstill.files import locked, write_whole
from potstill.versions.admission import Admitted, admit, check_alias, checked_name, is_name
from potstill.versions.manifest import CHAMPION, Event, Manifest, Version, decode, encode

MARKER = "potstill-repository.json"
_MODELS, _OBJECTS = "models", "objects"
_HEX = re.compile(r"[0-9a-f]{64}")


def is_repository(folder: str | PathLike[str]) -> bool:
    """Whether the folder is a model repository, and not merely one with models in it."""
    return (Path(folder) / MARKER).is_file()


class Repository:
    """Versions of models in a folder. Made on the first push; safe to share between processes.

    Parameters
    ----------
    folder
        Where it is, or is to be.

    Raises
    ------
    UserError
        The folder is there and holds something else.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        if self.folder.is_dir() and not is_repository(self.folder) and _holds_files(self.folder):
            raise UserError(
                f"The folder {self.folder} holds files, and they are no model repository.",
                hint="Name a new folder, or an empty one.",
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(
                f"Wanted a folder for a model repository, but {self.folder} is a file.", hint="Name another."
            )

    def names(self) -> list[str]:
        """Names of the models, sorted."""
        return sorted(path.stem for path in (self.folder / _MODELS).glob("*.json") if is_name(path.stem))

    def versions(self, name: str) -> list[Version]:
        """The versions of a model, oldest first.

        Raises
        ------
        UserError
            When there is no such model.
        """
        return self._read(name).listed()

    def history(self, name: str) -> tuple[Event, ...]:
        """What happened to a model, oldest first.

        Raises
        ------
        UserError
            When there is no such model.
        """
        return self._read(name).history

    def resolve(self, name: str, ref: str | int = CHAMPION) -> Path:
        """The file of a version, its bytes checked against its hash.

        Parameters
        ----------
        name
            Of the model.
        ref
            An alias, the number of a version, or six or more digits that its hash begins with.

        Raises
        ------
        UserError
            When there is no such model or version.
        ArtifactError
            When the file is gone or was changed.
        """
        return self._checked(self._read(name).find(ref, model=name))

    def push(
        self,
        path: str | PathLike[str],
        name: str | None = None,
        *,
        gate: Iterable[str] = (),
        alias: str | None = None,
    ) -> Version:
        """Add an artifact as the newest version of a model; the first of a model is its champion at once.

        An artifact that is already there is not added again.

        Parameters
        ----------
        path
            The ``.onnx`` file.
        name
            Of the model; the stem of the file where it is not given.
        gate
            Conditions on the Card, such as ``recovery>=0.5``; see `figures`.
        alias
            Also let this point to it, such as ``challenger``.

        Raises
        ------
        UserError
            When there is no such file, a name or condition is none, or the folder cannot be written to.
        ArtifactError
            When the file was changed since it was written, or answers its probe rows otherwise.
        GateFailed
            When a condition does not hold.
        """
        model = checked_name(Path(path).stem if name is None else name)
        if alias is not None:
            check_alias(alias)
        admitted = admit(path, gate)
        with self._writing():
            manifest = self._read(model) if model in self.names() else Manifest()
            known = [each for each in manifest.versions if each.hash == admitted.hash]
            if not known:
                self._keep(admitted)
                added = Version(
                    version=max((each.version for each in manifest.versions), default=0) + 1,
                    hash=admitted.hash,
                    content_hash=admitted.card.content_hash,
                    pushed_at=_now(),
                    size_bytes=len(admitted.data),
                    gate=admitted.gate,
                )
                manifest = manifest.with_version(added)
                known = [added]
            number = known[0].version
            first = CHAMPION if CHAMPION not in manifest.aliases else None
            for each in dict.fromkeys((alias, first)):
                if each is not None and manifest.aliases.get(each) != number:
                    manifest = manifest.released(each, number, at=_now())
            self._write(model, manifest)
        return manifest.find(number, model=model)

    def promote(self, name: str, ref: str | int, alias: str = CHAMPION) -> Version:
        """Let ``alias`` point to a version, after its hash and its probe rows were checked again.

        Raises
        ------
        UserError
            When there is no such model or version, or the alias is none.
        ArtifactError
            When the file is gone, was changed, or answers otherwise than when it was written.
        """
        check_alias(alias)
        with self._writing():
            manifest = self._read(name)
            version = manifest.find(ref, model=name)
            load(self._checked(version), verify=True)
            if manifest.aliases.get(alias) != version.version:
                manifest = manifest.released(alias, version.version, at=_now())
                self._write(name, manifest)
        return manifest.find(version.version, model=name)

    def rollback(self, name: str, alias: str = CHAMPION) -> Version:
        """Let ``alias`` point again to what it pointed to before; once more goes further back.

        Raises
        ------
        UserError
            When there is no such model, or nothing was there before.
        ArtifactError
            When the earlier file is gone, was changed, or answers otherwise than when it was written.
        """
        with self._writing():
            manifest = self._read(name).rolled_back(model=name, at=_now(), alias=alias)
            version = manifest.find(alias, model=name)
            load(self._checked(version), verify=True)
            self._write(name, manifest)
        return version

    @contextmanager
    def _writing(self) -> Iterator[None]:
        _make(self.folder, parents=True)
        # first of all, or a push that is killed here would leave a folder that is taken for something else
        if not is_repository(self.folder):
            write_whole(b'{"format_version": 1}\n', self.folder / MARKER)
        for folder in (self.folder / _MODELS, self.folder / _OBJECTS):
            _make(folder)
        with locked(self.folder, on_wait=lambda _: None):
            yield

    def _keep(self, admitted: Admitted) -> None:
        target = self._object(admitted.hash)
        if not (target.is_file() and _sha256(target) == admitted.hash):
            _make(target.parent)
            write_whole(admitted.data, target)

    def _object(self, digest: str) -> Path:
        return self.folder / _OBJECTS / digest[:2] / f"{digest}.onnx"

    def _checked(self, version: Version) -> Path:
        # a manifest is a file that people edit: what stands in it must not lead out of the folder
        path = self._object(version.hash) if _HEX.fullmatch(version.hash) else None
        if path is None or not path.is_file():
            raise ArtifactError(
                f"The file of version {version.version} is not in {self.folder}: {version.hash[:64]}.",
                hint="Push it again from where it was made.",
            )
        if _sha256(path) != version.hash:
            raise ArtifactError(
                f"{path} was changed since it was pushed: its bytes do not match its hash.",
                hint="Push it again from where it was made, or promote another version.",
            )
        return path

    def _read(self, name: str) -> Manifest:
        path = self.folder / _MODELS / f"{name}.json"
        if not is_name(name) or not path.is_file():
            known = ", ".join(self.names()) or "none"
            raise UserError(
                f"There is no model {name!r} in {self.folder}.", hint=f"The models there: {known}."
            )
        return decode(path.read_bytes(), source=str(path))

    def _write(self, name: str, manifest: Manifest) -> None:
        write_whole(encode(manifest), self.folder / _MODELS / f"{name}.json")


def _make(folder: Path, *, parents: bool = False) -> None:
    try:
        folder.mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be made: {error.strerror}.",
            hint="Free some space, or name a folder of your own.",
        ) from None


def _holds_files(folder: Path) -> bool:
    """Whether anything is there but what a killed first push (a marker half written) or mkfs left."""
    return any(
        not path.name.startswith(f".{MARKER}.") and path.name != "lost+found" for path in folder.iterdir()
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
