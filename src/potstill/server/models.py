"""The models a server answers with, by name and version, exchanged as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

from potstill.artifact import Model, load
from potstill.errors import UserError
from potstill.monitoring import Cascade, Shadow, Watch
from potstill.server.errors import not_found
from potstill.versions import Repository, is_repository

CHAMPION = "champion"
"""The alias of a repository's models that requests are answered with."""

VERSION_DIGITS = 12
"""Of the content hash, which is the version of a file outside a repository."""


@dataclass(frozen=True)
class Served:
    """A model that requests are answered with.

    Parameters
    ----------
    name, version
        As requests name it.
    model
        The opened artifact.
    watch
        Its live traffic; None where nothing is watched.
    shadow
        The ensemble that sees a part of it; None for none.
    cascade
        The ensemble that answers where the model is not sure; None for none.
    """

    name: str
    version: str
    model: Model
    watch: Watch | None
    shadow: Shadow | None = None
    cascade: Cascade | None = None


@final
class Models:
    """All models of a server. Safe between threads: a request keeps the one it began with.

    Parameters
    ----------
    source
        An artifact (its stem is its name), a folder of artifacts, or a model repository.
    watched
        Whether live traffic is watched.
    shadowed
        Makes the shadow of a model out of its name and itself; None for none. The watch tells of it.
    cascaded
        Likewise the cascade.

    Raises
    ------
    UserError
        There is nothing to serve, or an artifact cannot be opened.
    """

    def __init__(
        self,
        source: Path,
        *,
        watched: bool = True,
        shadowed: Callable[[str, Model], Shadow] | None = None,
        cascaded: Callable[[str, Model], Cascade] | None = None,
    ) -> None:
        self._source = source
        self._watched = watched
        self._shadowed = shadowed
        self._cascaded = cascaded
        self._reloading = threading.Lock()
        self._served: Mapping[str, Served] = {}
        self.reload()

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    @property
    def repository(self) -> Repository | None:
        """The repository the models come from, if they come from one."""
        return Repository(self._source) if is_repository(self._source) else None

    def named(self, name: str, version: str | None = None) -> Served:
        """The model of this name, and of this version if one is named.

        Raises
        ------
        RequestError
            There is none: 404.
        """
        served = self._served.get(name)
        if served is None:
            raise not_found(f"model {name!r}")
        if version is not None and version != served.version:
            raise not_found(f"version {version!r} of model {name!r}")
        return served

    def reload(self) -> list[str]:
        """Look at the source again; return the names whose model is another than before.

        What cannot be opened changes nothing: the models that were served still are.

        Raises
        ------
        UserError
            There is nothing to serve any more, or an artifact cannot be opened.
        """
        with self._reloading:
            found = dict(_artifacts(self._source))
            if not found:
                raise UserError(
                    f"There is no model to serve in {self._source}.",
                    hint="Name an .onnx file, a folder of such files, or a model repository "
                    "(see potstill push --help).",
                )
            served = {name: self._opened(name, *at) for name, at in found.items()}
            changed = [
                name for name in {*served, *self._served} if served.get(name) is not self._served.get(name)
            ]
            before, self._served = self._served, served
            for name in changed:
                if name in before and (shadow := before[name].shadow) is not None:
                    shadow.close(0.0)
            return sorted(changed)

    def _opened(self, name: str, version: str | None, find: Callable[[], Path]) -> Served:
        before = self._served.get(name)
        if before is not None and version == before.version:
            return before
        model = load(find())
        version = version or model.card.content_hash[:VERSION_DIGITS]
        if before is not None and version == before.version:
            return before
        cascade = self._cascaded(name, model) if self._cascaded is not None else None
        if not self._watched:
            return Served(name, version, model, None, cascade=cascade)
        shadow = self._shadowed(name, model) if self._shadowed is not None else None
        return Served(name, version, model, Watch(model, shadow=shadow), shadow, cascade)


def _artifacts(source: Path) -> Iterator[tuple[str, tuple[str | None, Callable[[], Path]]]]:
    """Name, version (None where the file must say it) and where to find the file, of all that is served."""
    if is_repository(source):
        repository = Repository(source)
        for name in repository.names():
            for each in repository.versions(name):
                if CHAMPION in each.aliases:
                    # Found, and its hash checked, only where it is not served yet: this is asked often.
                    yield name, (str(each.version), partial(repository.resolve, name, each.version))
        return
    for file in sorted(source.glob("*.onnx")) if source.is_dir() else [source]:
        yield file.stem, (None, partial(Path, file))
