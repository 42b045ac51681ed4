"""What is written down of one model: its versions, where its aliases point, and what happened."""

from __future__ import annotations

from typing import Literal

import msgspec

from potstill.errors import ArtifactError, UserError

FORMAT_VERSION = 1
CHAMPION = "champion"
_SHORTEST_PREFIX = 6


class Version(msgspec.Struct, frozen=True):
    """One version of a model.

    Parameters
    ----------
    version
        Its number, from 1 on.
    hash
        SHA-256 of the file, 64 hex digits: its address.
    content_hash
        Of the Card: the same for two runs with the same seed, data, versions and machine.
    pushed_at
        ISO 8601 in UTC.
    size_bytes
        Of the file.
    gate
        The conditions it passed.
    aliases
        What points to it now, sorted.
    """

    version: int
    hash: str
    content_hash: str
    pushed_at: str
    size_bytes: int
    gate: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


class Event(msgspec.Struct, frozen=True):
    """One line of the history: at ``at`` (ISO 8601, UTC) ``alias`` came to point to ``version``."""

    at: str
    action: Literal["push", "promote", "rollback"]
    version: int
    alias: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """All that is known of one model; `released` and `rolled_back` give a new one."""

    versions: tuple[Version, ...] = ()
    aliases: dict[str, int] = {}
    history: tuple[Event, ...] = ()
    format_version: int = FORMAT_VERSION

    def listed(self) -> list[Version]:
        """The versions with what points to them, oldest first."""
        return [self._named(version) for version in self.versions]

    def find(self, ref: str | int, *, model: str) -> Version:
        """The version that ``ref`` means: a number, an alias, or the beginning of a hash.

        Raises
        ------
        UserError
            When there is none, or a beginning fits several.
        """
        text = str(ref)
        number = int(text) if text.isdecimal() and len(text) < _SHORTEST_PREFIX else self.aliases.get(text)
        if number is not None:
            found = [version for version in self.versions if version.version == number]
        elif len(text) >= _SHORTEST_PREFIX:
            found = [version for version in self.versions if version.hash.startswith(text.lower())]
        else:
            found = []
        if len(found) == 1:
            return self._named(found[0])
        if found:
            raise UserError(f"Several versions of {model!r} begin with {text}.", hint="Give more digits.")
        known = ", ".join([*self.aliases, *(str(version.version) for version in self.versions[-5:])])
        raise UserError(f"{model!r} has no version {text!r}.", hint=f"Among those it has: {known}.")

    def with_version(self, version: Version) -> Manifest:
        event = Event(version.pushed_at, "push", version.version)
        return msgspec.structs.replace(
            self, versions=(*self.versions, version), history=(*self.history, event)
        )

    def released(self, alias: str, version: int, *, at: str) -> Manifest:
        """``alias`` points to ``version`` from now on."""
        return self._pointed(alias, Event(at, "promote", version, alias))

    def rolled_back(self, *, model: str, at: str, alias: str = CHAMPION) -> Manifest:
        """``alias`` points again to what it pointed to before its last promotion.

        Raises
        ------
        UserError
            When there was nothing before.
        """
        trail = self.trail(alias)
        if len(trail) < 2:
            raise UserError(
                f"The {alias} of {model!r} cannot be rolled back: nothing was {alias} before it.",
                hint="Name a version: potstill promote REPOSITORY MODEL VERSION.",
            )
        return self._pointed(alias, Event(at, "rollback", trail[-2], alias))

    def trail(self, alias: str) -> list[int]:
        """The versions ``alias`` was promoted to and not rolled back from, the present one last."""
        trail: list[int] = []
        for event in self.history:
            if event.alias == alias and event.action == "promote":
                trail.append(event.version)
            elif event.alias == alias and trail:  # a file that people edit may begin with a rollback
                trail.pop()
        return trail

    def _pointed(self, alias: str, event: Event) -> Manifest:
        return msgspec.structs.replace(
            self, aliases={**self.aliases, alias: event.version}, history=(*self.history, event)
        )

    def _named(self, version: Version) -> Version:
        names = sorted(alias for alias, number in self.aliases.items() if number == version.version)
        return msgspec.structs.replace(version, aliases=tuple(names))


def encode(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)


def decode(data: bytes, *, source: str) -> Manifest:
    """The manifest out of its JSON.

    Raises
    ------
    ArtifactError
        When it is none, or of a newer format.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArtifactError(f"The manifest {source} cannot be read: {error}.") from None
    if manifest.format_version > FORMAT_VERSION:
        raise ArtifactError(
            f"The manifest {source} has format {manifest.format_version}; this potstill reads formats up to "
            f"{FORMAT_VERSION}.",
            hint="Upgrade: pip install --upgrade potstill.",
        )
    return manifest
